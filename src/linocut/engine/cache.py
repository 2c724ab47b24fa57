"""What requests share: results remembered by content, the oldest forgotten first."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from torch import Tensor


class ContentCache:
    """At most `most_bytes` of tensors by the hash of what they were made from.

    Two requests that ask for the same new entry at once both compute it, to the same bits; that
    is cheaper than making one wait for the other.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._entries: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = Lock()

    def get(self, parts: tuple[bytes, ...], make: Callable[[], Tensor]) -> Tensor:
        """The entry made from `parts`, from memory or by `make`. Callers must not change it."""
        key = _key(parts)
        with self._lock:
            if (entry := self._entries.get(key)) is not None:
                self._entries.move_to_end(key)
                return entry
        entry = make()
        with self._lock:
            self._entries[key] = entry
            while len(self._entries) > 1 and self._held() > self._most_bytes:
                self._entries.popitem(last=False)
        return entry

    def __len__(self) -> int:
        return len(self._entries)

    def _held(self) -> int:
        return sum(entry.nbytes for entry in self._entries.values())


def _key(parts: tuple[bytes, ...]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()
