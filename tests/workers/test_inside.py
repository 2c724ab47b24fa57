"""The inside of a worker process, from its pipes."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import BinaryIO

import pytest

from linocut.errors import InvalidPicture
from linocut.events import Step
from linocut.workers.frames import Cancel, read_frame, write_frame
from linocut.workers.protocol import Ready, Refused, Stopped

WORKER = """
import os, sys, time
from linocut.catalog import MINI
from linocut.errors import InvalidPicture
from linocut.events import Step
from linocut.workers import inside
from linocut.workers.protocol import Ready, Stopped

def draw(job):
    print("a library talks")
    os.write(1, b"and its C code too")
    print(repr(sys.stdin.read()), file=sys.stderr)
    if job.request.prompt == "bad":
        raise InvalidPicture("reference 1 is empty")
    if job.request.prompt == "wait":
        time.sleep(0.2)
    for i in range(1, 4):
        yield Step(i, 3, 0.1, 0.2)
    yield Stopped(i=77, seconds=0.0)

link = inside.open_link()
inside.serve(link, Ready(
    checkpoint="own", demo=True, device="cpu", modes=(), fast=None, config=MINI,
    rates={},
), draw)
"""


@pytest.fixture
def pipes() -> object:
    """A worker of the test's own, its pipes in hand."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert isinstance(read_frame(process.stdout), Ready)
        yield process
        process.kill()


def send(process: subprocess.Popen[bytes], *frames: bytes) -> BinaryIO:
    """Into its standard input; its standard output."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"".join(frames))
    process.stdin.flush()
    return process.stdout  # type: ignore[return-value]


def test_what_a_library_prints_is_no_frame(
    workers: SimpleNamespace, pipes: subprocess.Popen[bytes]
) -> None:
    out = send(pipes, write_frame(workers.job()))
    said = [read_frame(out)]
    while isinstance(said[-1], Step):
        said.append(read_frame(out))
    assert said[0] == Step(1, 3, 0.1, 0.2)
    assert said[-2:] == [Step(3, 3, 0.1, 0.2), Stopped(i=77, seconds=0.0)]


def test_a_worker_that_is_told_to_stop_by_others_finishes_what_it_draws(
    workers: SimpleNamespace, pipes: subprocess.Popen[bytes]
) -> None:
    pipes.terminate()
    out = send(pipes, write_frame(workers.job()))
    said = [read_frame(out)]
    while isinstance(said[-1], Step):
        said.append(read_frame(out))
    assert said[-1] == Stopped(i=77, seconds=0.0)


def test_our_own_errors_end_the_job_and_not_the_process(
    workers: SimpleNamespace, pipes: subprocess.Popen[bytes]
) -> None:
    out = send(pipes, write_frame(workers.job("bad")), write_frame(workers.job()))
    refused = read_frame(out)
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, InvalidPicture)
    assert isinstance(read_frame(out), Step)


def test_a_cancel_right_behind_its_job_stops_it_before_it_draws(
    workers: SimpleNamespace, pipes: subprocess.Popen[bytes]
) -> None:
    out = send(pipes, write_frame(workers.job("wait")), write_frame(Cancel("one")))
    stopped = read_frame(out)
    assert isinstance(stopped, Stopped)
    assert stopped.i <= 2


def test_a_cancel_of_another_job_is_not_heard(
    workers: SimpleNamespace, pipes: subprocess.Popen[bytes]
) -> None:
    out = send(pipes, write_frame(workers.job("wait")), write_frame(Cancel("another")))
    while isinstance(said := read_frame(out), Step):
        pass
    assert said == Stopped(i=77, seconds=0.0)


def test_the_process_ends_with_its_pipe(pipes: subprocess.Popen[bytes]) -> None:
    assert pipes.stdin is not None
    pipes.stdin.close()
    assert pipes.wait(60) == -9


def test_what_is_no_frame_ends_the_process(pipes: subprocess.Popen[bytes]) -> None:
    send(pipes, b"\xff" * 99)
    assert pipes.wait(60) == -9
