"""Checkpoints: found, described, fetched, and turned into networks with their weights."""
