"""The safety checks as `linocut generate` passes them; their libraries are imported on the way.

A check of None is none: everything passes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from linocut.cli import say
from linocut.errors import InvalidRequest
from linocut.events import Event, Preview
from linocut.request import ImageRequest, Picture
from linocut.safety.policy import SafetyModel

if TYPE_CHECKING:
    from linocut.cli.flags import Flags
    from linocut.engine.engine import Engine
    from linocut.safety.picture import PictureCheck


def check_agree(flags: Flags) -> None:
    """Nothing, or InvalidRequest: whether the flags that are about safety agree."""
    if flags.disable_safety_checker and flags.safety_model != "terms":
        raise InvalidRequest(
            f"--disable-safety-checker and --safety-model {flags.safety_model} contradict "
            "each other",
            field="safety_model",
            hint="leave one of them out",
        )


def checked(request: ImageRequest, *, wanted: bool) -> AbstractContextManager[PictureCheck | None]:
    """The picture check, open, after the prompt and the references have passed.

    None, with a warning, if no checks are wanted. Raises ContentRefused.
    """
    if not wanted:
        say.warning("--disable-safety-checker: neither the prompt nor any picture is checked")
        return nullcontext()
    from linocut.safety.checks import admitted  # noqa: PLC0415

    return admitted(request, open_check)


def open_check() -> PictureCheck:
    """The picture check. Here onnxruntime is imported, and nowhere before."""
    from linocut.safety.picture import PictureCheck  # noqa: PLC0415

    return PictureCheck.open()


def ask(engine: Engine, prompt: str, *, model: SafetyModel) -> None:
    """Nothing, or ContentRefused: what the engine's whole text encoder says, if it is to be asked.

    What that takes besides the engine is let go of before anything is drawn.
    """
    if model != "text_encoder":
        return
    from linocut.safety.checks import asked  # noqa: PLC0415
    from linocut.safety.text_encoder import TextEncoderCheck  # noqa: PLC0415

    asked(TextEncoderCheck.open(engine.checkpoint, engine.tokenizer, engine.text_encoder), prompt)


def look_at(picture: Picture, check: PictureCheck | None) -> None:
    """Nothing, or ContentRefused: whether the drawn picture may leave."""
    from linocut.safety.checks import drawn  # noqa: PLC0415

    if check:
        drawn(picture, check)


def shows(event: Event, check: PictureCheck | None) -> bool:
    """False for a doubtful preview alone."""
    from linocut.safety.checks import may_be_shown  # noqa: PLC0415

    return check is None or not isinstance(event, Preview) or may_be_shown(event.picture, check)
