"""How many requests may be on their way to a decision: about as many as may wait for a worker.

A request that is being decided holds memory and a place before the database. Where more come than
the queue could take, most will be refused; those are told at once, before they are looked into.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from linocut.errors import QueueFull
from linocut.jobs.terms import Limits

LEAST: Final = 16  # that come together and may find places, however short the queue
SHORTEST: Final = 1.0  # seconds; a decision takes far less


@dataclass(slots=True)
class Doorway:
    """Who is inside, by key; `wait`: what the queue last told somebody whom it refused."""

    wait: float = SHORTEST
    _inside: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def passing(self, key: str, limits: Limits) -> Iterator[None]:
        """A place while a request of this key is decided; QueueFull if there is none."""
        everybody, own = self._inside.total(), self._inside[key]
        if everybody >= max(LEAST, limits.queue) or own >= max(LEAST, limits.share):
            raise QueueFull(
                f"{everybody} requests are being looked at, {own} of them of this key: "
                "more than the queue may have places for",
                retry_after=self.wait,
                hint=f"try again in about {self.wait:.0f} s",
            )
        self._inside[key] += 1
        try:
            yield
        except QueueFull as error:
            self.wait = max(SHORTEST, error.retry_after)
            raise
        else:
            self.wait = SHORTEST
        finally:
            self._inside[key] -= 1
            if not self._inside[key]:
                del self._inside[key]
