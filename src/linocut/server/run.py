"""The life of a server: it listens, says so, draws, and leaves in good order.

Told to stop, it says 503 to whoever asks whether it is ready, ends its streams, claims no more,
lets running pictures finish for `drain_seconds`, puts the others back into the queue as if they had
never been begun, and only then closes its door. Told twice, it does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import structlog
import uvicorn

from linocut.errors import CheckpointError, DoesNotFit, InvalidRequest, LinocutError
from linocut.jobs.dispatcher import Dispatcher
from linocut.jobs.terms import ApiKey
from linocut.server.app import create_app
from linocut.server.context import Service
from linocut.server.guarded import Patience, guarded_protocol
from linocut.server.keyring import LOCAL
from linocut.server.keys import KeyText, digest, new_key
from linocut.server.parts import open_dispatcher, open_outbox, open_service, open_sweeper
from linocut.server.settings import Settings
from linocut.workers.protocol import Ready

log = structlog.get_logger(__name__)

BACKLOG: Final = 2048
LAST_ANSWERS_SECONDS: Final = 1
MOST_FILES: Final = 65_536
ADMIN: Final = "admin"


@dataclass(frozen=True, slots=True)
class Listening:
    """The door is open. first_key: the key that was just made, where there was none."""

    url: str
    first_key: KeyText | None


@dataclass(frozen=True, slots=True)
class Draws:
    """A worker is ready, so many seconds after the start."""

    ready: Ready
    seconds: float


@dataclass(frozen=True, slots=True)
class Waits:
    """No worker could be started yet; the reason in words."""

    reason: str


@dataclass(frozen=True, slots=True)
class Leaves:
    """It was told to stop. Seconds that what runs may still take."""

    grace: float


News = Listening | Draws | Waits | Leaves
Tell = Callable[[News], None]


class Stop:
    """Who asked the server to stop, and how often."""

    def __init__(self) -> None:
        self.asked, self.insisted = asyncio.Event(), asyncio.Event()

    def ask(self) -> None:
        """Once is a wish, twice is an order."""
        (self.insisted if self.asked.is_set() else self.asked).set()


class HttpServer(uvicorn.Server):
    """uvicorn, which here neither hears signals nor decides when to leave."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: the life around it hears them."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self.up.set()


async def serve(settings: Settings, tell: Tell) -> None:
    """A server from its start to its end; raises what kept it from starting."""
    begun, stop = time.monotonic(), Stop()
    door = bind(settings.host, settings.port)
    with _hearing(stop), contextlib.closing(door):
        _allow_many_files()
        async with open_service(settings) as service:
            first = await _first_key(service)
            base = settings.public_url or url_of(door)
            await Life(service, door, base, tell, stop).live(begun, first)


