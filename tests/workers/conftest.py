"""Workers for tests: real child processes of the fake kind, ended whatever the test does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from linocut.request import ImageRequest
from linocut.workers.options import FAKE, Options, command
from linocut.workers.process import ChildProcess
from linocut.workers.protocol import Job, Message, Worker


def job(prompt: str = "a red apple", id: str = "one", **values: object) -> Job:
    """A small job; `steps`, `width`… are its request's, the rest its own."""
    own = {name: values.pop(name) for name in tuple(values) if name in Job.__dataclass_fields__}
    asked = {"width": 64, "height": 64, "num_inference_steps": 4} | values
    return Job(id=id, request=ImageRequest(prompt=prompt, **asked), **own)  # type: ignore[arg-type]


def fake_command(*more: str) -> tuple[str, ...]:
    """What starts a fake worker."""
    return command(Options(), *more, module=FAKE)


@asynccontextmanager
async def fake(*more: str, **watch: float) -> AsyncIterator[ChildProcess]:
    """A fake worker that has started, and is ended with the block."""
    worker = ChildProcess("fake", fake_command(*more), **watch)
    try:
        async with asyncio.timeout(120):
            await worker.start()
            yield worker
    finally:
        await worker.stop()


async def everything(worker: Worker, job: Job) -> list[Message]:
    """All that a run says."""
    return [message async for message in worker.run(job)]


def wait_until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    """Return as soon as it is so; fail if it never is."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process of that number runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture(scope="session")
def workers() -> SimpleNamespace:
    """The functions above: `workers.fake("--step-seconds=0.1")`."""
    return SimpleNamespace(
        job=job,
        fake=fake,
        fake_command=fake_command,
        everything=everything,
        wait_until=wait_until,
        is_alive=is_alive,
    )
