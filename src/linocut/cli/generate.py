"""`linocut generate`: words in, a picture's path out."""

from __future__ import annotations

import os
import re
import secrets
import sys
import time
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer
from rich.console import Console

from linocut.cli import say
from linocut.cli.checks import Named, ask, checked, look_at, named, shows
from linocut.cli.flags import Flags, layers_of, takes
from linocut.cli.progress import Display, shows_colours
from linocut.cli.settings import embed_prompt, endpoint, home
from linocut.errors import InvalidRequest, OutputError
from linocut.events import Done, Started, Step
from linocut.images.decode import read_picture
from linocut.images.drawn import SUFFIXES, described
from linocut.images.encode import DEFAULT_FORMAT, DEFAULT_QUALITY, Format, check_output, encode
from linocut.images.files import check_target, save, save_new
from linocut.request import (
    MATCH,
    MAX_PROMPT_CHARACTERS,
    ImageRequest,
    check_reference,
    check_side,
    matched_size,
)
from linocut.sizes import size_of
from linocut.weights.files import open_checkpoint
from linocut.weights.language_model import find_language_model

if TYPE_CHECKING:
    from linocut.engine.engine import Engine

INTERRUPTED: Final = 130
EXAMPLE: Final = 'linocut generate "a red apple"'
SEEDS: Final = 2**32  # ten digits at most, so that a person can note one down


@dataclass(frozen=True, slots=True)
class Target:
    """Where the picture goes: a named file, standard output, or (path None) a name to be made."""

    path: Path | None
    format: Format
    quality: int
    to_stdout: bool = False


@dataclass(slots=True)
class Reached:
    """How far a run has come, for the one who stops it."""

    words: str = "before the first step"


@takes(Flags)
def generate(flags: Flags) -> None:
    """Draw a picture from words, and print its path."""
    endpoint(os.environ)  # asked for nothing here, but read by libraries as they are imported
    wanted = named(flags, os.environ)
    target, keeps_prompt = _target(flags), embed_prompt(os.environ)
    request = _request(flags)
    if not target.to_stdout:
        check_target(target.path or Path(_name(request, target.format)))
    reached = Reached()
    try:
        done, timings = _draw(flags, request, wanted, reached)
        began = time.perf_counter()
        metadata = described(request, done)
        data = encode(
            done.picture,
            format=target.format,
            quality=target.quality,
            metadata=metadata,
            embed_prompt=keeps_prompt,
        )
        path = _saved(target, data, request)
    except KeyboardInterrupt:
        say.error(f"stopped {reached.words}, nothing was saved")
        raise typer.Exit(INTERRUPTED) from None
    timings["saving"] = time.perf_counter() - began
    try:
        if flags.json:
            file = {"output_format": target.format, "output_quality": target.quality}
            summary = _summary(path, done, metadata.to_json(), timings=timings, **file)
            say.values(summary | {"safety": {"checked": wanted is not None}})
            return
        _report(done, sum(timings.values()))
        if path is not None:
            say.path(path)
    except OutputError as error:
        error.hint = f"the picture is saved all the same: {path}"
        raise


def open_engine(flags: Flags) -> Engine:
    """The engine that these flags ask for. Here PyTorch is imported, and nowhere before."""
    layers, where = layers_of(flags.text_layers), home(os.environ)
    if flags.safety_model == "text_encoder":  # said now, not after minutes of loading
        find_language_model(open_checkpoint(flags.checkpoint, home=where, text_layers=layers))
    from linocut.engine.engine import Engine  # noqa: PLC0415

    return Engine.open(
        flags.checkpoint,
        home=where,
        device=flags.device,
        dtype=flags.dtype,
        text_layers=layers,
    )


