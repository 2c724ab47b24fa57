"""Both databases, each test with one of its own: an SQLite file, and a real private PostgreSQL.

The PostgreSQL server lives as long as the session; each test finds a migrated database without
rows.
"""

from __future__ import annotations

import asyncio
import math
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from private_postgresql import PostgreSQL, running_postgresql
from sqlalchemy import Row

from linocut.errors import LinocutError, Unavailable
from linocut.jobs.database import address
from linocut.jobs.migrate import migrate
from linocut.jobs.record import Order, StoredFile, Submission
from linocut.jobs.store import Store
from linocut.jobs.terms import Limits
from linocut.request import ImageRequest


def beside(name: str) -> ModuleType:
    """A module of this folder: tests are no package, so nothing here is found by its name."""
    spec = spec_from_file_location(f"linocut_jobs_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hands_and_studio = beside("studio")
webhooks = beside("post")
studio = hands_and_studio.studio
Story = Callable[[Any], Awaitable[Any]]
DATABASES = ("sqlite", "postgresql")


@pytest.fixture
def own_postgresql() -> Iterator[PostgreSQL]:
    """A server to be stopped and started, with an empty database `linocut`."""
    with running_postgresql() as server:
        server.execute("CREATE DATABASE linocut TEMPLATE template0")
        yield server


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the tables, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "linocut.db"
    migrate(address(f"sqlite:///{path}"))
    return path


@pytest.fixture(params=DATABASES)
def kind(request: pytest.FixtureRequest) -> str:
    """The name of a kind of database; tests that use it run on each."""
    return str(request.param)


@pytest.fixture
def empty_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without tables."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    return str(request.getfixturevalue("postgresql").new())


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a migrated database without rows."""
    if kind == "sqlite":
        path = tmp_path / "linocut.db"
        shutil.copy(request.getfixturevalue("migrated_file"), path)
        return f"sqlite:///{path}"
    return str(request.getfixturevalue("postgresql").emptied())


@pytest.fixture
def run(url: str) -> Callable[[Story], Any]:
    """Runs a story of one store on an empty database, and answers what it answers."""

    async def told(story: Story) -> Any:
        store = await Store.open(url)
        try:
            return await story(store)
        finally:
            await store.close()

    return lambda story: asyncio.run(told(story))


WIDE = Limits(queue=10_000, share=10_000)


def submission(prompt: str = "a red apple", **said: Any) -> Submission:
    """A request; `said` are fields of a Submission, of an Order or of an ImageRequest."""
    wanted = ImageRequest(prompt=prompt, seed=7)
    order = Order(request=wanted)
    whole = Submission(
        tenant="ann",
        key_id="ann-key",
        feature="IMAGE_GENERATOR",
        model="black-forest-labs/flux-2-dev",
        body={"promptObject": {"prompt": prompt}},
        order=order,
        estimate=2.0,
    )
    for name, value in said.items():
        if hasattr(whole, name):
            whole = replace(whole, **{name: value})
        else:
            whole = replace(whole, order=replace(whole.order, **{name: value}))
    return whole


def file(key: str = "images/apple.webp", **said: Any) -> StoredFile:
    """A file of 1,000 bytes."""
    plain = StoredFile(
        key=key,
        tenant="ann",
        kind="result",
        content_type="image/webp",
        size=1000,
        sha256="ab" * 32,
        width=64,
        height=96,
    )
    return replace(plain, **said)


async def select_all(store: Store, statement: Any) -> Sequence[Row[Any]]:
    """Rows, past the store's face."""

    async def work(connection: Any) -> Sequence[Row[Any]]:
        return (await connection.execute(statement)).all()  # type: ignore[no-any-return]

    return await store._database.read(work)


async def change(store: Store, statement: Any) -> None:
    """A write past the store's face: time passes for some row."""
    await store._database.write(lambda connection: connection.execute(statement))


async def kinds(store: Store, id: str) -> list[str]:
    """A record's story in one word each; its numbers have no gap."""
    events = await store.events(id, 0)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return [event.kind for event in events]


@dataclass
class Fault:
    """A method of a store that fails with Unavailable or the like, `left` times more.

    is_deaf: it does what it is asked, and only the answer is lost.
    """

    error: LinocutError
    left: float
    is_deaf: bool
    calls: int = 0

    @classmethod
    def of(
        cls,
        thing: object,
        method: str,
        left: float = math.inf,
        *,
        error: LinocutError | None = None,
        is_deaf: bool = False,
    ) -> Fault:
        """The fault is in the thing from now on."""
        fault = cls(error or Unavailable("it is away", retry_after=1), left, is_deaf)
        real = getattr(thing, method)

        async def shaky(*said: object, **named: object) -> object:
            fault.calls += 1
            if fault.left <= 0:
                return await real(*said, **named)
            fault.left -= 1
            if fault.is_deaf:
                await real(*said, **named)
            raise fault.error

        setattr(thing, method, shaky)
        return fault


@pytest.fixture
def mail() -> ModuleType:
    """Receivers of webhooks, and how they answer."""
    return webhooks


@pytest.fixture
def play(migrated_file: Path, tmp_path: Path, jobs: SimpleNamespace) -> Callable[[Story], None]:
    """Runs a story of webhooks, told of what is owed, with a store of its own."""
    path = tmp_path / "linocut.db"
    shutil.copy(migrated_file, path)

    async def told(story: Story) -> None:
        store = await Store.open(f"sqlite:///{path}")
        try:
            async with asyncio.timeout(120):
                await story(webhooks.Post(store, jobs))
        finally:
            await store.close()

    return lambda story: asyncio.run(told(story))


@pytest.fixture(scope="session")
def hands() -> ModuleType:
    """Workers for a `studio`: `hands.Hand()`, `hands.child()`."""
    return hands_and_studio


@pytest.fixture(scope="session")
def jobs() -> SimpleNamespace:
    """The functions above, for tests."""
    return SimpleNamespace(
        wide=WIDE,
        submission=submission,
        file=file,
        select_all=select_all,
        change=change,
        kinds=kinds,
        fault=Fault.of,
    )
