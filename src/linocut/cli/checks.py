"""The safety checks as `linocut generate` passes them; their libraries are imported on the way.

A check of None is none: everything passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from linocut.cli import say, settings
from linocut.errors import InvalidRequest
from linocut.events import Event, Preview
from linocut.request import ImageRequest, Picture
from linocut.safety.checks import Sees, admitted, asked, drawn, may_be_shown
from linocut.safety.plugged import picture_checks, prompt_checks
from linocut.safety.policy import SafetyModel, check_names

if TYPE_CHECKING:
    from linocut.cli.flags import Flags
    from linocut.engine.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The checks that are wanted, by name and in order."""

    prompt: tuple[str, ...]
    picture: tuple[str, ...]


def named(flags: Flags, environ: Mapping[str, str]) -> Named | None:
    """The checks that flags, else the environment, name; None where none is wanted.

    Raises InvalidRequest for a name that is none, and for flags that contradict each other.
    """
    if flags.disable_safety_checker:
        _check_alone(flags)
        return None
    found = Named(
        prompt=tuple(flags.prompt_check or settings.checks(environ, "prompt")),
        picture=tuple(flags.picture_check or settings.checks(environ, "picture")),
    )
    check_names(found.prompt, "prompt")
    check_names(found.picture, "picture")
    return found


def checked(request: ImageRequest, wanted: Named | None) -> Sees | None:
    """The picture check, after the prompt and the references have passed.

    None, with a warning, if no checks are wanted. Raises ContentRefused, CheckFailed.
    """
    if wanted is None:
        say.warning("--disable-safety-checker: neither the prompt nor any picture is checked")
        return None
    words = prompt_checks(wanted.prompt)
    return admitted(request, words, lambda: picture_checks(wanted.picture))


def ask(engine: Engine, prompt: str, *, model: SafetyModel) -> None:
    """Nothing, or ContentRefused: what the engine's whole text encoder says, if it is to be asked.

    What that takes besides the engine is let go of before anything is drawn.
    """
    if model != "text_encoder":
        return
    from linocut.safety.text_encoder import TextEncoderCheck  # noqa: PLC0415 - brings PyTorch

    asked(TextEncoderCheck.open(engine.checkpoint, engine.tokenizer, engine.text_encoder), prompt)


def look_at(picture: Picture, check: Sees | None) -> None:
    """Nothing, or ContentRefused: whether the drawn picture may leave."""
    if check is not None:
        drawn(picture, check)


def shows(event: Event, check: Sees | None) -> bool:
    """False for a doubtful preview alone."""
    return check is None or not isinstance(event, Preview) or may_be_shown(event.picture, check)


def _check_alone(flags: Flags) -> None:
    """Nothing, or InvalidRequest: whether no flag asks for a check where none is to be."""
    asks = {
        "prompt_check": flags.prompt_check,
        "picture_check": flags.picture_check,
        "safety_model": flags.safety_model != "terms" and [flags.safety_model],
    }
    for field, said in asks.items():
        if said:
            raise InvalidRequest(
                f"--disable-safety-checker and --{field.replace('_', '-')} {said[0]} contradict "
                "each other",
                field=field,
                hint="leave one of them out",
            )
