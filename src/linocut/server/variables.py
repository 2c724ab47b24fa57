"""What a variable of the environment says: itself, or the file that its twin with _FILE names.

Apart from `environment`, so that a program of few settings can read them without pydantic.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from linocut.errors import InvalidRequest

FILE: Final = "_FILE"
LARGEST_FILE: Final = 65_536


def said(environ: Mapping[str, str], name: str) -> tuple[str, str] | None:
    """(which of the two, its words without the space around them), None where nothing is said.

    InvalidRequest if both say something, or the file cannot be read.
    """
    in_file = name + FILE
    value, path = (environ.get(where, "").strip() for where in (name, in_file))
    if value and path:
        raise InvalidRequest(
            f"{name} and {in_file} are both set", field=in_file, hint="set one of them"
        )
    if value:
        return name, value
    return (in_file, _content(in_file, Path(path))) if path else None


def _content(where: str, path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(LARGEST_FILE).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InvalidRequest(f"{where}={path}: {reason}", field=where) from None
