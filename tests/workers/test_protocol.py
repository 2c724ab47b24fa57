"""The words between a dispatcher and a worker."""

from __future__ import annotations

from linocut.errors import WorkerFailed
from linocut.workers.protocol import WorkerLost


def test_a_lost_worker_is_a_failed_one_and_says_what_to_do() -> None:
    lost = WorkerLost("the worker crashed with SIGABRT", hint="try again")
    assert isinstance(lost, WorkerFailed)
    assert (lost.code, lost.message, lost.hint) == ("worker_failed", str(lost), "try again")
