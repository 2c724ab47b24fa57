"""The supervisor: workers are started, lent, replaced, and ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace

import pytest

from linocut.catalog import MINI
from linocut.errors import CheckpointNotFound, LinocutError, Unavailable
from linocut.request import ImageRequest
from linocut.workers import rate
from linocut.workers.process import ChildProcess
from linocut.workers.protocol import Finished, Job, Message, Rate, Ready, WorkerLost
from linocut.workers.supervisor import Supervisor

SLOW, FAST = Rate(per_step=1.0, flops_per_second=1e12), Rate(per_step=0.1, flops_per_second=1e12)


class Quiet:
    """A worker in memory that does as it is told: `fault` at its start, `die` later."""

    def __init__(self, number: int, fault: LinocutError | None = None) -> None:
        self.name = f"quiet-{number}"
        self.rates = {"exact": SLOW, "bf16": FAST} if number == 0 else {"exact": FAST}
        self.lost: WorkerLost | None = None
        self.is_stopped = False
        self._fault, self._gone = fault, asyncio.Event()

    async def start(self) -> Ready:
        if self._fault:
            raise self._fault
        return Ready(
            checkpoint="quiet",
            demo=True,
            device="cpu",
            modes=tuple(self.rates),
            fast="bf16" if "bf16" in self.rates else None,
            config=MINI,
            rates=self.rates,
        )

    async def run(self, job: Job) -> AsyncIterator[Message]:
        raise WorkerLost("it never runs")
        yield

    async def cancel(self) -> None: ...

    def die(self) -> None:
        self.lost = WorkerLost("the worker fell over")
        self._gone.set()

    async def gone(self) -> WorkerLost:
        await self._gone.wait()
        assert self.lost is not None
        return self.lost

    async def stop(self) -> None:
        self.is_stopped = True


class Made(list[Quiet]):
    """Makes quiet workers, and keeps them; the first ones fail with `faults`."""

    def __init__(self, *faults: LinocutError) -> None:
        super().__init__()
        self._faults = list(faults)

    def __call__(self, number: int) -> Quiet:
        self.append(Quiet(number, self._faults.pop(0) if self._faults else None))
        return self[-1]


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for it, a minute at most."""
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - there is no event for everything
            await asyncio.sleep(0.01)


def states(supervisor: Supervisor) -> list[str]:
    """How the workers are."""
    return [condition.state for condition in supervisor.conditions()]


def test_a_worker_is_lent_to_one_at_a_time() -> None:
    async def story() -> None:
        supervisor = Supervisor(Made(), 2)
        await supervisor.start()
        async with supervisor.lend() as first, supervisor.lend() as second:
            assert first is not second
            assert states(supervisor) == ["busy", "busy"]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(aiter_of(supervisor)), 0.05)
        await until(lambda: states(supervisor) == ["idle", "idle"])
        await supervisor.stop()

    asyncio.run(story())


def test_an_idle_worker_may_be_taken_at_once_and_is_given_back() -> None:
    async def story() -> None:
        supervisor = Supervisor(Made())
        assert supervisor.take() is None
        await supervisor.start()
        await until(lambda: states(supervisor) == ["idle"])
        worker = supervisor.take()
        assert worker is not None
        assert supervisor.take() is None
        waits = asyncio.create_task(anext(aiter_of(supervisor)))
        await asyncio.sleep(0)
        supervisor.give_back(worker)
        assert await waits is worker
        await supervisor.stop()

    asyncio.run(story())


async def aiter_of(supervisor: Supervisor) -> AsyncIterator[object]:
    """One lent worker, for as long as the iterator lives."""
    async with supervisor.lend() as worker:
        yield worker


def test_who_waits_gets_the_worker_that_comes_back() -> None:
    async def story() -> None:
        supervisor = Supervisor(Made())
        await supervisor.start()
        served: list[int] = []

        async def take(number: int) -> None:
            async with supervisor.lend():
                await asyncio.sleep(0)
                served.append(number)

        async with asyncio.timeout(60):
            await asyncio.gather(*(take(number) for number in range(20)))
        assert sorted(served) == list(range(20))
        await supervisor.stop()

    asyncio.run(story())


def test_a_lost_worker_is_replaced_and_its_reason_kept() -> None:
    async def story() -> None:
        made = Made()
        supervisor = Supervisor(made, first_pause=0.01)
        await supervisor.start()
        await supervisor.ready()
        made[0].die()
        await until(lambda: len(made) == 2 and states(supervisor) == ["idle"])
        (condition,) = supervisor.conditions()
        assert condition.restarts == 1
        assert condition.details["last_loss"] == "the worker fell over"
        assert condition.reason == ""
        async with supervisor.lend() as worker:
            assert worker is made[1]
        assert made[0].is_stopped
        await supervisor.stop()
        assert made[1].is_stopped

    asyncio.run(story())


def test_a_worker_that_was_lost_while_lent_is_not_lent_again() -> None:
    async def story() -> None:
        made = Made()
        supervisor = Supervisor(made, first_pause=60.0)
        await supervisor.start()
        async with supervisor.lend():
            made[0].die()
        assert states(supervisor) != ["idle"]
        await until(lambda: states(supervisor) == ["down"])
        assert supervisor.conditions()[0].reason == "the worker fell over"
        await supervisor.stop()

    asyncio.run(story())


