"""From a request to its events: `Engine.open(...)`, then `run` or `draw`."""

from linocut.engine.engine import Engine

__all__ = ["Engine"]
