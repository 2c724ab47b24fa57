"""`linocut serve` that dies, as by a power cut, when it first reaches the point STORM_CRASH.

Points on the way of a picture count only in a record's first run, so that none is met forever.
STORM_PATIENCE: seconds that a picture which cannot be stored is kept.
STORM_FULL: the disk is full while there is such a file.
STORM_DEADLINE: seconds after which a transaction with a silent PostgreSQL is given up.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from linocut.cli.main import run
from linocut.images import store as pictures
from linocut.jobs import database, endings, submit
from linocut.jobs.runs import Run, Runs
from linocut.jobs.store import Store
from linocut.server import parts

# point: (what holds it, its name there, whether it dies behind it and not before)
POINTS: Final[dict[str, tuple[Any, str, bool]]] = {
    "before the file": (pictures.FolderStore, "put", False),
    "between write and name": (pictures, "_claim", False),
    "behind the file": (pictures.FolderStore, "put", True),
    "in the last transaction": (endings, "succeed", True),
    "before the last transaction": (Store, "succeed", False),
    "behind the last transaction": (Store, "succeed", True),
    "in the first transaction": (submit, "submit", True),
    "before the first answer": (Store, "submit", True),
}
_first_run = False


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _mined(point: str, work: Callable[..., Any], *, behind: bool) -> Callable[..., Any]:
    def armed() -> bool:
        return _first_run or "first" in point

    if point == "between write and name":  # the only one that is no coroutine

        @functools.wraps(work)
        def plain(*given: Any, **named: Any) -> Any:
            if armed():
                _die()
            return work(*given, **named)

        return plain

    @functools.wraps(work)
    async def mined(*given: Any, **named: Any) -> Any:
        if not behind and armed():
            _die()
        answer = await work(*given, **named)
        if behind and armed():
            _die()
        return answer

    return mined


def _watch_runs() -> None:
    draw = Runs.draw

    async def watched(self: Runs, run: Run) -> None:
        global _first_run  # noqa: PLW0603 - one worker, one run at a time
        _first_run = run.record.attempt == 1
        await draw(self, run)

    Runs.draw = watched  # type: ignore[method-assign]


def _fill(filler: Path) -> None:
    flush = os.fsync

    def full(descriptor: int) -> None:
        if filler.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    os.fsync = full


def main() -> None:
    """Mine the point, and serve."""
    point, patience = os.environ.get("STORM_CRASH", ""), os.environ.get("STORM_PATIENCE", "")
    if "STORM_DEADLINE" in os.environ:
        database.DEADLINE = float(os.environ["STORM_DEADLINE"])  # type: ignore[misc]
    if point:
        holder, name, behind = POINTS[point]
        setattr(holder, name, _mined(point, getattr(holder, name), behind=behind))
        _watch_runs()
    if patience:
        timing = parts.Timing

        def impatient(**said: Any) -> Any:
            return dataclasses.replace(timing(**said), storage_patience=float(patience))

        parts.Timing = impatient  # type: ignore[assignment,misc]
    if os.environ.get("STORM_FULL"):
        _fill(Path(os.environ["STORM_FULL"]))
    sys.argv[0] = "linocut"
    run()


if __name__ == "__main__":
    main()
