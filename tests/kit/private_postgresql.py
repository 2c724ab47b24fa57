"""A real private PostgreSQL in a temporary folder, on a free port of loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
import pytest

from linocut.jobs.database import address
from linocut.jobs.migrate import migrate
from linocut.jobs.schema import metadata

NUMBERS = count(1)


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

    def add_migrated(self) -> None:
        """A database with the tables, to be emptied for each test."""
        self.execute("CREATE DATABASE migrated TEMPLATE template0")
        migrate(address(self.url("migrated")))

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