class Life:
    """Everything that runs while a server does."""

    def __init__(
        self, service: Service, door: socket.socket, base: str, tell: Tell, stop: Stop
    ) -> None:
        self.service, self.base, self.tell, self.stop = service, base.rstrip("/"), tell, stop
        self.http, self.door = HttpServer(_config(service)), door
        self.dispatcher: Dispatcher = open_dispatcher(service)

    async def live(self, begun: float, first: KeyText | None) -> None:
        """Until it is told to stop; an error of any part ends all of it."""
        answering = asyncio.create_task(self.http.serve([self.door]), name="http")
        tasks = {answering}
        try:
            await self._until(self.http.up.wait(), tasks)
            self.tell(Listening(self.base, first))
            await self.service.supervisor.start()
            tasks |= self._background(begun)
            await self._until(self.stop.asked.wait(), tasks)
            await self._drain()
            self.http.should_exit = True
            await self._until(_ended(answering), tasks)
        finally:
            await _canceled(tasks)

    def _background(self, begun: float) -> set[asyncio.Task[None]]:
        parts = {
            "dispatcher": self.dispatcher.run(),
            "outbox": open_outbox(self.service, self.base).run(),
            "sweeper": open_sweeper(self.service).run(),
            "guard": self.service.guard.start(),
            "herald": self._herald(begun),
        }
        if self.service.tally is not None:
            parts["tally"] = self.service.tally.run()
        return {asyncio.create_task(part, name=name) for name, part in parts.items()}

    async def _until(self, what: object, tasks: set[asyncio.Task[None]]) -> None:
        """Wait for it; if one of the tasks fails meanwhile, that is raised."""
        waited = asyncio.ensure_future(what)  # type: ignore[call-overload]
        try:
            while not waited.done():
                await asyncio.wait({waited, *tasks}, return_when=asyncio.FIRST_COMPLETED)
                for task in [one for one in tasks if one.done()]:
                    tasks.discard(task)
                    task.result()
        finally:
            waited.cancel()

    async def _herald(self, begun: float) -> None:
        """Say when it draws; what no other worker would mend ends the server."""
        try:
            ready = await self.service.supervisor.ready()
        except (CheckpointError, DoesNotFit):
            raise
        except LinocutError as error:
            self.tell(Waits(error.message))
        else:
            self.tell(Draws(ready, time.monotonic() - begun))

    async def _drain(self) -> None:
        self.service.draining.on = True
        self.service.bus.notify_all()
        is_drawing = await self.dispatcher.settle()
        grace = self.service.settings.drain_seconds if is_drawing else 0.0
        self.tell(Leaves(grace))
        log.info("draining", seconds=grace)
        drained = asyncio.create_task(self.dispatcher.drain(grace))
        insisted = asyncio.create_task(self.stop.insisted.wait())
        await asyncio.wait({drained, insisted}, return_when=asyncio.FIRST_COMPLETED)
        insisted.cancel()
        if not drained.done():
            await _canceled({drained})
            await self.dispatcher.drain(0.0)
        self.service.draining.done = True
        self.service.bus.notify_all()  # their answers have LAST_ANSWERS_SECONDS from now on
        log.info("drained")


def bind(host: str, port: int) -> socket.socket:
    """A socket on the address; InvalidRequest says why there can be none."""
    try:
        found = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        door = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InvalidRequest(f"host={host}: {error.strerror}", field="host") from None
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
        door.listen(BACKLOG)
    except OSError as error:
        door.close()
        raise InvalidRequest(
            f"port {port} on {host}: {error.strerror}",
            field="port",
            hint=f"stop what uses it, or take another: linocut serve --port {port + 1}",
        ) from None
    door.setblocking(False)
    return door


def url_of(door: socket.socket) -> str:
    """How this computer reaches the socket."""
    host, port = door.getsockname()[:2]
    named = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host)  # noqa: S104 - not to listen on
    return f"http://{named or (f'[{host}]' if ':' in host else host)}:{port}"


def _config(service: Service) -> uvicorn.Config:
    settings = service.settings
    patience = Patience(
        head_seconds=settings.header_seconds,
        stall_seconds=settings.stall_seconds,
        head_bytes=settings.header_bytes,
    )
    return uvicorn.Config(
        create_app(service),
        http=guarded_protocol(patience),  # type: ignore[arg-type]
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        proxy_headers=bool(settings.forwarded_allow_ips),
        forwarded_allow_ips=settings.forwarded_allow_ips,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=LAST_ANSWERS_SECONDS,
    )


async def _first_key(service: Service) -> KeyText | None:
    """A key for the admin of a database that has none yet."""
    if not service.settings.auth or await service.store.keys():
        return None
    key = new_key()
    kept = digest(key, service.secrets.pepper)
    await service.store.add_key(
        ApiKey(id=key.id, tenant=LOCAL, name=ADMIN, digest=kept, scopes=(ADMIN,))
    )
    return key


@contextlib.contextmanager
def _hearing(stop: Stop) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, stop.ask)
    try:
        yield
    finally:
        for sign in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(sign)


def _allow_many_files() -> None:
    """As many open connections as the system lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def _ended(task: asyncio.Task[None]) -> None:
    await asyncio.wait({task})


async def _canceled(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
