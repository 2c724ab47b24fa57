"""`linocut keys`: who may use the server; a key's text is shown once, when it is made."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import typer

from linocut.cli import say
from linocut.cli.flags import DataDir, takes
from linocut.cli.settings import in_force
from linocut.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from linocut.jobs.store import Store
    from linocut.jobs.terms import ApiKey
    from linocut.server.secrets import Secrets

T = TypeVar("T")
DAY: Final = 86_400
MOST: Final = 1_000_000_000
MOST_DAYS: Final = 36_500  # a hundred years; a key without an end says nothing
LEAST_QUOTA: Final = 0.001  # seconds; what is kept are milliseconds, and none of them is no limit

app: Final = typer.Typer(help="Make, list and revoke API keys.")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback(invoke_without_command=True)
def keys(context: typer.Context) -> None:
    """Make, list and revoke API keys."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFlags:
    """What a person says of a new key; what is left out is the server's to decide."""

    name: Annotated[str, typer.Argument(help="What the key is for.")]
    scopes: Annotated[
        Literal["read", "generate", "admin"],
        typer.Option(
            help="read: look; generate: draw as well; admin: read /metrics as well. Each sees what "
            "its own tenant has."
        ),
    ] = "generate"
    tenant: Annotated[
        str | None,
        typer.Option(help="Keys of one tenant see the same pictures. [the name, if it is new]"),
    ] = None
    rate: Annotated[
        float | None, typer.Option(min=0, help="Requests a minute; 0 is no limit. [the server's]")
    ] = None
    share: Annotated[
        int | None, typer.Option(min=0, help="Places in the queue; 0 is no limit. [the server's]")
    ] = None
    quota: Annotated[
        float | None,
        typer.Option(min=0, help="Worker seconds a UTC day; 0 is no limit. [the server's]"),
    ] = None
    days: Annotated[
        float | None, typer.Option(help="How many days it works. [until it is revoked]")
    ] = None
    allow_unsafe: Annotated[
        bool,
        typer.Option("--allow-unsafe", help="It may switch the safety checker off, per request."),
    ] = False
    json: Json = False
    data_dir: DataDir = None


@app.command()
@takes(KeyFlags)
def add(flags: KeyFlags) -> None:
    """Make a key and print it; it cannot be shown again."""
    from linocut.server.keys import digest, new_key  # noqa: PLC0415 - the server's libraries

    _check(flags)
    key = new_key()

    async def insert(store: Store, secrets: Secrets) -> ApiKey:
        tenant = await _tenant(store, flags.name) if flags.tenant is None else flags.tenant
        return await store.add_key(_asked(flags, tenant, key.id, digest(key, secrets.pepper)))

    kept = _with_store(insert, flags.data_dir, may_be_new=True)
    if flags.json:
        say.values({**_values(kept), "key": key.text})
        return
    print(key.text)
    say.note("It is not shown again. Send it as the header API-KEY, or as a bearer token.")


def _asked(flags: KeyFlags, tenant: str, name: str, kept: str) -> ApiKey:
    from linocut.jobs.terms import ApiKey  # noqa: PLC0415 - the server's libraries

    return ApiKey(
        id=name,
        tenant=tenant,
        name=flags.name,
        digest=kept,
        scopes=(flags.scopes,),
        rate=flags.rate,
        share=flags.share,
        quota_seconds=flags.quota,
        allow_unsafe=flags.allow_unsafe,
        expires_at=None if flags.days is None else time.time() + flags.days * DAY,
    )


