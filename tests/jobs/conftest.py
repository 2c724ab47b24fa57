"""Both databases, each test with one of its own: an SQLite file, and a real private PostgreSQL.

The PostgreSQL server lives as long as the session, in a temporary folder, on a free port of
loopback; each test finds a migrated database without rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import module_from_spec, spec_from_file_location
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psycopg
import pytest
from sqlalchemy import Row

from linocut.errors import LinocutError, Unavailable
from linocut.jobs.database import address
from linocut.jobs.migrate import migrate
from linocut.jobs.record import Order, StoredFile, Submission
from linocut.jobs.schema import metadata
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
NUMBERS = count(1)
DATABASES = ("sqlite", "postgresql")


def binaries() -> Path:
    """The folder of PostgreSQL's programs: Debian keeps them beside the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    known = str(found[-1]) if found else shutil.which("initdb")
    if not known:
        pytest.fail("PostgreSQL is not here: install the package `postgresql`")
    return Path(known).parent


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class PostgreSQL:
    """A server of our own, that can be stopped and started."""

    folder: Path
    port: int = field(default_factory=free_port)
    programs: Path = field(default_factory=binaries)

    def url(self, name: str) -> str:
        """The address of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def run(self, *words: str) -> None:
        """One of its programs, as its own user: it refuses to run as root."""
        line = [str(self.programs / words[0]), *words[1:]]
        if os.geteuid() == 0:
            line = ["su", "postgres", "-s", "/bin/sh", "-c", '"$0" "$@"', "--", *line]
        log = self.folder / "programs.log"
        with log.open("a") as out:  # never a pipe: the server would hold it open
            done = subprocess.run(line, cwd="/", stdout=out, stderr=out, check=False, timeout=60)
        assert done.returncode == 0, f"{line}:\n{log.read_text()[-2000:]}"

    def make(self) -> None:
        """An empty cluster."""
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        data = str(self.folder / "data")
        self.run("initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        """Running; it takes connections."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_connections": 60,
        }
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        data, log = self.folder / "data", self.folder / "server.log"
        self.run("pg_ctl", "-D", str(data), "-w", "-l", str(log),
                 "-o", f"-p {self.port} {options}", "start")  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        """Stopped, with whoever is connected thrown out."""
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", mode, "stop")

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """As the server's owner, outside of any transaction."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def new(self) -> str:
        """The address of a new database without tables."""
        name = f"test_{next(NUMBERS)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def emptied(self) -> str:
        """The address of the migrated database, now without rows; that is quicker than a copy."""
        names = ", ".join(table for table in metadata.tables if table != "turns")
        self.execute(f"TRUNCATE {names}", database="migrated")
        return self.url("migrated")


@contextlib.contextmanager
def running_postgresql() -> Iterator[PostgreSQL]:
    """A server, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="linocut-pg-"))
    server = PostgreSQL(folder)
    try:
        server.make()
        server.start()
        yield server
    finally:
        with contextlib.suppress(AssertionError):
            server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A server that all tests share; none may stop it."""
    with running_postgresql() as server:
        server.execute("CREATE DATABASE migrated TEMPLATE template0")
        migrate(address(server.url("migrated")))
        yield server


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
