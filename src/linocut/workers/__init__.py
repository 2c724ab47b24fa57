"""The processes that draw: the parent side starts, feeds and watches them."""
