"""`linocut config`: every setting in force, and where it was said."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from linocut.cli import say
from linocut.cli.settings import in_force


def config(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,  # noqa: FBT002
) -> None:
    """Print every setting of the server, and where its value comes from."""
    found = in_force(os.environ)
    shown = found.shown()
    if json:
        say.values({name: {"value": shown[name], "source": found.sources[name]} for name in shown})
        return
    width = max(map(len, shown))
    for name, value in shown.items():
        print(f"{name:<{width}}  {say.printable(_plain(value)):<28}  {found.sources[name]}")


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
