"""What a worker is started with: one value, written as arguments and read from them."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, get_args

from linocut.safety.policy import PICTURE_CHECKS, PROMPT_CHECKS, SafetyModel

REAL: Final = "linocut.workers.child"
FAKE: Final = "linocut.workers.fake"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Which checkpoint, where, and how; as `Engine.open` takes them, and what checks.

    prompt_checks, picture_checks: names, in the order in which they are asked.
    threads: how many cores to compute on; None leaves it to PyTorch. They are a part of the mode:
    another number may give other bytes.
    """

    checkpoint: str = "linocut-mini"
    home: Path | None = None
    device: str = "auto"
    dtype: str | None = None
    prompt_checks: tuple[str, ...] = PROMPT_CHECKS
    picture_checks: tuple[str, ...] = PICTURE_CHECKS
    safety_model: SafetyModel = "terms"
    threads: int | None = None
    text_layers: tuple[int, ...] | None = None

    def arguments(self) -> tuple[str, ...]:
        """The same as arguments of a command."""
        said = {part.name: getattr(self, part.name) for part in fields(self)}
        return tuple(
            f"--{name.replace('_', '-')}={_written(value)}"
            for name, value in said.items()
            if value is not None
        )


def command(options: Options, *more: str, module: str = REAL) -> tuple[str, ...]:
    """What starts a worker; `more` are arguments that only that module knows."""
    return (sys.executable, "-m", module, *options.arguments(), *more)


def reader(description: str) -> ArgumentParser:
    """Reads the arguments of `Options`; a module may add its own."""
    parser = ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--checkpoint", default="linocut-mini")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype")
    parser.add_argument("--prompt-checks", type=_words, default=PROMPT_CHECKS)
    parser.add_argument("--picture-checks", type=_words, default=PICTURE_CHECKS)
    parser.add_argument("--safety-model", choices=get_args(SafetyModel), default="terms")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--text-layers", type=_numbers)
    return parser


def _written(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _words(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def options_of(said: Namespace) -> Options:
    """The options among what was read."""
    return Options(**{part.name: getattr(said, part.name) for part in fields(Options)})


def read(arguments: Sequence[str], description: str) -> Options:
    """The options in these arguments."""
    return options_of(reader(description).parse_args(arguments))
