"""The process that draws: a checkpoint, the safety checks, and one job after the other.

`python -m linocut.workers.child --checkpoint linocut-mini`; started by `ChildProcess`, imported by
nobody.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Final

import torch

from linocut.cost import request_cost
from linocut.engine.engine import Engine
from linocut.engine.memory import memory_errors
from linocut.errors import CheckFailed, LinocutError
from linocut.events import Decoding, Done, Encoding, Preview, Started, Step
from linocut.request import ImageRequest, Picture
from linocut.safety import checks
from linocut.safety.plugged import picture_checks, prompt_checks
from linocut.safety.text_encoder import TextEncoderCheck
from linocut.workers import inside
from linocut.workers.files import finished, preview_file, with_references
from linocut.workers.options import Options, read
from linocut.workers.protocol import Job, Message, PreviewFile, Ready, Refused
from linocut.workers.rate import EXACT, Run, Runs, chosen_mode, fast_mode, first_rate

WARM_UP: Final = ImageRequest(prompt="a red apple", num_inference_steps=2)
WARM_UP_SIDES: Final = (
    64,
    64,
    1024,
)  # the very first run also wakes the libraries, and is not counted
_GREY: Final = Picture(64, 64, b"\x80" * (3 * 64 * 64))
_NOT_EXACT: Final = "drawn in {mode}: the precision of this worker's weights has no exact mode"
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Studio:
    """Everything that drawing takes: the engine, the checks, what runs have taken.

    words: reads prompts.   pictures: looks at references, previews and pictures.
    fast: the mode for those who permit to go fast, if there is one.
    language_model: the check that is asked about prompts last, if there is one.
    """

    engine: Engine
    words: checks.Reads
    pictures: checks.Sees
    runs: dict[str, Runs]
    fast: str | None = None
    language_model: TextEncoderCheck | None = None

    @property
    def ready(self) -> Ready:
        """What the worker says of itself."""
        checkpoint, placement = self.engine.checkpoint, self.engine.placement
        return Ready(
            checkpoint=checkpoint.name,
            demo=checkpoint.demo,
            device=str(placement.device),
            modes=tuple(placement.modes),
            fast=self.fast,
            config=checkpoint.config,
            rates={mode: runs.rate for mode, runs in self.runs.items()},
            repertoire=checkpoint.repertoire,
        )

    def draw(self, job: Job) -> Generator[Message, None, None]:
        """The job's run. LinocutError; MemoryError if there is too little."""
        try:
            with memory_errors():
                yield from self._draw(job)
        except CheckFailed as error:
            _log.warning("%s", error.message)  # who asked for the picture cannot mend a check
            raise

    def _draw(self, job: Job) -> Generator[Message, None, None]:
        began = time.perf_counter()
        asked = with_references(job)
        fast = self.fast if job.go_fast else None
        mode = chosen_mode(asked.mode, tuple(self.engine.placement.modes), fast)
        request = replace(asked, mode=mode)
        if job.check_safety:
            self._check_input(request)
        done = yield from self._events(job, request)
        if job.check_safety:
            checks.drawn(done.picture, self.pictures)
        if asked.mode == EXACT != mode and not job.go_fast:
            done = replace(done, warnings=(*done.warnings, _NOT_EXACT.format(mode=mode)))
        safety = {"checked": job.check_safety}
        drawn = finished(job, request, done, began=began, safety=safety)
        run = measured(self.engine, request, drawn.seconds)
        yield replace(drawn, rate=self.runs[mode].add(run))

    def _events(self, job: Job, request: ImageRequest) -> Generator[Message, None, Done]:
        for event in self.engine.run(request):
            match event:
                case Started():
                    started = event
                    yield event
                case Encoding() | Step() | Decoding():
                    yield event
                case Preview():
                    yield from self._preview(job, request, started, event)
                case Done():
                    return event
        raise LinocutError("the run ended without a picture")

    def _check_input(self, request: ImageRequest) -> None:
        checks.admitted(request, self.words, lambda: self.pictures)
        if self.language_model is not None:
            checks.asked(self.language_model, request.prompt)

    def _preview(
        self, job: Job, request: ImageRequest, started: Started, preview: Preview
    ) -> Generator[PreviewFile, None, None]:
        """The preview's file, or nothing: a doubtful one is not shown, the picture will decide."""
        if not job.check_safety or checks.may_be_shown(preview.picture, self.pictures):
            yield preview_file(job, request, started, preview)


def measured(engine: Engine, request: ImageRequest, seconds: float) -> Run:
    """A run as the fit of rates sees it."""
    cost = request_cost(request, engine.checkpoint.config)
    return Run(steps=cost.steps, flops=cost.flops.total, seconds=seconds)


def usual_run(engine: Engine) -> Run:
    """How much a request is that says nothing but its words."""
    return measured(engine, ImageRequest(prompt=WARM_UP.prompt), seconds=0.0)


def warmed_up(engine: Engine, mode: str) -> Runs:
    """What two steps take in this mode at a small and at a large size."""
    runs = []
    for side in WARM_UP_SIDES:
        request = replace(WARM_UP, width=side, height=side, mode=mode)
        began = time.perf_counter()
        engine.draw(request)
        runs.append(measured(engine, request, time.perf_counter() - began))
    return Runs(first_rate(*runs[1:]))


def open_studio(options: Options) -> Studio:
    """The studio that the options ask for, warm. Raises what `Engine.open` raises, and CheckFailed.

    One that would check less than it was asked to is not opened: every check is loaded before the
    checkpoint, which takes longer, and asked once, whatever it says.
    """
    words = prompt_checks(options.prompt_checks)
    words.check(WARM_UP.prompt)
    pictures = picture_checks(options.picture_checks, threads=options.threads or 1)
    pictures.check(_GREY)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    engine = Engine.open(
        options.checkpoint,
        home=options.home,
        device=options.device,
        dtype=options.dtype,
        text_layers=options.text_layers,
    )
    language_model = None
    if options.safety_model == "text_encoder":
        language_model = TextEncoderCheck.open(
            engine.checkpoint, engine.tokenizer, engine.text_encoder
        )
        language_model.check(WARM_UP.prompt)
    runs = {mode: warmed_up(engine, mode) for mode in engine.placement.modes}
    if len(runs) > 1:  # the first of them was cold, and would seem slower than it is
        runs[engine.placement.default_mode] = warmed_up(engine, engine.placement.default_mode)
    fast = fast_mode({mode: its.rate for mode, its in runs.items()}, usual_run(engine))
    return Studio(engine, words, pictures, runs, fast, language_model)


def main() -> None:
    """Open the link, load, and serve; a checkpoint that cannot be loaded is told as an error."""
    link = inside.open_link()
    began = time.perf_counter()
    try:
        studio = open_studio(read(sys.argv[1:], "A worker that draws, for a server at its pipes."))
    except LinocutError as error:
        link.send(Refused(error=error, seconds=time.perf_counter() - began))
        return
    inside.serve(link, studio.ready, studio.draw)


if __name__ == "__main__":
    main()
