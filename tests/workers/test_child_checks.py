"""The process that really draws, with checks that somebody else wrote."""

from __future__ import annotations

import asyncio
import io
import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from linocut.errors import CheckFailed, ContentRefused, LinocutError
from linocut.workers.child import Studio, open_studio
from linocut.workers.options import Options, command
from linocut.workers.process import ChildProcess
from linocut.workers.protocol import Condition, Finished, PreviewFile, Refused
from linocut.workers.supervisor import Supervisor

SOURCES = Path(__file__).parents[2] / "src"
# The words and the sides say which check answers what; nothing else of a picture matters.
MODULE = """
from linocut.safety.policy import Finding

class Words:
    def check(self, text):
        if "broken" in text: raise ValueError(text)
        return Finding("prompt", "house_rules", 1.0) if "castle" in text else None

class Sides:
    def check(self, picture):
        if picture.height == 112: return True
        return Finding("picture", "wide", 1.0) if picture.width in (80, 96) else None

class Previews:
    def check(self, picture):
        return Finding("picture", "small", 1.0) if picture.width < 512 else None

class Never:
    def check(self, given): raise ConnectionError(given)
"""


@pytest.fixture(scope="module")
def little_folder(small: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint that draws little, so that a worker is warm in a moment."""
    return small.save_checkpoint(
        small.their_pipeline(),
        tmp_path_factory.mktemp("little") / "little",
        text_layers=small.layers,
        max_text_tokens=small.max_tokens,
        native_max_tokens=64,
    )


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module's name; this process and its children find it."""
    (tmp_path / "plugged_here.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(SOURCES), str(tmp_path))))
    monkeypatch.syspath_prepend(tmp_path)
    return "plugged_here"


def blank_png() -> bytes:
    """A reference picture's file, 96 pixels wide."""
    file = io.BytesIO()
    Image.new("RGB", (96, 64), "blue").save(file, "PNG")
    return file.getvalue()


def options(checkpoint: Path | str, **more: Any) -> Options:
    """A worker on one core."""
    return Options(checkpoint=str(checkpoint), device="cpu", threads=1, **more)


def refusal(ending: Any) -> tuple[str, str]:
    """(stage, category) of a run that a check has ended."""
    assert isinstance(ending, Refused)
    assert isinstance(ending.error, ContentRefused)
    return ending.error.stage, ending.error.category


def test_a_worker_asks_them_about_all_that_it_sees(
    plugged: str, little_folder: Path, workers: SimpleNamespace
) -> None:
    asked = options(
        little_folder,
        prompt_checks=("terms", f"{plugged}:Words"),
        picture_checks=(f"{plugged}:Sides",),
    )
    jobs = {
        "passes": workers.job(),
        "our words": workers.job("a naked woman"),
        "their words": workers.job("a castle"),
        "broken": workers.job("a broken cup"),
        "reference": workers.job(reference_files=(blank_png(),)),
        "drawn": workers.job(width=80),
        "no answer": workers.job(height=112),
        "unchecked": workers.job("a castle", width=80, check_safety=False),
        "still there": workers.job(),
    }

    async def run() -> dict[str, Any]:
        worker = ChildProcess("plugged", command(asked))
        try:
            await worker.start()
            return {name: (await workers.everything(worker, job))[-1] for name, job in jobs.items()}
        finally:
            await worker.stop()

    said = asyncio.run(run())
    assert refusal(said["our words"]) == ("input", "sexual")
    assert refusal(said["their words"]) == ("input", "house_rules")
    assert refusal(said["reference"]) == ("input", "wide")
    assert refusal(said["drawn"]) == ("output", "wide")
    for name, words in (("broken", "Words failed: ValueError"), ("no answer", "answered bool")):
        assert isinstance(said[name], Refused)
        assert isinstance(said[name].error, CheckFailed)
        assert words in said[name].error.message
        assert "cup" not in said[name].error.message
    for name in ("passes", "unchecked", "still there"):
        assert isinstance(said[name], Finished)


def studio(folder: Path, **named: tuple[str, ...]) -> Studio:
    """A studio of this process."""
    return open_studio(options(folder, **named))


def test_a_preview_that_they_doubt_is_left_out(
    plugged: str, little_folder: Path, workers: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linocut.engine.engine.PREVIEW_SECONDS", 0.0)  # one after each step
    here = studio(little_folder, picture_checks=(f"{plugged}:Previews",))
    with here.engine:
        for checked, previews in ((True, 0), (False, 3)):
            job = workers.job(width=512, height=512, preview=True, check_safety=checked)
            said = list(here.draw(job))
            assert isinstance(said[-1], Finished)
            assert sum(isinstance(message, PreviewFile) for message in said) == previews


def test_what_failed_is_in_the_log_without_the_prompt(
    plugged: str, little_folder: Path, workers: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    here = studio(little_folder, prompt_checks=(f"{plugged}:Words",), picture_checks=("opennsfw",))
    with here.engine, caplog.at_level(logging.WARNING), pytest.raises(CheckFailed):
        list(here.draw(workers.job("a broken cup")))
    assert "plugged_here:Words failed: ValueError (plugged_here.py, line 6)" in caplog.text
    assert "cup" not in caplog.text


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"picture_checks": ("opennsfw", "nowhere_at_all:Mine")}, "No module named 'nowhere_at_al"),
        ({"prompt_checks": ("terms", "plugged_here:Wrods")}, "has no attribute 'Wrods'"),
        ({"prompt_checks": ("plugged_here:Never",)}, "plugged_here:Never failed: ConnectionError"),
        ({"picture_checks": ("plugged_here:Never",)}, "plugged_here:Never failed: ConnectionError"),
        ({"picture_checks": ("opennsfv",)}, "'opennsfv' is no picture check: use opennsfw, or"),
        ({"prompt_checks": ()}, "no prompt check is named"),
    ],
)
@pytest.mark.usefixtures("plugged")
def test_a_check_that_does_not_work_is_told_before_the_checkpoint_is_looked_for(
    named: dict[str, tuple[str, ...]], words: str
) -> None:
    with pytest.raises(LinocutError) as caught:
        studio(Path("/nowhere/at/all"), **named)
    assert words in caught.value.message


def test_without_a_check_that_works_no_worker_starts(plugged: str) -> None:
    asked = options("linocut-mini", picture_checks=("opennsfw", f"{plugged}:Never"))

    async def started() -> Condition:
        supervisor = Supervisor(lambda _: ChildProcess("mini", command(asked)))
        await supervisor.start()
        try:
            with pytest.raises(CheckFailed, match="plugged_here:Never failed: ConnectionError"):
                await supervisor.ready()
            return supervisor.conditions()[0]
        finally:
            await supervisor.stop()

    condition = asyncio.run(started())
    assert condition.ready is None
    assert "plugged_here:Never failed: ConnectionError" in condition.reason
