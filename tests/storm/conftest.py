"""Storms: real server processes, killed and starved under load, on both databases.

`pytest tests/storm --storm=full` runs them at full size and writes docs/reliability.md.
"""

from __future__ import annotations

import asyncio
import importlib.util
import random
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "kit"))  # how the storms find their tools

from storm_check import World, faults, settled  # noqa: E402
from storm_client import History  # noqa: E402
from storm_report import Figures, write  # noqa: E402
from storm_server import Server  # noqa: E402
from storm_sizes import COLUMNS, Sizes  # noqa: E402

FIGURES: Figures = {}
LIMITS = {"small": 600, "full": 7200}


def pytest_addoption(parser: pytest.Parser) -> None:
    """The column of the sizes; known where pytest is called with this folder."""
    parser.addoption(
        "--storm", choices=sorted(COLUMNS), default="small", help="how large storms are"
    )


def _column(config: pytest.Config) -> str:
    return str(config.getoption("storm", default="small"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each storm has its time."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(LIMITS[_column(config)]))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A full storm leaves its figures behind."""
    if _column(session.config) == "full" and FIGURES:
        write(FIGURES, "full")


@pytest.fixture(scope="session")
def sizes(request: pytest.FixtureRequest) -> Sizes:
    """The column that was asked for."""
    return COLUMNS[_column(request.config)]


def _module(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Any]:
    """A private PostgreSQL that storms may stop and start."""
    jobs = _module(HERE.parent / "jobs" / "conftest.py", "storm_postgresql")
    with jobs.running_postgresql() as server:
        yield server


@dataclass
class Storm:
    """One storm: its servers, its sizes, its chance, and the log of its clients."""

    tmp_path: Path
    sizes: Sizes
    kind: str
    database: str = ""
    postgresql: Any = None
    history: History = field(default_factory=History)
    chance: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311
    servers: list[Server] = field(default_factory=list)

    def server(self, name: str = "data", **more: str) -> Server:
        """One more server, not started yet; all of a storm share its database."""
        made = Server(self.tmp_path / name, **{"database": self.database, **more})
        self.servers.append(made)
        return made

    def run(self, story: Callable[[], Awaitable[Any]]) -> Any:
        """What the story answers."""
        return asyncio.run(story())

    async def judged(self, history: History | None = None) -> World:
        """The world in the end, after every record has ended; no promise is broken in it."""
        folders = [server.pictures for server in self.servers]
        world = await settled(self.servers[0].database, *folders)
        found = faults(history or self.history, world)
        said = "\n".join(server.said[-1500:] for server in self.servers)
        assert not found, "\n".join(found[:40]) + f"\n\nthe servers said:\n{said}"
        return world

    def figure(self, promise: str, text: str, *, under: str = "") -> None:
        """What was seen, for the page; under: in which circumstances."""
        FIGURES[promise, f"{self.kind}; {under}" if under else self.kind] = text


def _on_sqlite(tmp_path: Path, sizes: Sizes, _: Any) -> Storm:
    return Storm(tmp_path, sizes, "SQLite, folder")


def _on_postgresql(tmp_path: Path, sizes: Sizes, request: Any) -> Storm:
    owner = request.getfixturevalue("postgresql")
    return Storm(tmp_path, sizes, "PostgreSQL, folder", owner.new(), owner)


@contextmanager
def _ending(made: Storm) -> Iterator[Storm]:
    try:
        yield made
    finally:
        for server in made.servers:
            server.end()


@pytest.fixture
def sqlite_storm(tmp_path: Path, sizes: Sizes) -> Iterator[Storm]:
    """A storm on SQLite and a folder."""
    with _ending(_on_sqlite(tmp_path, sizes, None)) as made:
        yield made


@pytest.fixture
def postgresql_storm(
    request: pytest.FixtureRequest, tmp_path: Path, sizes: Sizes
) -> Iterator[Storm]:
    """A storm on PostgreSQL and a folder."""
    with _ending(_on_postgresql(tmp_path, sizes, request)) as made:
        yield made


@pytest.fixture(params=(_on_sqlite, _on_postgresql), ids=("sqlite", "postgresql"))
def storm(request: pytest.FixtureRequest, tmp_path: Path, sizes: Sizes) -> Iterator[Storm]:
    """A storm on each database."""
    with _ending(request.param(tmp_path, sizes, request)) as made:
        yield made
