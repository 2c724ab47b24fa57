"""A worker as a real child process, of the fake kind: fed, watched, canceled, lost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from linocut.errors import DoesNotFit
from linocut.events import Encoding, Started, Step
from linocut.workers.process import ChildProcess, in_words
from linocut.workers.protocol import Finished, Job, Refused, Stopped, WorkerLost

QUICK = "--step-seconds=0.001"


def test_a_picture_comes_after_its_steps(workers: SimpleNamespace) -> None:
    async def drawn() -> list[object]:
        async with workers.fake(QUICK) as worker:
            said = await workers.everything(worker, workers.job())
            assert worker.rates["exact"] == said[-1].rate
            return list(said)

    said = asyncio.run(drawn())
    assert [type(message) for message in said[:2]] == [Started, Encoding]
    assert isinstance(said[-1], Finished)
    assert (said[-1].width, said[-1].content_type) == (64, "image/webp")
    assert said[-1].file[8:12] == b"WEBP"


def test_of_many_quick_steps_few_are_told_but_the_last_is(workers: SimpleNamespace) -> None:
    async def drawn() -> list[object]:
        async with workers.fake("--step-seconds=0") as worker:
            return list(await workers.everything(worker, workers.job(num_inference_steps=50)))

    steps = [message.i for message in asyncio.run(drawn()) if isinstance(message, Step)]
    assert steps[-1] == 50
    assert len(steps) < 50


def test_a_run_ends_within_two_steps_of_its_cancel(workers: SimpleNamespace) -> None:
    async def canceled() -> tuple[int, object]:
        async with workers.fake("--step-seconds=0.25") as worker:
            at = 0
            async for message in worker.run(workers.job(num_inference_steps=50)):
                if isinstance(message, Step) and message.i == 3:
                    await worker.cancel()
                    at = message.i
            return at, message

    at, ending = asyncio.run(canceled())
    assert isinstance(ending, Stopped)
    assert at <= ending.i <= at + 2


def test_a_cancel_that_comes_too_late_harms_no_other_run(workers: SimpleNamespace) -> None:
    async def drawn() -> list[object]:
        async with workers.fake(QUICK) as worker:
            await worker.cancel()
            endings = []
            for id in ("one", "two", "two"):
                endings += (await workers.everything(worker, workers.job(id=id)))[-1:]
                await worker.cancel()
            return endings

    assert [type(ending) for ending in asyncio.run(drawn())] == [Finished] * 3


def test_what_was_canceled_may_be_asked_for_again(workers: SimpleNamespace) -> None:
    async def drawn() -> list[object]:
        async with workers.fake("--step-seconds=0.1") as worker:
            endings = []
            for _ in range(2):
                async for message in worker.run(workers.job()):
                    if isinstance(message, Step) and not endings:
                        await worker.cancel()
                endings.append(message)
            return endings

    assert [type(ending) for ending in asyncio.run(drawn())] == [Stopped, Finished]


def test_leaving_a_run_early_leaves_the_worker_fit_for_the_next(workers: SimpleNamespace) -> None:
    async def drawn() -> object:
        async with workers.fake("--step-seconds=0.05") as worker:
            pid, left = worker.pid, worker.run(workers.job("[crash 40]", num_inference_steps=50))
            await anext(left)
            await left.aclose()
            said = await workers.everything(worker, workers.job("another", id="two", seed=7))
            assert worker.pid == pid
            return said[-1]

    ending = asyncio.run(drawn())
    assert isinstance(ending, Finished)
    assert ending.metadata["seed"] == 7


def test_too_little_memory_ends_the_run_and_not_the_worker(workers: SimpleNamespace) -> None:
    async def drawn() -> list[object]:
        async with workers.fake(QUICK) as worker:
            first = await workers.everything(worker, workers.job("[oom]"))
            return [first[-1], (await workers.everything(worker, workers.job()))[-1]]

    refused, finished = asyncio.run(drawn())
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, DoesNotFit)
    assert isinstance(finished, Finished)


async def _lost(
    workers: SimpleNamespace, prompt: str, **watch: float
) -> tuple[WorkerLost, ChildProcess]:
    async with workers.fake(QUICK, **watch) as worker:
        with pytest.raises(WorkerLost) as caught:
            await workers.everything(worker, workers.job(prompt))
        assert worker.lost is not None
        assert (await worker.gone()).message == caught.value.message
        with pytest.raises(WorkerLost):
            await workers.everything(worker, workers.job())
        return caught.value, worker


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("[crash 2]", "the worker crashed with SIGABRT"),
        ("[killed]", "the worker was killed by the system, most likely out of memory"),
        ("[exit]", "the worker ended with exit code 1"),
    ],
)
def test_a_lost_worker_says_in_words_why(workers: SimpleNamespace, prompt: str, words: str) -> None:
    lost, worker = asyncio.run(_lost(workers, prompt))
    assert lost.message.endswith(words)
    assert not workers.is_alive(worker.pid)


def test_a_worker_that_hangs_is_ended(workers: SimpleNamespace) -> None:
    lost, worker = asyncio.run(_lost(workers, "[hang]", hang_seconds=2.0))
    assert lost.message == "the worker did not answer for 2 s"
    assert not workers.is_alive(worker.pid)


def test_a_machine_that_was_asleep_blames_no_worker(workers: SimpleNamespace) -> None:
    def sleep(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(4.5)
        os.kill(pid, signal.SIGCONT)

    async def drawn() -> object:
        async with workers.fake("--step-seconds=0.1", hang_seconds=4.0) as worker:
            asyncio.get_running_loop().call_later(0.2, sleep, worker.pid)
            return (await workers.everything(worker, workers.job(num_inference_steps=30)))[-1]

    assert isinstance(asyncio.run(drawn()), Finished)


async def _start(command: tuple[str, ...], **watch: float) -> None:
    worker = ChildProcess("w", command, **watch)
    try:
        await worker.start()
    finally:
        await worker.stop()


@pytest.mark.parametrize(
    ("code", "words", "watch"),
    [
        ("import nowhere_at_all", "exit code 1$", {}),
        ("import os, time; os.write(1, b'x' * 99); time.sleep(999)", "no frame$", {}),
        ("import time; time.sleep(999)", "did not answer for 1 s", {"start_seconds": 1.0}),
        ("import os, time; os.close(1); time.sleep(999)", "closed its pipe", {"hang_seconds": 1.0}),
    ],
)
def test_a_worker_that_cannot_start_is_lost(code: str, words: str, watch: dict[str, float]) -> None:
    with pytest.raises(WorkerLost, match=words):
        asyncio.run(_start((sys.executable, "-c", code), **watch))


def test_a_command_that_is_none_is_a_lost_worker() -> None:
    with pytest.raises(WorkerLost, match=r"could not be started: No such file or directory$"):
        asyncio.run(_start(("/nowhere/at/all",)))


def test_stopping_ends_a_run_at_once(workers: SimpleNamespace) -> None:
    async def stopped() -> int:
        async with workers.fake("--step-seconds=0.1") as worker:
            run = worker.run(workers.job("[hang]"))
            while not isinstance(await anext(run), Step):
                pass
            stopping = asyncio.create_task(worker.stop())
            with pytest.raises(WorkerLost, match="was stopped"):
                await anext(run)
            await stopping
            return int(worker.pid)

    assert not workers.is_alive(asyncio.run(stopped()))


PARENT = """
import asyncio, os, signal, sys
from linocut.request import ImageRequest
from linocut.workers.process import ChildProcess
from linocut.workers.protocol import Job

