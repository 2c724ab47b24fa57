"""The demo checkpoint's files and where they are; nothing else happens here."""

from __future__ import annotations

from pathlib import Path

__all__ = ["path"]


def path() -> Path:
    """The checkpoint's folder: the diffusers layout, ready to be opened."""
    return Path(__file__).with_name("checkpoint")
