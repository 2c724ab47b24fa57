"""`linocut webhooks`: what receivers of webhooks need to know."""

from __future__ import annotations

import os
from typing import Final

import typer

from linocut.cli import say
from linocut.cli.flags import DataDir
from linocut.cli.settings import in_force

app: Final = typer.Typer(help="What receivers of webhooks need.")


@app.callback(invoke_without_command=True)
def webhooks(context: typer.Context) -> None:
    """What receivers of webhooks need."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def secret(
    data_dir: DataDir = None,
) -> None:
    """Print the secret that signs every webhook of this server (Standard Webhooks)."""
    settings = in_force(os.environ, {"data_dir": data_dir}).settings
    from linocut.jobs.folder import existing_folder  # noqa: PLC0415 - only here
    from linocut.server.secrets import open_secrets  # noqa: PLC0415

    print(open_secrets(existing_folder(settings.data_folder).path).webhook)
    say.note("Receivers check webhook-id, webhook-timestamp and webhook-signature with it.")