async def main():
    worker = ChildProcess("orphan", sys.argv[2:])
    await worker.start()
    heir = os.fork() if "heir" in sys.argv[1] else os.getpid()
    if heir == 0:  # it holds the worker's pipe open when its parent is gone
        signal.pause()
    print(worker.pid, heir, flush=True)
    async for message in worker.run(Job(id="a", request=ImageRequest(prompt=sys.argv[1]))):
        pass

asyncio.run(main())
"""


@pytest.mark.parametrize("prompt", ["[hang]", "[slow]", "[hang] with an heir"])
def test_the_worker_dies_with_a_server_that_is_killed(
    workers: SimpleNamespace, prompt: str
) -> None:
    command = [sys.executable, "-c", PARENT, prompt, *workers.fake_command("--step-seconds=0.1")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker, heir = map(int, parent.stdout.readline().split())
        assert workers.is_alive(worker)
        os.kill(parent.pid, signal.SIGKILL)
    try:
        workers.wait_until(lambda: not workers.is_alive(worker), 20)
    finally:
        if workers.is_alive(heir):
            os.kill(heir, signal.SIGKILL)


def test_what_a_worker_complains_of_is_in_the_log(
    workers: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(_lost(workers, "[exit]"))
    assert "an error that nobody expected" in caplog.text
    assert all(len(record.getMessage()) < 5000 for record in caplog.records)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended with exit code 0"),
        (-9, "was killed by the system, most likely out of memory"),
        (-11, "crashed with SIGSEGV"),
        (-250, "crashed with signal 250"),
    ],
)
def test_an_exit_code_in_words(code: int, words: str) -> None:
    assert in_words(code) == words


def test_the_server_side_imports_no_model_and_decodes_no_picture() -> None:
    code = (
        "import sys, linocut.workers.process, linocut.workers.supervisor, linocut.workers.options\n"
        "names = {'torch', 'numpy', 'transformers', 'onnxruntime', 'PIL'}\n"
        "sys.stdout.write(' '.join(sorted(names & set(sys.modules))))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == ""


def test_a_job_of_many_megabytes_goes_through(workers: SimpleNamespace) -> None:
    async def refused() -> object:
        async with workers.fake(QUICK) as worker:
            big: Job = workers.job(reference_files=(bytes(30 * 1024**2),) * 2)
            return (await workers.everything(worker, big))[-1]

    ending = asyncio.run(refused())
    assert isinstance(ending, Refused)
    assert "reference 1" in ending.error.message
