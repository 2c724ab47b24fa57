"""The flags of `linocut generate`, as one frozen value with the API's names and defaults.

And what several commands share: `takes`, `DataDir`, `TextLayers`.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from typer import Argument, Option

from linocut.errors import InvalidRequest
from linocut.images.encode import DEFAULT_QUALITY, Format
from linocut.request import MATCH
from linocut.safety.policy import SafetyModel
from linocut.sizes import ASPECT_RATIOS

T = TypeVar("T")
DataDir = Annotated[Path | None, Option(help="The server's data folder. [~/.local/share/linocut]")]
TextLayers = Annotated[
    str | None,
    Option(
        metavar="I,J,K",
        help="Which hidden states of the text encoder are read, where the checkpoint does not say "
        "it itself.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What a person typed; ranges are checked where requests are made, not here."""

    prompt: Annotated[
        str,
        Argument(metavar="PROMPT|-", help="What to draw; - reads it from standard input."),
    ]
    image: Annotated[
        list[Path] | None,
        Option(
            metavar="FILE",
            help="A reference picture, PNG, JPEG or WebP, to edit or to follow. Repeat it for "
            'several; the prompt may speak of "image 1", "image 2".',
        ),
    ] = None
    prompt_strength: Annotated[
        float,
        Option(
            help="0 to 1, with --image. 1 draws anew and looks at the references; below 1 the "
            "drawing starts from the first one, and 0 gives it back."
        ),
    ] = 1.0
    seed: Annotated[
        int | None,
        Option(
            help="0 to 9007199254740991; the same seed draws the same picture. "
            "Without one, or with -1, a new one is drawn and told."
        ),
    ] = None
    num_inference_steps: Annotated[int, Option(help="1 to 50; more is slower and finer.")] = 28
    guidance: Annotated[float, Option(help="0 to 10; how closely to follow the prompt.")] = 3.0
    aspect_ratio: Annotated[
        str | None,
        Option(
            help=f"One of {', '.join(ASPECT_RATIOS)}, or {MATCH}: the shape of the first --image. "
            f"[{MATCH} with --image, else 1:1]"
        ),
    ] = None
    megapixels: Annotated[str | None, Option(help="1 or 0.25 [1]")] = None
    width: Annotated[
        int | None,
        Option(help="64 to 2048, a multiple of 16; with --height."),
    ] = None
    height: Annotated[
        int | None,
        Option(help="64 to 2048, a multiple of 16; with --width."),
    ] = None
    output: Annotated[
        str | None,
        Option(
            "-o",
            "--output",
            metavar="FILE|-",
            help="Where to save it; - writes the file to standard output. Without it a new name "
            "in this folder is made from the prompt and the seed.",
        ),
    ] = None
    output_format: Annotated[
        Format | None,
        Option(help="[by the name of -o, else webp]"),
    ] = None
    output_quality: Annotated[
        int | None, Option(help=f"0 to 100; no effect on png. [{DEFAULT_QUALITY}]")
    ] = None
    json: Annotated[
        bool,
        Option("--json", help="Print one JSON object about the picture instead of its path."),
    ] = False
    preview: Annotated[
        bool,
        Option("--preview", help="Show the picture in the terminal as it forms."),
    ] = False
    disable_safety_checker: Annotated[
        bool,
        Option(
            "--disable-safety-checker",
            help="Check neither the prompt nor the pictures. The licence of FLUX.2 [dev] then asks "
            "that a person looks at every picture before it is shown to anybody.",
        ),
    ] = False
    prompt_check: Annotated[
        list[str] | None,
        Option(
            metavar="NAME",
            help="What reads the prompt: terms, the words that linocut knows; or module:factory, "
            "a check of your own. Repeat it for several, asked in this order. [terms]",
        ),
    ] = None
    picture_check: Annotated[
        list[str] | None,
        Option(
            metavar="NAME",
            help="What looks at the pictures: opennsfw, the network that linocut brings; or "
            "module:factory, a check of your own. Repeat it for several, asked in this order. "
            "[opennsfw]",
        ),
    ] = None
    safety_model: Annotated[
        SafetyModel,
        Option(
            help="What reads the prompt after its checks: terms, nothing more; text_encoder, the "
            "whole text encoder of FLUX.2 [dev], which `linocut pull flux-2-dev "
            "--with-safety-model` fetches."
        ),
    ] = "terms"
    checkpoint: Annotated[
        str,
        Option(metavar="NAME|DIR", help="A name that `linocut ls` lists, or a folder."),
    ] = "linocut-mini"
    device: Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    dtype: Annotated[
        Literal["float32", "bfloat16"] | None,
        Option(help="[float32 on a CPU, bfloat16 on a GPU]"),
    ] = None
    mode: Annotated[
        str | None,
        Option(
            help="exact computes the published function; bf16 is faster on CPUs that multiply it. "
            "[the device's first]"
        ),
    ] = None
    text_layers: TextLayers = None


def layers_of(said: str | None) -> tuple[int, ...] | None:
    """The hidden states that `--text-layers` names; InvalidRequest."""
    if said is None:
        return None
    if not re.fullmatch(r"\s*\d{1,4}(\s*,\s*\d{1,4})*\s*", said):
        raise InvalidRequest(
            f"text_layers={said!r}: use numbers with commas between them, like 10,20,30",
            field="text_layers",
        )
    return tuple(map(int, said.split(",")))


def takes(kind: type[T]) -> Callable[[Callable[[T], None]], Callable[..., None]]:
    """A command whose flags are the fields of `kind`; it gets them as one value."""

    def wrap(command: Callable[[T], None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**values: Any) -> None:
            command(kind(**values))

        hints = get_type_hints(kind, include_extras=True)
        flags = inspect.signature(kind).parameters.values()
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [flag.replace(annotation=hints[flag.name]) for flag in flags]
        )
        run.__annotations__ = hints
        del run.__wrapped__
        return run

    return wrap
