"""linocut draws pictures from words with FLUX.2 [dev]. A name is imported when it is asked for.

So `from linocut import ImageRequest` is quick and needs no torch, `Engine` brings it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from linocut.engine import Engine
    from linocut.errors import (
        CheckpointError,
        CheckpointInvalid,
        CheckpointNotFound,
        DoesNotFit,
        DownloadRefused,
        InvalidPicture,
        InvalidRequest,
        LinocutError,
        OutputError,
    )
    from linocut.events import Done, Preview, Started, Step
    from linocut.images.decode import read_picture
    from linocut.images.drawn import save_picture
    from linocut.request import ImageRequest, Picture

__all__ = [
    "CheckpointError",
    "CheckpointInvalid",
    "CheckpointNotFound",
    "DoesNotFit",
    "Done",
    "DownloadRefused",
    "Engine",
    "ImageRequest",
    "InvalidPicture",
    "InvalidRequest",
    "LinocutError",
    "OutputError",
    "Picture",
    "Preview",
    "Started",
    "Step",
    "read_picture",
    "save_picture",
]

_HOMES: Final = {
    "Done": "linocut.events",
    "Engine": "linocut.engine",
    "ImageRequest": "linocut.request",
    "Picture": "linocut.request",
    "Preview": "linocut.events",
    "Started": "linocut.events",
    "Step": "linocut.events",
    "read_picture": "linocut.images.decode",
    "save_picture": "linocut.images.drawn",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "linocut.errors")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
