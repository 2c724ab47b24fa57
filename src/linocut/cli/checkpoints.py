"""`linocut ls` and `linocut pull`: which checkpoints there are, and getting one."""

from __future__ import annotations

import os
from typing import Annotated, Any, Final

import typer

from linocut.cli import say
from linocut.cli.settings import endpoint, home, token
from linocut.weights.files import Listed, listing
from linocut.weights.language_model import PULL_OPTION, pull_command

INTERRUPTED: Final = 130


def ls(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,  # noqa: FBT002
) -> None:
    """List the checkpoints that are known by name, and which of them are here."""
    listed = listing(home(os.environ))
    if json:
        say.values({"home": home(os.environ), "checkpoints": [_values(one) for one in listed]})
        return
    width = max(len(one.known.name) for one in listed)
    for one in listed:
        print(f"{one.known.name:<{width}}  {_state(one):<12}  {one.known.summary}")
        if one.problem:
            print(f"{'':<{width}}  {say.printable(one.problem)}")


def _state(one: Listed) -> str:
    if one.folder is not None:
        return say.gigabytes(one.size)
    return "no" if one.known.unsupported else "not here"


def _values(one: Listed) -> dict[str, Any]:
    known = one.known
    return {
        "name": known.name,
        "summary": known.summary,
        "licence": known.licence,
        "repo": known.repo or None,
        "folder": one.folder,
        "bytes": one.size,
        "usable": one.folder is not None and not one.problem,
        "problem": one.problem or None,
    }


def pull(
    name: Annotated[str, typer.Argument(help="A name that `linocut ls` lists.")],
    with_safety_model: Annotated[  # noqa: FBT002
        bool,
        typer.Option(
            PULL_OPTION,
            help="Also what only the prompt check by FLUX.2 [dev]'s text encoder reads, for "
            "`generate --safety-model text_encoder` and LINOCUT_SAFETY_MODEL.",
        ),
    ] = False,
) -> None:
    """Fetch a checkpoint from the Hugging Face hub; go on where an earlier pull stopped."""
    hub = endpoint(os.environ)
    from linocut.cli.pulling import follow  # noqa: PLC0415 - brings the hub's network code

    try:
        folder = follow(
            name,
            home=home(os.environ),
            token=token(os.environ),
            endpoint=hub,
            with_safety_model=with_safety_model,
        )
    except KeyboardInterrupt:
        command = pull_command(name, with_safety_model=with_safety_model)
        say.error("stopped; what is here is kept", f"{command} goes on from there")
        raise typer.Exit(INTERRUPTED) from None
    say.path(folder)