def test_the_pause_doubles_with_each_loss_until_a_run_has_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        made = Made(*[WorkerLost("no")] * 2)
        supervisor = Supervisor(made, first_pause=0.01, longest_pause=0.04)
        await supervisor.start()
        for ended in (False, False, True):
            async with supervisor.lend() as worker:
                if ended:
                    supervisor.finished(worker)
            made[-1].die()
            await until(lambda: states(supervisor) != ["idle"])
        async with supervisor.lend() as worker:
            assert worker is made[5]
        await supervisor.stop()

    asyncio.run(story())
    pauses = [record.getMessage().rpartition(" in ")[2] for record in caplog.records]
    assert pauses == ["0.01 s", "0.02 s", "0.04 s", "0.04 s", "0.01 s"]


def test_waiting_for_the_first_worker_tells_why_there_is_none() -> None:
    async def story() -> None:
        supervisor = Supervisor(Made(*[CheckpointNotFound("no such checkpoint")] * 2), 2)
        await supervisor.start()
        with pytest.raises(CheckpointNotFound, match="no such checkpoint"):
            await supervisor.ready()
        assert states(supervisor) == ["down", "down"]
        assert supervisor.estimate(ImageRequest(prompt="x")) is None
        await supervisor.stop()

    asyncio.run(story())


def test_one_worker_that_starts_is_enough_to_be_ready() -> None:
    async def story() -> None:
        supervisor = Supervisor(Made(CheckpointNotFound("no such checkpoint")), 2)
        await supervisor.start()
        assert (await supervisor.ready()).checkpoint == "quiet"
        await supervisor.stop()

    asyncio.run(story())


def test_an_estimate_is_that_of_the_slowest_worker_in_its_mode() -> None:
    async def story() -> None:
        supervisor = Supervisor(Made(), 2)
        request = ImageRequest(prompt="x")
        assert supervisor.estimate(request) is None
        await supervisor.start()
        await until(lambda: states(supervisor) == ["idle", "idle"])
        slow, fast = (
            rate.estimate(request, [(64, 64)], model=MINI, rate=each) for each in (SLOW, FAST)
        )
        assert supervisor.estimate(request, [(64, 64)]) == slow
        assert supervisor.estimate(request, [(64, 64)], go_fast=True) == fast
        await supervisor.stop()
        assert supervisor.estimate(request, [(64, 64)]) == slow

    asyncio.run(story())


def test_stopping_waits_for_what_runs_and_refuses_the_rest() -> None:
    async def story() -> None:
        made = Made()
        supervisor = Supervisor(made)
        await supervisor.start()
        async with supervisor.lend():
            stopping = asyncio.create_task(supervisor.stop(60.0))
            with pytest.raises(Unavailable):
                async with supervisor.lend():
                    raise AssertionError
            assert not made[0].is_stopped
        await stopping
        assert made[0].is_stopped
        with pytest.raises(Unavailable):
            await supervisor.ready()

    asyncio.run(story())


def test_stopping_without_patience_ends_what_runs() -> None:
    async def story() -> None:
        made = Made()
        supervisor = Supervisor(made)
        await supervisor.start()
        async with supervisor.lend():
            await supervisor.stop(0.01)
            assert made[0].is_stopped

    asyncio.run(story())


def test_a_crash_harms_neither_the_other_worker_nor_the_next_job(workers: SimpleNamespace) -> None:
    async def story() -> None:
        made: list[ChildProcess] = []

        def make(number: int) -> ChildProcess:
            made.append(ChildProcess(f"fake-{number}", workers.fake_command("--step-seconds=0.01")))
            return made[-1]

        async def draw(prompt: str) -> Message:
            async with supervisor.lend() as worker:
                return (await workers.everything(worker, workers.job(prompt)))[-1]  # type: ignore[no-any-return]

        supervisor = Supervisor(make, 2)
        await supervisor.start()
        async with asyncio.timeout(120):
            prompts = ["one", "[crash]", "two", "three"]
            said = await asyncio.gather(*map(draw, prompts), return_exceptions=True)
            assert isinstance(said.pop(1), WorkerLost)
            assert all(isinstance(ending, Finished) for ending in said)
            await until(lambda: states(supervisor) == ["idle", "idle"])
            assert sorted(each.restarts for each in supervisor.conditions()) == [0, 1]
            losses = [each.details.get("last_loss", "") for each in supervisor.conditions()]
            assert "the worker crashed with SIGABRT" in losses
            assert isinstance(await draw("four"), Finished)
        await supervisor.stop()
        assert not any(workers.is_alive(worker.pid) for worker in made)

    asyncio.run(story())


def test_no_process_is_left_of_a_worker_that_was_still_loading(workers: SimpleNamespace) -> None:
    async def story() -> int:
        worker = ChildProcess("slow", workers.fake_command("--load-seconds=600"))
        supervisor = Supervisor(lambda _: worker)
        await supervisor.start()
        await until(lambda: worker.pid > 0)
        assert states(supervisor) == ["starting"]
        await supervisor.stop()
        return worker.pid

    assert not workers.is_alive(asyncio.run(story()))
