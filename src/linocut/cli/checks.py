"""The safety checks as `linocut generate` runs them; their libraries are imported when they begin.

A check of None is none: everything passes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from linocut.cli import say
from linocut.events import Event, Preview
from linocut.request import ImageRequest, Picture
from linocut.safety.policy import Stage, refuse

if TYPE_CHECKING:
    from linocut.safety.picture import PictureCheck


def checked(request: ImageRequest, *, wanted: bool) -> AbstractContextManager[PictureCheck | None]:
    """The picture check, open, after the prompt and the references have passed.

    None, with a warning, if no checks are wanted. Raises ContentRefused.
    """
    if not wanted:
        say.warning("--disable-safety-checker: neither the prompt nor any picture is checked")
        return nullcontext()
    from linocut.safety.prompt import check_prompt  # noqa: PLC0415

    if finding := check_prompt(request.prompt):
        refuse(finding, "input")
    check = open_check()
    for picture in request.references:
        look_at(picture, check, stage="input")
    return check


def open_check() -> PictureCheck:
    """The picture check. Here onnxruntime is imported, and nowhere before."""
    from linocut.safety.picture import PictureCheck  # noqa: PLC0415

    return PictureCheck.open()


def look_at(picture: Picture, check: PictureCheck | None, *, stage: Stage) -> None:
    """Nothing, or ContentRefused."""
    if check and (finding := check.check(picture)):
        refuse(finding, stage)


def may_be_shown(event: Event, check: PictureCheck | None) -> bool:
    """False for a doubtful preview alone: it is left out, and the picture itself will decide."""
    return check is None or not isinstance(event, Preview) or check.check(event.picture) is None
