"""A drawn picture as a file: described by what drew it, saved in one call."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from linocut.errors import InvalidRequest
from linocut.events import Done
from linocut.images.encode import DEFAULT_QUALITY, Format, check_output, encode
from linocut.images.files import save
from linocut.images.metadata import Metadata
from linocut.request import ImageRequest

SUFFIXES: Final[dict[str, Format]] = {
    ".webp": "webp",
    ".jpg": "jpg",
    ".jpeg": "jpg",
    ".png": "png",
}


def save_picture(
    path: str | Path, request: ImageRequest, done: Done, *, quality: int = DEFAULT_QUALITY
) -> Path:
    """The path of the picture, saved whole or not at all, with how it was drawn inside.

    The name's ending says the format: .webp, .jpg, .jpeg or .png. quality: 0 to 100, not for PNG.
    Raises InvalidRequest and OutputError.
    """
    path = Path(path)
    format = SUFFIXES.get(path.suffix.lower())
    if format is None:
        raise InvalidRequest(
            f"no picture is written as {path.suffix or 'a name without an ending'}: {path}",
            field="path",
            hint=f"end the name in one of {', '.join(SUFFIXES)}",
        )
    check_output(format, quality)
    save(
        path,
        encode(done.picture, format=format, quality=quality, metadata=described(request, done)),
    )
    return path


def described(request: ImageRequest, done: Done) -> Metadata:
    """What a file says about a picture: what was asked for, and what came of it."""
    return Metadata(
        prompt=request.prompt,
        seed=done.seed,
        width=done.picture.width,
        height=done.picture.height,
        drawn_width=done.drawn_width,
        drawn_height=done.drawn_height,
        num_inference_steps=request.num_inference_steps,
        guidance=float(request.guidance),
        prompt_strength=float(request.prompt_strength),
        references=len(request.references),
        checkpoint=done.checkpoint,
        mode=done.mode,
        demo=done.demo,
        threads=done.threads,
        software=f"linocut {own_version()}",
    )


def own_version() -> str:
    """The installed version; "source" where the code runs without being installed."""
    try:
        return version("linocut")
    except PackageNotFoundError:
        return "source"
