"""The words between a dispatcher and a worker."""

from __future__ import annotations

from linocut.errors import WorkerFailed
from linocut.workers.protocol import WorkerLost


def test_a_lost_worker_is_a_failed_one_that_says_how_long_it_had_run() -> None:
    lost = WorkerLost("the worker crashed with SIGABRT", hint="try again", seconds=2.5)
    assert isinstance(lost, WorkerFailed)
    assert (lost.code, lost.message, lost.seconds) == ("worker_failed", str(lost), 2.5)