def _draw(
    flags: Flags, request: ImageRequest, wanted: Named | None, reached: Reached
) -> tuple[Done, dict[str, float]]:
    """(the drawn picture, seconds of every stage), shown on the terminal while it is drawn.

    wanted: the safety checks. Raises ContentRefused where one says no, CheckFailed.
    """
    console = say.console()
    if flags.preview and not shows_colours(console):
        say.warning("--preview needs a terminal with colours on standard error; it is not shown")
        request = replace(request, preview=False)
    began = time.perf_counter()
    said: tuple[str, ...] = ()
    check = checked(request, wanted)
    with (
        Display(console, f"Loading {say.printable(flags.checkpoint)}") as display,
        open_engine(flags) as engine,
    ):
        ask(engine, request.prompt, model=flags.safety_model)
        loading = time.perf_counter() - began
        request = replace(request, mode=flags.mode or engine.placement.default_mode)
        for event in engine.run(request):
            if shows(event, check):
                display.show(event)
            match event:
                case Started(warnings=said):
                    _warn(said, console)
                case Step(i=i, n=n):
                    reached.words = f"after step {i} of {n}"
                case Done():
                    done = event
        look_at(done.picture, check)
        if request.preview:
            display.leave(done.picture)
    _warn([text for text in done.warnings if text not in said], console)
    return done, {"loading": loading, **done.timings}


def _request(flags: Flags) -> ImageRequest:
    """The request in these flags, its prompt and its references read; InvalidRequest if not."""
    matches = _matches(flags)
    width, height = size_of("1:1", flags.megapixels or "1") if matches else _size(flags)
    values: dict[str, Any] = {
        "width": width,
        "height": height,
        "num_inference_steps": flags.num_inference_steps,
        "guidance": flags.guidance,
        "prompt_strength": flags.prompt_strength,
        "seed": secrets.randbelow(SEEDS) if flags.seed in (None, -1) else flags.seed,
        "preview": flags.preview,
    }
    if flags.mode is not None:
        values["mode"] = flags.mode
    layers_of(flags.text_layers)
    empty = ImageRequest(prompt="", **values)  # wrong numbers are told before files are read
    references = tuple(read_picture(path) for path in flags.image or ())
    if matches:
        first = references[0]
        check_reference(first, 1)
        width, height = matched_size(first.width, first.height, width * height)
    return replace(
        empty, prompt=_prompt(flags.prompt), references=references, width=width, height=height
    )


def _prompt(said: str) -> str:
    text = _piped() if said == "-" else said
    if not text.strip():
        raise InvalidRequest("the prompt is empty", field="prompt", hint=EXAMPLE)
    return text


def _piped() -> str:
    """The prompt on standard input."""
    if sys.stdin is None:
        raise InvalidRequest("standard input is closed: no prompt", field="prompt", hint=EXAMPLE)
    try:
        data = sys.stdin.buffer.read(4 * MAX_PROMPT_CHARACTERS + 1)
    except OSError as error:
        why = f"standard input cannot be read: {error.strerror or error}"
        raise InvalidRequest(why, field="prompt", hint=EXAMPLE) from error
    if len(data) > 4 * MAX_PROMPT_CHARACTERS:
        raise InvalidRequest(
            f"the prompt has more than {MAX_PROMPT_CHARACTERS:,} characters", field="prompt"
        )
    try:
        return data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InvalidRequest("standard input is not UTF-8 text", field="prompt") from error


def _matches(flags: Flags) -> bool:
    """Whether the picture has the shape of the first reference, as edits do unless told else."""
    if flags.aspect_ratio == MATCH and not flags.image:
        raise InvalidRequest(
            f"aspect_ratio={MATCH}: there is no picture to match",
            field="aspect_ratio",
            hint="name one with --image, or use one of the ratios",
        )
    sides_are_told = flags.width is not None or flags.height is not None
    return bool(flags.image) and not sides_are_told and flags.aspect_ratio in (None, MATCH)


