"""The process that really draws, with the demo checkpoint; and its studio in trouble."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from linocut.catalog import MINI
from linocut.errors import CheckpointInvalid, CheckpointNotFound, ContentRefused, LinocutError
from linocut.events import Done, Event, Preview, Started, Step
from linocut.images.metadata import read_metadata
from linocut.request import ImageRequest, Picture
from linocut.safety.plugged import prompt_checks
from linocut.safety.policy import PROMPT_CHECKS, Finding
from linocut.workers.child import Studio, open_studio
from linocut.workers.options import Options, command
from linocut.workers.process import ChildProcess
from linocut.workers.protocol import (
    Finished,
    Job,
    Message,
    PreviewFile,
    Rate,
    Ready,
    Refused,
    Stopped,
)
from linocut.workers.rate import Runs
from linocut.workers.supervisor import Supervisor

RATE = Rate(per_step=1.0, flops_per_second=1e12)
RED = Picture(64, 64, b"\xff\0\0" * 64 * 64)


def blue_png() -> bytes:
    """A reference picture's file."""
    file = io.BytesIO()
    Image.new("RGB", (96, 64), "blue").save(file, "PNG")
    return file.getvalue()


async def _story(workers: SimpleNamespace) -> SimpleNamespace:
    """Several jobs, one after the other, in one process."""
    jobs = {
        "plain": workers.job(),
        "again": workers.job(id="again"),
        "fast": workers.job(id="fast", go_fast=True, output_format="png"),
        "edit": workers.job(
            id="edit", reference_files=(blue_png(),), prompt_strength=0.5, check_safety=False
        ),
        "bad mode": workers.job(id="bad", mode="fp8"),
    }
    worker = ChildProcess("real", command(Options(threads=1, device="cpu")))
    try:
        ready = await worker.start()
        said = {name: await workers.everything(worker, job) for name, job in jobs.items()}
        long = workers.job(id="stop", width=1024, height=1024, num_inference_steps=50)
        at, canceled = 0, []
        async for message in worker.run(long):
            canceled.append(message)
            if isinstance(message, Step) and not at:
                at = message.i
                await worker.cancel()
        return SimpleNamespace(
            ready=ready, said=said, canceled=canceled, canceled_at=at, rates=worker.rates
        )
    finally:
        await worker.stop()


@pytest.fixture(scope="module")
def told(workers: SimpleNamespace) -> SimpleNamespace:
    """What the real worker said."""
    return asyncio.run(_story(workers))


def ending(told: SimpleNamespace, name: str) -> Any:
    """The last word on a job."""
    return told.said[name][-1]


def test_it_is_ready_with_a_rate_for_each_mode(told: SimpleNamespace) -> None:
    ready: Ready = told.ready
    assert (ready.checkpoint, ready.demo, ready.device) == ("linocut-mini", True, "cpu")
    assert ready.modes == ("exact", "bf16")
    assert ready.config == MINI
    assert set(ready.rates) == {"exact", "bf16"}
    assert all(rate.flops_per_second > 0 for rate in ready.rates.values())


def test_a_picture_comes_with_everything_that_is_known(told: SimpleNamespace) -> None:
    out: Finished = ending(told, "plain")
    with Image.open(io.BytesIO(out.file)) as image:
        assert (image.format, image.size) == ("WEBP", (64, 64))
    written = read_metadata(out.file)
    assert written is not None
    assert (written.prompt, written.checkpoint, written.mode) == (
        "a red apple",
        "linocut-mini",
        "exact",
    )
    assert out.metadata["safety"] == {"checked": True}
    assert out.metadata["demo"] is True
    assert set(out.metadata["timings"]) == {"encoding", "denoising", "decoding", "saving"}
    assert told.rates["exact"] != told.ready.rates["exact"]


def test_the_same_job_gives_the_same_bytes(told: SimpleNamespace) -> None:
    assert ending(told, "plain").file == ending(told, "again").file


def test_going_fast_draws_in_the_mode_that_is_faster_here_and_says_so(
    told: SimpleNamespace,
) -> None:
    fast: Finished = ending(told, "fast")
    assert told.ready.fast in (None, "bf16")  # some processors only imitate half the precision
    assert fast.metadata["mode"] == (told.ready.fast or "exact")
    assert fast.content_type == "image/png"


def test_a_reference_file_is_drawn_from_and_leaves_steps_out(told: SimpleNamespace) -> None:
    started = told.said["edit"][0]
    assert started.steps == 2
    assert ending(told, "edit").metadata["safety"] == {"checked": False}
    assert ending(told, "edit").file != ending(told, "plain").file


