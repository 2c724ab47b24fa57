"""A worker that only pretends to draw: same frames, same arguments, no torch; for tests and storms.

`python -m linocut.workers.fake --step-seconds 0.01`. Its pixels follow from seed and prompt alone.
Words in brackets in the prompt make it fail, after step 1 or the step named, as in "[crash 3]":

    [crash] aborts   [crash-once] only the first time a job is run (needs --state-dir)
    [killed] as the system kills what takes too much memory   [exit] an error nobody expected
    [hang] says no more   [oom] too little memory for this picture
    [refuse], [refuse-output] a safety check says no   [slow] ten times slower
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from linocut.catalog import MINI
from linocut.cost import executed_steps, request_cost
from linocut.errors import ContentRefused
from linocut.events import Decoding, Done, Encoding, Preview, Started, Step
from linocut.repertoire import Repertoire, Thing
from linocut.request import ImageRequest, Picture
from linocut.workers import inside
from linocut.workers.files import finished, preview_file, with_references
from linocut.workers.options import reader
from linocut.workers.protocol import Job, Message, Rate, Ready
from linocut.workers.rate import Run, Runs, chosen_mode

NAME: Final = "fake"
FAST: Final = "bf16"
MODES: Final = ("exact", FAST)
REPERTOIRE: Final = Repertoire(
    (Thing("red apple", "food", ("apple",)), Thing("pear", "food"), Thing("fox", "animals")),
    styles=("3D", "flat"),
    backgrounds=("white", "teal"),
)
WARNING: Final = "drawn by a fake worker: colours that mean nothing"
_FREE: Final = 1e15  # operations a second: what is not a step costs it nothing
_FOREVER: Final = 1e6
_PREVIEW_SIDE: Final = 64
_MARK: Final = re.compile(r"\[([a-z-]+)(?: (\d{1,4}))?\]")


@dataclass(frozen=True, slots=True)
class Fake:
    """A worker without a model."""

    step_seconds: float
    state: Path | None
    runs: dict[str, Runs] = field(default_factory=dict)

    @property
    def ready(self) -> Ready:
        """What it says of itself."""
        first = Rate(per_step=self.step_seconds, flops_per_second=_FREE)
        return Ready(
            checkpoint=NAME,
            demo=True,
            device="cpu",
            modes=MODES,
            fast=FAST,
            config=MINI,
            rates={mode: self.runs.setdefault(mode, Runs(first)).rate for mode in MODES},
            repertoire=REPERTOIRE,
        )

    def draw(self, job: Job) -> Generator[Message, None, None]:
        """The job's run, with the failures that its prompt asks for."""
        began = time.perf_counter()
        asked = with_references(job)
        mode = chosen_mode(asked.mode, MODES, FAST if job.go_fast else None)
        request = replace(asked, mode=mode)
        if job.check_safety and "refuse" in _marks(request.prompt):
            raise _refusal("input")
        done = yield from self._steps(job, request)
        if job.check_safety and "refuse-output" in _marks(request.prompt):
            raise _refusal("output")
        safety = {"checked": job.check_safety}
        drawn = finished(job, request, done, began=began, safety=safety)
        cost = request_cost(request, MINI)
        run = Run(steps=cost.steps, flops=cost.flops.total, seconds=drawn.seconds)
        yield replace(drawn, rate=self.runs[mode].add(run))

    def _steps(self, job: Job, request: ImageRequest) -> Generator[Message, None, Done]:
        done, n = _done(request), executed_steps(request)
        size = (done.drawn_width, done.drawn_height)
        started = Started(NAME, request.mode, *size, n, done.warnings)
        yield started
        yield Encoding()
        seconds = self.step_seconds * (10 if "slow" in _marks(request.prompt) else 1)
        for i in range(1, n + 1):
            time.sleep(seconds)
            yield Step(i, n, seconds, seconds * (n - i))
            self._fail(job, i)
            if request.preview and i == (n + 1) // 2 < n:
                small = pixels(request, _PREVIEW_SIDE, _PREVIEW_SIDE)
                yield preview_file(job, request, started, Preview(i, small))
        yield Decoding()
        return done

    def _fail(self, job: Job, step: int) -> None:
        for mark, at in _marks(job.request.prompt).items():
            if at == step and mark in _FAILURES and not self._has_failed(job, mark):
                _FAILURES[mark]()

    def _has_failed(self, job: Job, mark: str) -> bool:
        """Whether this job has failed before and shall not again; remembers that it does now."""
        if mark != "crash-once" or self.state is None:
            return False
        place = self.state / hashlib.sha256(job.id.encode()).hexdigest()
        was_there = place.exists()
        place.touch()
        return was_there


def pixels(request: ImageRequest, width: int, height: int) -> Picture:
    """Two colours that follow from prompt and seed, side by side."""
    digest = hashlib.sha256(f"{request.seed} {request.prompt}".encode()).digest()
    left = width // 2
    return Picture(width, height, (digest[:3] * left + digest[3:6] * (width - left)) * height)


def _done(request: ImageRequest) -> Done:
    width, height = MINI.drawn_size(request.width, request.height)
    return Done(
        picture=pixels(request, request.width, request.height),
        seed=request.seed,
        drawn_width=width,
        drawn_height=height,
        mode=request.mode,
        checkpoint=NAME,
        demo=True,
        warnings=(WARNING,),
    )


def _marks(prompt: str) -> dict[str, int]:
    """The words in brackets, and the step that each is meant for."""
    return {mark: int(step or 1) for mark, step in _MARK.findall(prompt)}


def _refusal(stage: str) -> ContentRefused:
    return ContentRefused(
        f"the fake check stopped this (stage: {stage}, category: test)",
        stage=stage,
        category="test",
        hint="leave the brackets out",
    )


def _killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fault() -> None:
    raise RuntimeError("an error that nobody expected")


def _no_memory() -> None:
    raise MemoryError


_FAILURES: Final[Mapping[str, Callable[[], None]]] = {
    "crash": os.abort,
    "crash-once": os.abort,
    "killed": _killed,
    "exit": _fault,
    "hang": lambda: time.sleep(_FOREVER),
    "oom": _no_memory,
}


def main() -> None:
    """Open the link, pretend to load, and serve."""
    link = inside.open_link()
    parser = reader("A worker that pretends to draw, for a server at its pipes.")
    parser.add_argument("--step-seconds", type=float, default=0.01)
    parser.add_argument("--load-seconds", type=float, default=0.0)
    parser.add_argument("--state-dir", type=Path)
    said = parser.parse_args(sys.argv[1:])
    time.sleep(said.load_seconds)
    fake = Fake(said.step_seconds, said.state_dir)
    inside.serve(link, fake.ready, fake.draw)


if __name__ == "__main__":
    main()
