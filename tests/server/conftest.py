"""A real server process on a port of its own, with a worker that only pretends to draw.

    def test_it(running_server):
        server = running_server(LINOCUT_QUEUE_LIMIT="5")
        server.client.get("/readyz")          # httpx2, with the admin's key
        key = server.add_key(rate=0)          # the text of another one
        server.process.send_signal(...)

Where nothing has to be set, `shared_server` is there already.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest
from processes import fake_workers

from linocut.jobs.folder import open_folder
from linocut.jobs.store import Store
from linocut.jobs.terms import ApiKey
from linocut.server.keys import digest, new_key
from linocut.server.secrets import open_secrets

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "kit"))  # how tests of the server find what they share

import service_desk  # noqa: E402

SOURCES = HERE.parents[1] / "src"
PATIENCE = 120.0  # a worker with a model needs half of it on a busy machine
FAKE = "fake --step-seconds=0.001"


def clean_environment() -> dict[str, str]:
    """The environment without any setting of linocut."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LINOCUT_")}
    return {**kept, "PYTHONPATH": str(SOURCES), "PYTHONWARNINGS": "default"}


@dataclass
class RunningServer:
    """One server process. `folder` is its data folder; `out` and `log` are what it says."""

    process: subprocess.Popen[bytes]
    folder: Path
    out: Path
    log: Path
    url: str = ""
    key: str = ""
    _client: httpx2.Client | None = None

    @property
    def client(self) -> httpx2.Client:
        """Sends the admin's key, unless a request says another."""
        if self._client is None:
            headers = {"API-KEY": self.key} if self.key else {}
            self._client = httpx2.Client(
                base_url=self.url, headers=headers, timeout=PATIENCE, trust_env=False
            )
        return self._client

    @property
    def address(self) -> tuple[str, int]:
        """For sockets."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    def wait_until(self, what: Callable[[], Any]) -> Any:
        """What it gives, once that is true; fails with the log if it never is."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if found := what():
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        pytest.fail(f"it did not come to pass; the server said:\n{self.said}")

    def wait_ready(self) -> RunningServer:
        """Itself, once it can draw."""
        self.wait_until(lambda: self.client.get("/readyz").status_code == 200)
        return self

    @property
    def said(self) -> str:
        """All that it has written."""
        return self.out.read_text(encoding="utf-8") + self.log.read_text(encoding="utf-8")

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log."""
        text = self.log.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def add_key(self, **more: Any) -> str:
        """A key of its own tenant, without a rate limit unless `rate` is given; its text."""
        key = new_key()
        folder = open_folder(self.folder)
        values = {
            "id": key.id,
            "tenant": key.id,
            "name": key.id,
            "scopes": ("generate",),
            "rate": 0.0,
            "digest": digest(key, open_secrets(folder.path).pepper),
        }

        async def add() -> None:
            store = await Store.open(f"sqlite:///{folder.database}")
            try:
                await store.add_key(ApiKey(**(values | more)))  # type: ignore[arg-type]
            finally:
                await store.close()

        asyncio.run(add())
        return key.text

    def state(self, uuid: str) -> str:
        """A record's state as it is stored."""
        with closing(sqlite3.connect(self.folder / "linocut.db")) as database:
            row = database.execute("SELECT state FROM records WHERE id = ?", (uuid,)).fetchone()
        return str(row[0]) if row else ""

    @contextmanager
    def frozen_workers(self) -> Iterator[None]:
        """Meanwhile what it draws comes to no end; none of its workers may be lost."""
        workers = fake_workers(self.process.pid)
        assert workers
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)

    def stop(self, sign: int = signal.SIGTERM) -> int:
        """Its exit code, after it has been told to stop."""
        if self.process.poll() is None:
            self.process.send_signal(sign)
        return self.ended()

    def ended(self) -> int:
        """Its exit code, once it has one."""
        if self._client is not None:
            self._client.close()
            self._client = None
        try:
            return self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"it did not stop; it said:\n{self.said}")


@contextmanager
def serving(
    folder: Path, *arguments: str, ready: bool = True, script: str = "", **settings: str
) -> Iterator[RunningServer]:
    """A server on this data folder; `settings` are variables, as LINOCUT_LEASE="2".

    script: a program that is run in place of `python -m linocut`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    out, log = folder.with_suffix(".out"), folder.with_suffix(".log")
    environment = clean_environment() | {
        "LINOCUT_DATA_DIR": str(folder),
        "LINOCUT_PORT": "0",
        "LINOCUT_WORKER": FAKE,
        "LINOCUT_DRAIN_SECONDS": "5",
        **settings,
    }
    with out.open("wb") as said, log.open("ab") as logged:
        process = subprocess.Popen(
            [sys.executable, *([script] if script else ["-m", "linocut"]), "serve", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=logged,
        )
    server = RunningServer(process, folder, out, log)
    try:
        server.url = server.wait_until(lambda: _told(server, "Playground").rstrip("/"))
        with suppress(FileNotFoundError):
            server.key = (folder / "admin.key").read_text(encoding="ascii").strip()
        yield server.wait_ready() if ready else server
        server.stop()
    finally:
        process.kill()
        process.wait()


def _told(server: RunningServer, label: str) -> str:
    text = server.out.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines(keepends=True) if line.startswith(label)]
    return lines[0].split()[1] if lines and lines[0].endswith("\n") else ""


@dataclass
class Servers:
    """Starts servers that end with the test."""

    tmp_path: Path
    stack: ExitStack = field(default_factory=ExitStack)

    def __call__(self, *arguments: str, name: str = "data", **how: Any) -> RunningServer:
        """One more, as `serving` starts it; the same `name` is the same data folder."""
        return self.stack.enter_context(serving(self.tmp_path / name, *arguments, **how))


@pytest.fixture
def running_server(tmp_path: Path) -> Iterator[Servers]:
    """Starts a server: `running_server(LINOCUT_QUEUE_LIMIT="5")`; it ends with the test."""
    servers = Servers(tmp_path)
    with servers.stack:
        yield servers


@pytest.fixture(scope="module")
def lasting_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """As `running_server`, but what it starts ends with the file of tests."""
    servers = Servers(tmp_path_factory.mktemp("lasting"))
    with servers.stack:
        yield servers


@dataclass(frozen=True, slots=True)
class Database:
    """A kind of database, and the settings with which a server keeps its records in a new one."""

    kind: str
    settings: dict[str, str]


@pytest.fixture(scope="module", params=("sqlite", "postgresql"))
def database(request: pytest.FixtureRequest) -> Database:
    """Tests that use it run on each kind; a file of tests has one database of each."""
    if request.param == "sqlite":
        return Database("sqlite", {})
    url = request.getfixturevalue("postgresql").new()
    return Database("postgresql", {"LINOCUT_DATABASE_URL": url})


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all tests that leave no trace which others would see."""
    with serving(tmp_path_factory.mktemp("shared") / "data") as server:
        yield server


@pytest.fixture(scope="session")
def slow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The same with a tenth of a second for a step; whoever leaves work there cancels it."""
    folder = tmp_path_factory.mktemp("slow") / "data"
    with serving(folder, LINOCUT_WORKER="fake --step-seconds=0.1") as server:
        yield server


@pytest.fixture(scope="session")
def desk() -> ModuleType:
    """A service without a server around it."""
    return service_desk