def _size(flags: Flags) -> tuple[int, int]:
    sides = {"width": flags.width, "height": flags.height}
    if flags.width is None and flags.height is None:
        return size_of(flags.aspect_ratio or "1:1", flags.megapixels or "1")
    for name, value in (("aspect-ratio", flags.aspect_ratio), ("megapixels", flags.megapixels)):
        if value is not None:
            raise InvalidRequest(
                f"--{name} and --width with --height both say how large the picture is",
                field=name.replace("-", "_"),
                hint="leave one of them out",
            )
    for name, side in sides.items():
        if side is None:
            raise InvalidRequest(
                f"--{name} is missing", field=name, hint="give --width and --height, or neither"
            )
        check_side(name, side)
    return flags.width or 0, flags.height or 0


def _target(flags: Flags) -> Target:
    """Where to, and in which format; InvalidRequest where the flags contradict each other."""
    path = None if flags.output in (None, "-") else Path(flags.output or "")
    format = _format(path, flags.output_format) if path else flags.output_format or DEFAULT_FORMAT
    quality = DEFAULT_QUALITY if flags.output_quality is None else flags.output_quality
    check_output(format, quality)
    if flags.output == "-":
        _check_pipe(flags)
    if format == "png" and flags.output_quality is not None:
        say.warning("--output-quality has no effect on png: it keeps every pixel")
    return Target(path, format, quality, to_stdout=flags.output == "-")


def _check_pipe(flags: Flags) -> None:
    """Nothing, or InvalidRequest, OutputError: whether standard output can take a picture."""
    if flags.json:
        raise InvalidRequest(
            "--json and -o - both want standard output", field="output", hint="use -o FILE"
        )
    if sys.stdout is None:
        raise OutputError("standard output is closed", hint="use -o FILE")
    if sys.stdout.isatty():
        raise InvalidRequest(
            "a picture's bytes would garble the terminal",
            field="output",
            hint="pipe them into another program, or use -o FILE",
        )


def _format(path: Path, asked: Format | None) -> Format:
    named = SUFFIXES.get(path.suffix.lower())
    if asked and named and asked != named:
        raise InvalidRequest(
            f"the name says {named}, --output-format says {asked}: {path}",
            field="output_format",
            hint="leave one of them out",
        )
    if path.suffix and not asked and not named:
        raise InvalidRequest(
            f"no picture is written as {path.suffix}: {path}",
            field="output",
            hint=f"use {', '.join(SUFFIXES)}, or say --output-format",
        )
    return asked or named or DEFAULT_FORMAT


def _name(request: ImageRequest, format: Format) -> str:
    """A file's name from the prompt and the seed: a-red-apple-4711.webp."""
    ascii_only = unicodedata.normalize("NFKD", request.prompt).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", ascii_only.lower()).strip("-")
    slug = words if len(words) <= 40 else words[:41].rpartition("-")[0] or words[:40]
    return f"{slug or 'picture'}-{request.seed}.{format}"


def _saved(target: Target, data: bytes, request: ImageRequest) -> Path | None:
    """The path that it has now; None if it went to standard output."""
    if target.to_stdout:
        say.raw(data)
        return None
    if target.path is None:
        return save_new(Path(_name(request, target.format)), data)
    save(target.path, data)
    return target.path


def _warn(texts: tuple[str, ...] | list[str], console: Console) -> None:
    for text in texts:
        say.warning(text, to=console)


def _report(done: Done, seconds: float) -> None:
    size = f"{done.picture.width} x {done.picture.height}"
    how = f"{done.checkpoint}, {done.mode}"
    say.note(f"{size} · seed {done.seed} · {how} · {say.duration(seconds)}")


def _summary(
    path: Path | None, done: Done, values: dict[str, Any], *, timings: dict[str, float], **file: Any
) -> dict[str, Any]:
    told = (
        "seed", "width", "height", "drawn_width", "drawn_height", "checkpoint", "mode", "threads",
        "demo",
    )  # fmt: skip
    asked = ("prompt", "num_inference_steps", "guidance", "prompt_strength", "references")
    return {
        "path": str(path),
        **{name: values[name] for name in told},
        "warnings": list(done.warnings),
        "timings": {name: round(seconds, 4) for name, seconds in timings.items()},
        "parameters": {name: values[name] for name in asked} | file,
    }