def test_a_mode_that_cannot_run_here_is_refused(told: SimpleNamespace) -> None:
    refused: Refused = ending(told, "bad mode")
    assert refused.error.code == "does_not_fit"
    assert "exact, bf16" in refused.error.hint


def test_a_cancel_stops_the_drawing_within_two_steps(told: SimpleNamespace) -> None:
    stopped = told.canceled[-1]
    assert isinstance(stopped, Stopped)
    assert told.canceled_at <= stopped.i <= told.canceled_at + 2


def test_a_checkpoint_that_is_not_there_is_told_as_itself() -> None:
    async def started() -> None:
        worker = ChildProcess("none", command(Options(checkpoint="/nowhere/at/all")))
        try:
            await worker.start()
        finally:
            await worker.stop()

    with pytest.raises(CheckpointNotFound, match="/nowhere/at/all"):
        asyncio.run(started())


class Scripted:
    """An engine's place-holder: it says what it was given, and raises what it was given."""

    def __init__(self, *script: Event | Exception, modes: tuple[str, ...] = ("exact",)) -> None:
        self.script, self.ran = script, 0
        self.asked: list[str] = []
        self.placement = SimpleNamespace(modes=modes)
        self.checkpoint = SimpleNamespace(config=MINI)

    def run(self, request: ImageRequest) -> Iterator[Event]:
        self.ran += 1
        self.asked.append(request.mode)
        for item in self.script:
            if isinstance(item, Exception):
                raise item
            yield item


class Doubtful:
    """A check that finds something in pictures of that colour, or in every prompt."""

    def __init__(self, rgb: bytes = b"") -> None:
        self.rgb = rgb

    def check(self, given: Picture | str, /) -> Finding | None:
        if isinstance(given, str):
            return Finding("prompt", "sexual", 1.0)
        return Finding("picture", "sexual", 1.0) if given.rgb[:3] == self.rgb else None


def drawn(
    engine: Scripted, job: Job, check: Doubtful | None = None, words: Any = None,
    fast: str | None = None,
) -> list[Message]:  # fmt: skip
    """What the studio says of that job."""
    modes = engine.placement.modes
    parts: tuple[Any, ...] = (engine, words or prompt_checks(PROMPT_CHECKS), check or Doubtful())
    return list(Studio(*parts, {mode: Runs(RATE) for mode in modes}, fast).draw(job))


def done(mode: str = "exact") -> Done:
    """A red picture."""
    return Done(RED, 0, 64, 64, mode, "scripted", demo=True)


@pytest.mark.parametrize(
    ("fast", "go_fast", "mode"),
    [("bf16", True, "bf16"), ("bf16", False, "exact"), (None, True, "exact")],
)
def test_permission_to_go_fast_is_used_where_there_is_a_faster_mode(
    workers: SimpleNamespace, fast: str | None, go_fast: bool, mode: str
) -> None:
    engine = Scripted(Started("scripted", mode, 64, 64, 1), done(mode), modes=("exact", "bf16"))
    finished = drawn(engine, workers.job(go_fast=go_fast, check_safety=False), fast=fast)[-1]
    assert engine.asked == [mode]
    assert isinstance(finished, Finished)
    assert finished.metadata["mode"] == mode


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_running_out_of_memory_is_a_memory_error(
    workers: SimpleNamespace, error: Exception
) -> None:
    with pytest.raises(MemoryError):
        drawn(Scripted(error), workers.job())


def test_any_other_fault_is_left_as_it_is(workers: SimpleNamespace) -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        drawn(Scripted(RuntimeError("shapes do not fit")), workers.job())


def test_a_doubtful_picture_is_refused_and_none_comes(workers: SimpleNamespace) -> None:
    with pytest.raises(ContentRefused) as caught:
        drawn(Scripted(done()), workers.job(), Doubtful(b"\xff\0\0"))
    assert (caught.value.stage, caught.value.category) == ("output", "sexual")
    unchecked = workers.job(check_safety=False)
    assert isinstance(drawn(Scripted(done()), unchecked, Doubtful(b"\xff\0\0"))[-1], Finished)


def test_a_doubtful_reference_is_refused_before_anything_is_drawn(
    workers: SimpleNamespace,
) -> None:
    engine = Scripted(done())
    with pytest.raises(ContentRefused) as caught:
        drawn(engine, workers.job(reference_files=(blue_png(),)), Doubtful(b"\0\0\xff"))
    assert caught.value.stage == "input"
    assert engine.ran == 0


def test_a_doubtful_prompt_is_refused_before_anything_is_drawn(workers: SimpleNamespace) -> None:
    engine = Scripted(done())
    with pytest.raises(ContentRefused):
        drawn(engine, workers.job(), words=Doubtful())
    assert engine.ran == 0


