"""What a benchmark of the service starts: a server process, callers, and a PostgreSQL of its own.

For Linux: memory is read from /proc.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import psycopg

PATIENCE: Final = 600.0  # seconds until a server must be ready
LOOK: Final = 0.02  # seconds between two looks whether it is
IDLE: Final = 3.0  # seconds after which a connection is opened anew, before the server closes it
MIB: Final = 2**20
HEARD: Final = ("LINOCUT_", "DATABASE_URL", "FORWARDED_ALLOW_IPS")
FORBIDDEN: Final = re.compile(r"/(numpy|torch|onnxruntime|transformers)/")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and the seconds until its last byte had come."""

    status: int
    headers: dict[str, str]
    text: bytes
    sent_at: float
    seconds: float

    @property
    def json(self) -> Any:
        """What it says."""
        return json.loads(self.text)


@dataclass(frozen=True, slots=True)
class Call:
    """One request."""

    method: str
    path: str
    body: bytes | None = None
    kind: str = "application/json"

    @classmethod
    def post(cls, path: str, said: Any) -> Call:
        """JSON."""
        return cls("POST", path, json.dumps(said).encode())


class Caller:
    """A key, and a connection that is kept open."""

    def __init__(self, url: str, key: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self.http, self.key = HTTPConnection(host, int(port), timeout=PATIENCE), key
        self.used = 0.0

    def send(self, call: Call, due: float | None = None) -> Answer:
        """Its answer. due: from when the seconds count, by `perf_counter`; else from now."""
        if perf_counter() - self.used > IDLE:
            self.http.close()
        sent_at, began = time.time(), perf_counter() if due is None else due
        headers = {"API-KEY": self.key, "Content-Type": call.kind}
        self.http.request(call.method, call.path, call.body, headers)
        came = self.http.getresponse()
        text = came.read()
        self.used = perf_counter()
        head = {name.lower(): value for name, value in came.getheaders()}
        return Answer(came.status, head, text, sent_at, self.used - began)


@dataclass
class Server:
    """One server process; `began` is when it was started, by `perf_counter`."""

    process: subprocess.Popen[str]
    folder: Path
    log: Path
    began: float
    url: str = ""
    key: str = ""
    listens: float = 0.0
    ready: float = 0.0

    def caller(self) -> Caller:
        """Somebody with the admin's key."""
        return Caller(self.url, self.key)

    def wait(self) -> None:
        """Until it listens and can draw; the seconds of both are kept."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("Playground"):
                self.url = line.split()[1].rstrip("/")
                break
        else:
            raise RuntimeError(f"the server did not start:\n{self.log.read_text()[-2000:]}")
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        with suppress(FileNotFoundError):
            self.key = (self.folder / "admin.key").read_text(encoding="ascii").strip()
        caller = self.caller()
        caller.send(Call("GET", "/livez"))
        self.listens = perf_counter() - self.began
        while caller.send(Call("GET", "/readyz")).status != 200:
            if perf_counter() - self.began > PATIENCE:
                raise RuntimeError(f"it never got ready:\n{self.log.read_text()[-2000:]}")
            time.sleep(LOOK)
        self.ready = perf_counter() - self.began

    def memory(self, field: str = "VmRSS") -> float:
        """MiB of the server process alone; VmHWM is the most that it ever had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"{field}:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024 / MIB

    def forbidden(self) -> list[str]:
        """Libraries that draw, of which a part is loaded into the server process."""
        maps = Path(f"/proc/{self.process.pid}/maps").read_text(encoding="utf-8")
        return sorted(set(FORBIDDEN.findall(maps)))

    def drawn(self) -> int:
        """How many records ended in SUCCESS, as its metrics tell."""
        text = self.caller().send(Call("GET", "/metrics")).text.decode()
        found = re.search(r'^jobs_total\{state="SUCCESS"\} ([\d.e+]+)$', text, re.MULTILINE)
        return int(float(found[1])) if found else 0


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[Server]:
    """A server that is ready; `settings` are variables without their beginning: QUEUE_LIMIT="5"."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(HEARD)}
    said = {"DATA_DIR": str(folder), "PORT": "0", "DRAIN_SECONDS": "0",
            "KEY_RATE": "0", "KEY_SHARE": "0", **settings}  # fmt: skip
    log = folder.with_suffix(".log")
    with log.open("ab") as logged:
        began = perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "linocut", "serve"],
            env=kept | {f"LINOCUT_{name}": value for name, value in said.items()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=logged,
            text=True,
        )
    try:
        server = Server(process, folder, log, began)
        server.wait()
        yield server
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True, slots=True)
class Flood:
    """Answers in the order of the calls, and the seconds that all of them took."""

    answers: tuple[Answer, ...]
    seconds: float


def flood(
    server: Server, call: Callable[[int], Call], count: int, *, callers: int, rate: float = 0.0
) -> Flood:
    """`count` calls by so many callers at once.

    rate: calls a second that are due, whether others are answered or not: then an answer's seconds
    count from when its call was due. 0: as fast as answers come.
    """
    turns, answers = iter(range(count)), {}
    began = perf_counter()

    def work() -> None:
        caller = server.caller()
        for number in turns:
            due = None
            if rate:
                due = began + number / rate
                time.sleep(max(0.0, due - perf_counter()))
            answers[number] = caller.send(call(number), due)

    with ThreadPoolExecutor(callers) as crowd:
        for one in [crowd.submit(work) for _ in range(callers)]:
            one.result()
    seconds = perf_counter() - began
    return Flood(tuple(answers[number] for number in sorted(answers)), seconds)


@dataclass
class PostgreSQL:
    """A server of our own on loopback, which writes through to the disk."""

    folder: Path
    port: int = field(default=0)

    def url(self, name: str) -> str:
        """The address of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def new(self, name: str) -> str:
        """The address of a new database."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        return self.url(name)

    def run(self, program: str, *words: str) -> None:
        """One of its programs, as its own user: it refuses to run as root."""
        line = [str(programs() / program), "-D", str(self.folder / "data"), *words]
        if os.geteuid() == 0:
            line = ["su", "postgres", "-s", "/bin/sh", "-c", '"$0" "$@"', "--", *line]
        with (self.folder / "programs.log").open("a") as said:  # a pipe would be held open
            done = subprocess.run(line, cwd="/", stdout=said, stderr=said, check=False, timeout=120)
        if done.returncode:
            raise RuntimeError((self.folder / "programs.log").read_text()[-2000:])


def programs() -> Path:
    """The folder of PostgreSQL's programs: Debian keeps them beside the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    known = str(found[-1]) if found else shutil.which("initdb")
    if not known:
        raise RuntimeError("PostgreSQL is not here; leave it out with: --databases sqlite")
    return Path(known).parent


@contextmanager
def running_postgresql(folder: Path) -> Iterator[PostgreSQL]:
    """A server, stopped afterwards. `folder` is made for it."""
    folder.mkdir()
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = PostgreSQL(folder, probe.getsockname()[1])
    server.run("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8")
    options = f"-p {server.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    server.run("pg_ctl", "-w", "-l", str(folder / "server.log"), "-o", options, "start")
    try:
        yield server
    finally:
        server.run("pg_ctl", "-w", "-m", "fast", "stop")
