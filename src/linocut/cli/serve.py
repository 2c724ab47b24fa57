"""`linocut serve`: the server's life as a person sees it; what it says to machines is its log."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from linocut.cli import say
from linocut.cli.flags import takes
from linocut.cli.settings import endpoint, expanded, in_force
from linocut.weights.files import open_checkpoint
from linocut.weights.language_model import find_language_model

if TYPE_CHECKING:
    from linocut.server.run import Listening, News
    from linocut.server.settings import Settings

KEY_FILE: Final = "admin.key"
DEMO: Final = "linocut-mini"
DEMO_PROMPT: Final = "a red apple"
PROMPT: Final = "A cozy coffee shop interior in the morning, warm light, steam rising from a cup"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeFlags:
    """Settings that are often said; None leaves one to the environment."""

    host: Annotated[str | None, typer.Option(help="The address to listen on. [127.0.0.1]")] = None
    port: Annotated[int | None, typer.Option(help="The port to listen on. [8000]")] = None
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Database, pictures and secrets. [~/.local/share/linocut]"),
    ] = None
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="NAME|DIR", help="A name that `linocut ls` lists, or a folder."),
    ] = None
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. [auto]")] = None
    workers: Annotated[
        int | None, typer.Option(help="Processes that draw; each loads the checkpoint. [1]")
    ] = None
    public_url: Annotated[
        str | None, typer.Option(help="How the world reaches this server; links begin so.")
    ] = None
    auth: Annotated[
        bool | None,
        typer.Option("--auth/--no-auth", help="Without keys, on loopback only. [--auth]"),
    ] = None


@takes(ServeFlags)
def serve(flags: ServeFlags) -> None:
    """Serve the API and a page to draw on; everything else is set by LINOCUT_… variables."""
    said = {part.name: getattr(flags, part.name) for part in fields(flags)}
    settings = in_force(os.environ, said).settings
    from linocut.server import logs, run  # noqa: PLC0415 - the server's libraries

    if settings.worker == "engine":  # said here in a moment, by a worker after half a minute
        endpoint(os.environ)  # asked for nothing there, but read by libraries it imports
        where = expanded(settings.home, "LINOCUT_HOME")
        found = open_checkpoint(settings.checkpoint, home=where)
        if settings.safety_model == "text_encoder":
            find_language_model(found)
    logs.configure(sys.stderr, form=settings.log_format, level=settings.log_level)
    asyncio.run(run.serve(settings, announcer(settings)))


def announcer(settings: Settings) -> Callable[[News], None]:
    """Tells a person on standard output what the server has to say."""
    from linocut.server.run import Draws, Leaves, Listening, Waits  # noqa: PLC0415

    def tell(news: News) -> None:
        match news:
            case Listening():
                _say(*_greeting(settings, news))
            case Draws(ready=ready, seconds=seconds):
                what = f"{ready.checkpoint}{' (a demo)' if ready.demo else ''} draws on"
                took = say.duration(seconds)
                _say(f"Ready after {took}: {what} {ready.device}. Ctrl+C stops the server.")
            case Waits(reason=reason):
                _say(f"Not ready yet: {reason}. It is tried again; /readyz tells how it is.")
            case Leaves(grace=grace):
                left = f" What is being drawn has {say.duration(grace)} to end." if grace else ""
                _say(f"Stopping.{left} Ctrl+C again does not wait.")

    return tell


@dataclass(frozen=True, slots=True)
class _Key:
    """How the key is shown, what a shell writes for it, and what to do next."""

    shown: str
    pasted: str
    next: str


def _greeting(settings: Settings, news: Listening) -> list[str]:
    url, key = news.url, _key(settings, news)
    return [
        f"Playground  {url}/",
        f"API         {url}/api/features    its description: {url}/docs",
        *([f"Key         {key.shown}"] if key.shown else []),
        f"Data        {settings.data_folder}",
        "",
        "Draw from another terminal:" if key.pasted else "Draw, with your key in KEY:",
        "",
        *_example(settings, url, key),
        "",
        f"Next: {key.next}",
        f"Loading {say.printable(settings.checkpoint)}…",
    ]


def _key(settings: Settings, news: Listening) -> _Key:
    if not settings.auth:
        return _Key("none is needed: whoever reaches this computer's port is its admin", "none",
                    "open the playground")  # fmt: skip
    keys, here = f"{_linocut()} keys", _named(settings)
    if news.first_key is None:
        return _Key("", "", f"{keys} add NAME{here} makes a key; {keys} ls{here} lists them")
    more = f"open the answer's temporaryUrl; make a key for each program: {keys} add NAME{here}"
    if sys.stdout.isatty():
        text = news.first_key.text
        return _Key(f"{text}  (for the admin; shown only now, so keep it)", text, more)
    path = settings.data_folder / KEY_FILE
    _keep(path, news.first_key.text)
    return _Key(
        f"the admin's is in {path}; read it, then delete the file",
        f"'\"$(cat {shlex.quote(str(path))})\"'",
        more,
    )


def _linocut() -> str:
    """What a shell calls this command by: its name, or where it lies if no shell would find it."""
    called = Path(sys.argv[0])
    is_lost = called.name == "linocut" and shutil.which("linocut") is None
    return shlex.quote(str(called.absolute())) if is_lost else "linocut"


def _named(settings: Settings) -> str:
    """The option that names the data folder, where it is not the usual one."""
    usual = type(settings)().data_folder
    folder = settings.data_folder
    return "" if folder == usual else f" --data-dir {shlex.quote(str(folder))}"


def _keep(path: Path, text: str) -> None:
    """Where no person is watching, output ends in logs; a key does not belong there."""
    path.unlink(missing_ok=True)  # an old one may be open to others, or be a link
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")


def _example(settings: Settings, url: str, key: _Key) -> list[str]:
    prompt = DEMO_PROMPT if settings.checkpoint == DEMO else PROMPT
    return [
        f"curl --location '{url}/api/features' \\",
        f"--header 'API-KEY: {key.pasted or KEY_IN_SHELL}' \\",
        "--header 'Content-Type: application/json' \\",
        "--data '{",
        '  "type": "IMAGE_GENERATOR",',
        '  "model": "black-forest-labs/flux-2-dev",',
        '  "promptObject": {',
        f'    "prompt": "{prompt}",',
        '    "aspect_ratio": "4:5",',
        '    "num_inference_steps": 28,',
        '    "guidance": 3.5,',
        '    "megapixels": "1",',
        '    "output_format": "webp",',
        '    "output_quality": 85',
        "  }",
        "}'",
    ]


KEY_IN_SHELL: Final = "'\"$KEY\"'"


def _say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)
