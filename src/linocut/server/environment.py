"""Settings from where they were said: a flag, LINOCUT_<NAME>, LINOCUT_<NAME>_FILE, or nowhere.

A variable that begins with LINOCUT_ and means nothing is refused: a misspelt limit is no limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr, ValidationError

from linocut.errors import InvalidRequest
from linocut.server.settings import Settings
from linocut.server.variables import FILE, said

PREFIX: Final = "LINOCUT_"
DEFAULT: Final = "default"
ALIASES: Final[Mapping[str, str]] = {
    "DATABASE_URL": "database_url",
    "FORWARDED_ALLOW_IPS": "forwarded_allow_ips",
}
HIDDEN: Final = "********"


@dataclass(frozen=True, slots=True)
class InForce:
    """Settings, and for each name where it was said: a flag, a variable, or "default"."""

    settings: Settings
    sources: Mapping[str, str]

    def shown(self) -> dict[str, Any]:
        """Every value as it may be shown: secrets only as set or not."""
        return {name: _shown(getattr(self.settings, name)) for name in Settings.model_fields}


def variable(name: str) -> str:
    """The environment's name of a setting."""
    return PREFIX + name.upper()


def read_settings(environ: Mapping[str, str], flags: Mapping[str, Any] | None = None) -> InForce:
    """The settings in force; InvalidRequest names the flag or variable that is wrong.

    flags: settings that were given on the command line; None is not given.
    """
    found = dict(_spoken(environ))
    for name, value in (flags or {}).items():
        if value is not None:
            found[name] = (f"--{name.replace('_', '-')}", value)
    try:
        settings = Settings.model_validate({name: value for name, (_, value) in found.items()})
    except ValidationError as error:
        raise _in_words(error, {name: where for name, (where, _) in found.items()}) from None
    sources = {name: found[name][0] if name in found else DEFAULT for name in Settings.model_fields}
    return InForce(settings, sources)


def _spoken(environ: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, Any]]]:
    """(setting, (variable, value)) of what is said; aliases first, as what comes later counts."""
    for alias, name in ALIASES.items():
        if environ.get(alias, "").strip():
            yield name, (alias, environ[alias].strip())
    names = {variable(name): name for name in Settings.model_fields}
    known = {*names, *(where + FILE for where in names)}
    for where in sorted(environ):
        if where.startswith(PREFIX) and environ[where].strip() and where not in known:
            raise _unknown(where, list(names))
    for where, name in names.items():
        if found := said(environ, where):
            yield name, found


def _unknown(where: str, known: list[str]) -> InvalidRequest:
    near = get_close_matches(where, known, n=1, cutoff=0.7)
    meant = f"did you mean {near[0]}? " if near else ""
    return InvalidRequest(
        f"{where} is no setting of linocut", field=where, hint=f"{meant}linocut config lists all"
    )


def _in_words(error: ValidationError, sources: Mapping[str, str]) -> InvalidRequest:
    """The first of what is wrong. Values are shown, those of secrets are not."""
    first = error.errors(include_url=False, include_context=False)[0]
    words = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return InvalidRequest(words, hint="linocut config shows where each value comes from")
    name = str(first["loc"][0])
    where = sources.get(name, variable(name))
    if name not in Settings.model_fields:
        return InvalidRequest(f"{where} is no setting of linocut", field=where)
    field = Settings.model_fields[name]
    value = "" if isinstance(field.default, SecretStr) else f"={first['input']!r}"
    return InvalidRequest(f"{where}{value}: {words}", field=where, hint=field.description or "")


def _shown(value: object) -> object:
    if isinstance(value, SecretStr):
        return HIDDEN if value.get_secret_value() else ""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def table() -> str:
    """Every setting as a row of docs/settings.md."""
    rows = ["| variable | what it does | without it |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = _shown(field.default)
        shown = f"`{_plain(default)}`" if default not in ("", []) else ""
        rows.append(f"| `{variable(name)}` | {field.description} | {shown} |")
    return "\n".join(rows)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
