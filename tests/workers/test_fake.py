"""The fake worker: it fails as it is told, and draws the same colours for ever."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from linocut.errors import ContentRefused
from linocut.events import Started, Step
from linocut.workers.options import FAKE, Options, command
from linocut.workers.process import ChildProcess
from linocut.workers.protocol import Finished, Job, Message, PreviewFile, Refused, WorkerLost

QUICK = "--step-seconds=0.001"


def said(workers: SimpleNamespace, jobs: Sequence[Job], *more: str) -> list[list[Message]]:
    """What one fake worker says to each of these jobs."""

    async def runs() -> list[list[Message]]:
        async with workers.fake(QUICK, *more) as worker:
            return [await workers.everything(worker, job) for job in jobs]

    return asyncio.run(runs())


def test_pixels_follow_from_seed_and_prompt_alone(workers: SimpleNamespace) -> None:
    jobs = [workers.job(), workers.job(id="b"), workers.job(seed=1), workers.job("a pear")]
    first, again, other_seed, other_prompt = (
        run[-1].file for run in said(workers, jobs) if isinstance(run[-1], Finished)
    )
    assert first == again
    assert len({first, other_seed, other_prompt}) == 3


def test_it_says_what_it_is_and_which_mode_it_feigned(workers: SimpleNamespace) -> None:
    (run,) = said(workers, [workers.job(go_fast=True, preview=True)])
    started, finished = run[0], run[-1]
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    assert (started.checkpoint, started.mode) == ("fake", "bf16")
    assert finished.metadata["demo"] is True
    assert finished.metadata["mode"] == "bf16"
    assert "fake" in finished.metadata["warnings"][0]
    assert [type(message) for message in run].count(PreviewFile) == 1


@pytest.mark.parametrize(("mark", "stage"), [("[refuse]", "input"), ("[refuse-output]", "output")])
def test_it_refuses_where_safety_is_wanted(workers: SimpleNamespace, mark: str, stage: str) -> None:
    checked, unchecked = said(workers, [workers.job(mark), workers.job(mark, check_safety=False)])
    assert isinstance(checked[-1], Refused)
    assert isinstance(checked[-1].error, ContentRefused)
    assert checked[-1].error.stage == stage
    assert any(isinstance(message, Step) for message in checked) == (stage == "output")
    assert isinstance(unchecked[-1], Finished)
    assert unchecked[-1].metadata["safety"] == {"checked": False}


def test_it_crashes_once_a_job_and_then_draws(workers: SimpleNamespace, tmp_path: Path) -> None:
    state = f"--state-dir={tmp_path}"
    for id in ("one", "two"):
        job = workers.job("[crash-once]", id=id)
        with pytest.raises(WorkerLost, match="SIGABRT"):
            said(workers, [job], state)
        assert isinstance(said(workers, [job], state)[0][-1], Finished)


def test_a_failure_waits_for_the_step_that_is_named(workers: SimpleNamespace) -> None:
    (run,) = said(workers, [workers.job("[oom 3]", num_inference_steps=3)])
    steps = [message.i for message in run if isinstance(message, Step)]
    assert steps[-1] == 3
    assert isinstance(run[-1], Refused)


def test_it_is_told_of_checks_and_loads_none(workers: SimpleNamespace) -> None:
    named = ("nowhere_at_all:Mine",)
    options = Options(prompt_checks=named, picture_checks=named)

    async def drawn() -> Message:
        worker = ChildProcess("fake", command(options, QUICK, module=FAKE))
        try:
            await worker.start()
            return (await workers.everything(worker, workers.job()))[-1]
        finally:
            await worker.stop()

    assert isinstance(asyncio.run(drawn()), Finished)


def test_it_imports_no_model() -> None:
    code = (
        "import sys, linocut.workers.fake\n"
        "names = {'torch', 'numpy', 'transformers', 'onnxruntime'}\n"
        "sys.stdout.write(' '.join(sorted(names & set(sys.modules))))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == ""
