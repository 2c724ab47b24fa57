"""How many bytes of callers the server holds at once: of bodies that come, and of their pictures.

A body is held from its first byte until it is decided upon, however slowly it comes, and a picture
until it is stored. Without a bound a single key could fill the memory with bodies that never end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from linocut.errors import RateLimited, Unavailable

SHARES: Final = (
    2  # of what may be held: one owner has one of them at most, so that others have room
)
PAUSE: Final = 5.0  # seconds; what is held goes by within a few


@dataclass(slots=True)
class Holding:
    """What is held, by owner; `most` bytes in all, and half of them of one owner."""

    most: int
    _held: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def room(self, owner: str) -> Iterator[Room]:
        """Where an owner's bytes are counted; at its end they are held no more."""
        room = Room(self, owner)
        try:
            yield room
        finally:
            self._held[owner] -= room.size
            if not self._held[owner]:
                del self._held[owner]

    @property
    def total(self) -> int:
        """Bytes that are held now."""
        return self._held.total()

    def count(self, owner: str, size: int) -> None:
        """So many bytes more; RateLimited or Unavailable, and not counted, if that is too many."""
        own, everybody = self._held[owner] + size, self.total + size
        hint = "wait until what is on its way has come, or send less at once"
        if own > self.most // SHARES:
            raise RateLimited(
                f"your requests and pictures take {own:,} bytes at once; "
                f"one tenant may have {self.most // SHARES:,}",
                retry_after=PAUSE,
                hint=hint,
            )
        if everybody > self.most:
            raise Unavailable(
                "the server holds as many requests and pictures as its memory is for",
                retry_after=PAUSE,
                hint=hint,
            )
        self._held[owner] = own


@dataclass(slots=True)
class Room:
    """What one request, or one picture of it, holds."""

    holding: Holding
    owner: str
    size: int = 0

    def take(self, size: int) -> None:
        """Hold so many bytes more. Raises as `Holding.count` does."""
        self.holding.count(self.owner, size)
        self.size += size