def test_a_doubtful_preview_is_left_out_and_the_picture_decides(workers: SimpleNamespace) -> None:
    blue = Picture(8, 8, b"\0\0\xff" * 64)
    script = (Started("scripted", "exact", 64, 64, 4), Preview(1, blue), Preview(2, RED), done())
    said = drawn(Scripted(*script), workers.job(check_safety=False))
    assert [type(message) for message in said] == [Started, PreviewFile, PreviewFile, Finished]
    said = drawn(Scripted(*script), workers.job(), Doubtful(b"\0\0\xff"))
    assert [message.i for message in said if isinstance(message, PreviewFile)] == [2]


def test_a_worker_without_an_exact_mode_draws_in_its_own_and_says_so(
    workers: SimpleNamespace,
) -> None:
    (out,) = drawn(Scripted(done("bf16"), modes=("bf16",)), workers.job())
    assert isinstance(out, Finished)
    assert any("bf16" in warning for warning in out.metadata["warnings"])
    (out,) = drawn(Scripted(done()), workers.job())
    assert isinstance(out, Finished)
    assert out.metadata["warnings"] == []


def test_a_run_without_an_end_is_an_error(workers: SimpleNamespace) -> None:
    with pytest.raises(LinocutError, match="without a picture"):
        drawn(Scripted(), workers.job())


@pytest.fixture(scope="module")
def judging(judging_folder: Path) -> Iterator[Studio]:
    """A studio whose prompts are read by the whole text encoder."""
    studio = open_studio(Options(checkpoint=str(judging_folder), device="cpu",
                                 safety_model="text_encoder"))  # fmt: skip
    with studio.engine:
        yield studio


def test_the_text_encoder_judges_after_the_terms(
    judging: Studio, workers: SimpleNamespace, small: SimpleNamespace
) -> None:
    accepted, refused = small.judged
    assert isinstance(list(judging.draw(workers.job(accepted)))[-1], Finished)
    with pytest.raises(ContentRefused) as caught:
        list(judging.draw(workers.job(refused)))
    assert (caught.value.stage, caught.value.category) == ("input", small.judged[refused])
    unchecked = workers.job(refused, check_safety=False)
    assert isinstance(list(judging.draw(unchecked))[-1], Finished)


def test_what_the_terms_refuse_is_not_asked_about(
    judging: Studio, workers: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judging.language_model is not None
    monkeypatch.setattr(judging.language_model, "_model", None)  # it would fail if it were asked
    with pytest.raises(ContentRefused) as caught:
        list(judging.draw(workers.job("a naked woman")))
    assert caught.value.category == "sexual"


def test_judging_takes_no_memory_for_the_layers_that_draw(judging: Studio) -> None:
    assert judging.language_model is not None
    judges = judging.language_model._model.model.state_dict()
    draws = judging.engine.text_encoder.model.state_dict()
    shared = {name for name in draws if draws[name].data_ptr() == judges[name].data_ptr()}
    assert shared == set(draws)
    assert {name.split(".")[1] for name in set(judges) - shared if name.startswith("layers.")} == {
        str(layer) for layer in range(30, 40)
    }


def test_a_worker_with_a_judge_draws_and_refuses(
    judging_folder: Path, workers: SimpleNamespace, small: SimpleNamespace
) -> None:
    async def run() -> list[Any]:
        options = Options(checkpoint=str(judging_folder), threads=1, device="cpu",
                          safety_model="text_encoder")  # fmt: skip
        worker = ChildProcess("judge", command(options))
        try:
            await worker.start()
            return [(await workers.everything(worker, workers.job(p)))[-1] for p in small.judged]
        finally:
            await worker.stop()

    drawn, refused = asyncio.run(run())
    assert isinstance(drawn, Finished)
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, ContentRefused)
    assert refused.error.category == "violence"


def test_a_checkpoint_that_cannot_judge_does_not_draw_half_checked() -> None:
    async def started() -> str:
        options = Options(device="cpu", threads=1, safety_model="text_encoder")
        supervisor = Supervisor(lambda _: ChildProcess("mini", command(options)))
        await supervisor.start()
        try:
            with pytest.raises(CheckpointInvalid) as caught:
                await supervisor.ready()
            assert "safety_model=terms" in caught.value.hint
            (condition,) = supervisor.conditions()
            assert condition.ready is None
            return condition.reason
        finally:
            await supervisor.stop()

    reason = asyncio.run(started())
    assert "linocut-mini has 7 layers and cannot answer questions" in reason
