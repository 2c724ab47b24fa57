"""What the environment says; the command line is the one place that listens to it.

Drawing and pulling need seven words of it, read here without any library. A server has many more:
`in_force` reads those, and these in the same way (docs/settings.md). What is said of prompts and
checks may stand in a file that LINOCUT_<NAME>_FILE names, here as there.

LINOCUT_HOME            the folder of pulled checkpoints (~/.cache/linocut)
LINOCUT_EMBED_PROMPT    false leaves the prompt out of the pictures' files (true)
LINOCUT_PROMPT_CHECKS   what reads prompts (terms)
LINOCUT_PICTURE_CHECKS  what looks at pictures (opennsfw)
LINOCUT_DEBUG           anything but empty, 0 and false: errors show where they come from
HF_ENDPOINT             the hub to pull from (https://huggingface.co)
HF_TOKEN                the token for it; else the one that `hf auth login` has kept
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from linocut.errors import InvalidRequest
from linocut.safety.policy import BUILT_IN, Subject
from linocut.server.variables import said
from linocut.weights.files import default_home

if TYPE_CHECKING:
    from linocut.server.environment import InForce

_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"0", "false", "no", "off"})


def home(environ: Mapping[str, str]) -> Path:
    """The folder of pulled checkpoints; InvalidRequest for one below a home that there is not."""
    try:
        return default_home(environ)
    except RuntimeError as error:
        raise _homeless("LINOCUT_HOME", environ.get("LINOCUT_HOME") or "~") from error


def embed_prompt(environ: Mapping[str, str]) -> bool:
    """Whether a picture's file may hold its prompt; InvalidRequest for neither yes nor no."""
    where, words = said(environ, "LINOCUT_EMBED_PROMPT") or ("", "true")
    if words.lower() not in _YES | _NO:
        raise InvalidRequest(f"{where}={words!r}: use true or false", field=where)
    return words.lower() in _YES


def checks(environ: Mapping[str, str], subject: Subject) -> tuple[str, ...]:
    """The names of the checks of prompts, or of pictures, as they stand there."""
    found = said(environ, f"LINOCUT_{subject.upper()}_CHECKS")
    return BUILT_IN[subject] if found is None else tuple(found[1].replace(",", " ").split())


def debug(environ: Mapping[str, str]) -> bool:
    """Whether errors show where they come from."""
    return environ.get("LINOCUT_DEBUG", "").strip().lower() not in _NO | {""}


def endpoint(environ: Mapping[str, str]) -> str | None:
    """The hub to pull from, if another than the public one is named; InvalidRequest.

    To be asked before the hub's library is imported: it reads the address itself, and breaks there.
    """
    said = environ.get("HF_ENDPOINT") or None
    if said is not None and not _is_address(said):
        raise InvalidRequest(
            f"HF_ENDPOINT={said!r}: use an address like https://huggingface.co or "
            "http://127.0.0.1:8080",
            field="HF_ENDPOINT",
            hint="without it, the public hub is asked",
        )
    return said


def token(environ: Mapping[str, str]) -> str | None:
    """The user's token for the hub, if there is one on this computer."""
    if given := environ.get("HF_TOKEN", "").strip():
        return given
    from huggingface_hub import get_token  # noqa: PLC0415 - brings its network code

    kept: str | None = get_token()
    return kept


def in_force(environ: Mapping[str, str], flags: Mapping[str, Any] | None = None) -> InForce:
    """Every setting of a server, from flags and environment; InvalidRequest says what is wrong."""
    from linocut.server.environment import read_settings  # noqa: PLC0415 - brings pydantic

    found = read_settings(environ, flags)
    said = found.sources["data_dir"]
    expanded(found.settings.data_dir, "LINOCUT_DATA_DIR" if said == "default" else said)
    return found


def expanded(folder: Path, where: str) -> Path:
    """The folder without ~; InvalidRequest, which names `where` it was said, for nobody's home."""
    try:
        return folder.expanduser()
    except RuntimeError as error:
        raise _homeless(where, str(folder)) from error


def _homeless(where: str, said: str) -> InvalidRequest:
    return InvalidRequest(
        f"{where}={said!r}: there is no such home folder",
        field=where,
        hint="write the path from / on, without ~",
    )


def _is_address(said: str) -> bool:
    try:
        parts = urlsplit(said)
        named = bool(parts.hostname) and parts.port != 0  # where a port that is none raises
    except ValueError:
        return False
    plain = said.isprintable() and " " not in said
    return plain and named and parts.scheme in ("http", "https")
