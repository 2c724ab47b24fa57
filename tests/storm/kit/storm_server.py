"""A server process that is killed, frozen, told to stop and started again on the same address."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

import httpx2
from processes import fake_workers
from storm_hatch import hatch

ROOT: Final = Path(__file__).parents[3]
PATIENCE: Final = 90.0
SETTINGS: Final = {
    "LINOCUT_AUTH": "false",
    "LINOCUT_KEY_RATE": "0",
    "LINOCUT_KEY_SHARE": "0",
    "LINOCUT_QUEUE_LIMIT": "100000",
    "LINOCUT_LEASE": "2",
    "LINOCUT_HEARTBEAT": "0.5",
    "LINOCUT_BUSY_TIMEOUT": "0.2",
    "LINOCUT_WORKERS": "2",
    "LINOCUT_WORKER": "fake --step-seconds=0.01",
    "LINOCUT_MAX_ATTEMPTS": "20",
    "LINOCUT_LOG_FORMAT": "json",
}


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`linocut serve` on one data folder and one port; `script` is run in its place."""

    def __init__(self, folder: Path, database: str = "", script: str = "", **settings: str) -> None:
        self.folder, self.port, self.script = folder, free_port(), script
        self.url = f"http://127.0.0.1:{self.port}"
        self.database = database or f"sqlite:///{folder / 'linocut.db'}"
        self.pictures = folder / "pictures"
        self.log = folder.with_suffix(".log")
        self.settings = SETTINGS | settings
        if database:
            self.settings["LINOCUT_DATABASE_URL"] = database
        self.extra: dict[str, str] = {}
        self.process: BaseProcess | None = None
        self.starts = 0

    def begin(self, **extra: str) -> None:
        """The process is started; `extra` is more of its environment."""
        kept = {name: value for name, value in os.environ.items() if "LINOCUT_" not in name}
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {
            **kept, **self.settings, **extra, "PYTHONPATH": str(ROOT / "src"),
            "LINOCUT_DATA_DIR": str(self.folder), "LINOCUT_PORT": str(self.port),
        }  # fmt: skip
        self.process = hatch(self.script, environment, self.log)
        self.starts += 1

    async def start(self, **extra: str) -> Server:
        """Itself, once it can draw."""
        self.begin(**extra)
        return await self.ready()

    async def ready(self) -> Server:
        """Itself, once it can draw."""
        await self.reaches("/readyz", 200)
        return self

    async def reaches(self, path: str, status: int) -> None:
        """Wait until the path answers so."""
        async with httpx2.AsyncClient(base_url=self.url, timeout=10, trust_env=False) as http:
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end and self.is_alive:
                with suppress(httpx2.HTTPError):
                    if (await http.get(path)).status_code == status:
                        return
                await asyncio.sleep(0.05)
        raise AssertionError(f"{path} never answered {status}; it said:\n{self.said[-4000:]}")

    async def says(self, words: str) -> None:
        """Wait until these words are in its log."""
        end = time.monotonic() + PATIENCE
        while words not in self.said:
            assert time.monotonic() < end, f"it never said {words!r}:\n{self.said[-4000:]}"
            await asyncio.sleep(0.05)

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.exitcode is None

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        assert self.process is not None
        assert self.process.pid is not None
        return self.process.pid

    @property
    def said(self) -> str:
        """All that its processes have written."""
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def send(self, sign: int) -> None:
        """A signal, if there is somebody to hear it."""
        if self.is_alive:
            os.kill(self.pid, sign)

    async def kill(self) -> None:
        """Gone at once, as by a power cut, and by nothing else."""
        self.send(signal.SIGKILL)
        code = await self.gone()
        assert code == -signal.SIGKILL, f"it was gone before, with {code}:\n{self.said[-4000:]}"

    async def stop(self) -> int:
        """Its exit code, after it was told to stop."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        return await self.gone()

    async def gone(self) -> int:
        """Its exit code, once it has one."""
        assert self.process is not None
        end = time.monotonic() + PATIENCE
        while (code := self.process.exitcode) is None:
            assert time.monotonic() < end, f"it does not stop; it said:\n{self.said[-4000:]}"
            await asyncio.sleep(0.02)
        return code

    def workers(self) -> list[int]:
        """The processes that draw for it."""
        return fake_workers(self.pid)

    def files(self) -> int:
        """How many descriptors it holds."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))  # noqa: PTH208 - no path is needed

    def sockets(self) -> int:
        """How many connections it has, those included that it listens for and asks itself by."""
        found = 0
        for path in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(OSError):
                found += str(path.readlink()).startswith("socket:")
        return found

    def threads(self) -> int:
        """How many threads it has."""
        return len(os.listdir(f"/proc/{self.pid}/task"))  # noqa: PTH208

    def memory(self) -> float:
        """Its resident megabytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def end(self) -> None:
        """Nothing of it is left."""
        if self.process is not None and self.process.exitcode is None:
            self.process.kill()
            self.process.join()