@app.command()
def ls(json: Json = False, data_dir: DataDir = None) -> None:  # noqa: FBT002
    """List the keys, and what each of them may do."""
    kept = _with_store(lambda store, _: store.keys(), data_dir)
    if json:
        say.values({"keys": [_values(key) for key in kept]})
        return
    if not kept:
        say.note("There are no keys yet: linocut keys add NAME makes one.")
    for key in kept:
        print(f"{key.id}  {_state(key):<8}  {'+'.join(key.scopes):<8}  {_line(key)}")


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="The key's id, as `linocut keys ls` prints it.")],
    data_dir: DataDir = None,
) -> None:
    """Make a key worthless, at once; its pictures stay."""
    name = key.removeprefix("lino_")[:8]

    async def drop(store: Store, _: Secrets) -> bool:
        if await store.key(name) is None:
            raise NotFound(f"there is no key {name}", hint="linocut keys ls lists them")
        return await store.revoke_key(name)

    done = _with_store(drop, data_dir)
    say.note(f"{name} is worthless now." if done else f"{name} had been revoked before.")


def _with_store(
    work: Callable[[Store, Secrets], Awaitable[T]],
    data_dir: Path | None,
    *,
    may_be_new: bool = False,
) -> T:
    """What the work gives, on the data folder; a server may be running on it.

    may_be_new: a folder that nobody has used yet is made, and said: it may be a slip.
    """
    settings = in_force(os.environ, {"data_dir": data_dir}).settings
    from linocut.jobs.folder import existing_folder, open_folder  # noqa: PLC0415 - the server's
    from linocut.server.parts import open_store  # noqa: PLC0415
    from linocut.server.secrets import open_secrets  # noqa: PLC0415

    async def run() -> T:
        folder = (open_folder if may_be_new else existing_folder)(settings.data_folder)
        if not folder.secrets.exists():
            say.note(f"{folder.path} is a new data folder: run the server there, too.")
        secrets, store = open_secrets(folder.path), await open_store(settings, folder)
        try:
            return await work(store, secrets)
        finally:
            await store.close()

    return asyncio.run(run())


async def _tenant(store: Store, name: str) -> str:
    """The name, unless that is somebody already."""
    if any(key.tenant == name for key in await store.keys()):
        raise InvalidRequest(
            f"{name} has a key already",
            field="tenant",
            hint=f"--tenant {name} makes another one that sees the same pictures; or take "
            "another name",
        )
    return name


def _check(flags: KeyFlags) -> None:
    name = flags.name
    if not 1 <= len(name) <= 64 or not name.isprintable() or name.strip() != name:
        raise InvalidRequest(
            f"{name!r} is no name for a key: use 1 to 64 characters that can be seen", field="name"
        )
    if flags.days is not None and not 0 < flags.days <= MOST_DAYS:
        raise InvalidRequest(
            f"days={flags.days:g}: use more than 0 and at most {MOST_DAYS:,}",
            field="days",
            hint="without --days it works until it is revoked",
        )
    for field in ("rate", "quota"):
        value = getattr(flags, field)
        if value is not None and not value < MOST:
            raise InvalidRequest(f"{field}={value:g}: use less than {MOST:,}", field=field)
    if flags.quota is not None and 0 < flags.quota < LEAST_QUOTA:
        raise InvalidRequest(
            f"quota={flags.quota:g}: use at least {LEAST_QUOTA:g} seconds, or 0 for no limit",
            field="quota",
        )


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= time.time() else "works"


def _line(key: ApiKey) -> str:
    limits = {
        "requests a minute": key.rate,
        "places in the queue": key.share,
        "seconds a day": key.quota_seconds,
    }
    said = [
        say.printable(key.name) + ("" if key.tenant == key.name else f" of {key.tenant}"),
        *(
            f"{limit:g} {what}" if limit else f"unlimited {what}"
            for what, limit in limits.items()
            if limit is not None
        ),
        *(["may switch checks off"] if key.allow_unsafe else []),
        f"last used {_day(key.last_used_at)}" if key.last_used_at else "never used",
        *([f"until {_day(key.expires_at)}"] if key.expires_at else []),
    ]
    return ", ".join(said)


def _values(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "scopes": key.scopes,
        "state": _state(key),
        "rate": key.rate,
        "share": key.share,
        "quota_seconds": key.quota_seconds,
        "allow_unsafe": key.allow_unsafe,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
