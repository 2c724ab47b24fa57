"""The parts of a service, opened in order and closed in reverse."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from linocut.images.bounded import BoundedStore
from linocut.images.fetch import FetchPolicy
from linocut.images.guard import Guard
from linocut.images.signing import Signer
from linocut.images.store import FolderStore
from linocut.jobs.bus import Bus
from linocut.jobs.dispatcher import Dispatcher
from linocut.jobs.folder import DataFolder, held, open_folder
from linocut.jobs.outbox import Outbox
from linocut.jobs.runs import Runs, Timing
from linocut.jobs.store import Store
from linocut.jobs.sweeper import DAY, Keeping, Sweeper
from linocut.jobs.tally import Tally
from linocut.server.context import Service
from linocut.server.holding import Holding
from linocut.server.keyring import KeyDefaults, Keyring
from linocut.server.limits import Limiter
from linocut.server.metrics import Metrics
from linocut.server.secrets import Secrets, open_secrets
from linocut.server.settings import Settings
from linocut.server.webhooks import webhook_body
from linocut.workers.options import FAKE, REAL, Options, command
from linocut.workers.process import ChildProcess
from linocut.workers.protocol import Worker
from linocut.workers.supervisor import Supervisor


@asynccontextmanager
async def open_service(settings: Settings) -> AsyncIterator[Service]:
    """A service on its data folder, which is held as long as this lasts. No worker runs yet."""
    async with AsyncExitStack() as closing:
        folder = open_folder(settings.data_folder)
        closing.enter_context(held(folder))
        secrets, store = open_secrets(folder.path), await open_store(settings, folder)
        closing.push_async_callback(store.close)
        bus, metrics = Bus(), Metrics()
        tally = Tally(store, metrics.ended)
        store.wake, store.work = _both(bus.notify, tally.note), bus.notify_work
        store.told, store.over = bus.notify_followers, bus.notify_end
        guard = Guard()
        closing.push_async_callback(guard.stop)
        supervisor = Supervisor(_maker(settings), settings.workers)
        closing.push_async_callback(supervisor.stop)
        yield Service(
            settings=settings,
            secrets=secrets,
            store=store,
            bus=bus,
            pictures=BoundedStore(FolderStore(folder.pictures), settings.storage_seconds),
            guard=guard,
            signer=Signer(secrets.links, secrets.link),
            fetching=_fetching(settings, enabled=settings.fetch),
            keyring=open_keyring(settings, store, secrets),
            limiter=Limiter(rate=settings.key_rate),
            holding=Holding(settings.max_held),
            supervisor=supervisor,
            tally=tally,
            metrics=metrics,
        )


async def open_store(settings: Settings, folder: DataFolder) -> Store:
    """The database that the settings name, with the tables of this version."""
    return await Store.open(
        settings.database, busy_timeout=settings.busy_timeout, backups=folder.backups
    )


def open_keyring(settings: Settings, store: Store, secrets: Secrets) -> Keyring:
    """The keys of a database, with the settings' defaults."""
    defaults = KeyDefaults(
        rate=settings.key_rate, share=settings.key_share, quota_seconds=settings.key_quota
    )
    return Keyring(store=store, pepper=secrets.pepper, defaults=defaults, is_open=not settings.auth)


def open_dispatcher(service: Service) -> Dispatcher:
    """What takes records to the workers."""
    settings = service.settings
    timing = Timing(
        lease=settings.lease, heartbeat=settings.heartbeat, max_attempts=settings.max_attempts
    )
    runs = Runs(
        service.store,
        service.supervisor,
        service.pictures,
        service.bus,
        timing=timing,
        prefix=settings.prefix,
        embed_prompt=settings.embed_prompt,
    )
    return Dispatcher(runs)


def open_outbox(service: Service, base: str) -> Outbox:
    """What sends webhooks. base: how links in them begin."""
    return Outbox(
        service.store,
        webhook_body(service, base),
        secret=service.secrets.webhook,
        policy=_fetching(service.settings, enabled=True),
    )


class CountedSweeper(Sweeper):
    """A sweeper that tells the metrics how many leases nobody kept."""

    def __init__(self, service: Service, keeping: Keeping) -> None:
        super().__init__(service.store, service.pictures, keeping)
        self.metrics = service.metrics

    async def sweep_leases(self) -> int:
        """How many runs that nobody kept alive were given up."""
        lost = await super().sweep_leases()
        self.metrics.leases_lost.inc(lost)
        return lost


def open_sweeper(service: Service) -> Sweeper:
    """What removes what has had its time."""
    settings = service.settings
    age = settings.retention_days * DAY or None
    keeping = Keeping(
        lease=settings.lease,
        max_attempts=settings.max_attempts,
        records=age,
        total_bytes=settings.retention_bytes or None,
        uploads=age,
    )
    return CountedSweeper(service, keeping)


def _both(first: Callable[[str], None], second: Callable[[str], None]) -> Callable[[str], None]:
    def call(record_id: str) -> None:
        first(record_id)
        second(record_id)

    return call


def _fetching(settings: Settings, *, enabled: bool) -> FetchPolicy:
    return FetchPolicy(
        enabled=enabled,
        allowed_hosts=frozenset(settings.fetch_allow),
        max_bytes=settings.max_upload,
    )


def _maker(settings: Settings) -> Callable[[int], Worker]:
    """Makes the i-th worker; several on GPUs get one each."""
    kind, *more = shlex.split(settings.worker)

    def make(number: int) -> Worker:
        spread = settings.device == "cuda" and settings.workers > 1
        options = Options(
            checkpoint=settings.checkpoint,
            home=settings.home.expanduser(),
            device=f"cuda:{number}" if spread else settings.device,
            dtype=None if settings.dtype == "auto" else settings.dtype,
            threads=settings.threads or None,
            text_layers=tuple(map(int, filter(None, settings.text_layers.split(",")))) or None,
            prompt_checks=settings.prompt_checks,
            picture_checks=settings.picture_checks,
            safety_model=settings.safety_model,
        )
        return ChildProcess(
            f"worker-{number}",
            command(options, *more, module=FAKE if kind == "fake" else REAL),
            hang_seconds=settings.hang_seconds,
            start_seconds=settings.start_seconds,
        )

    return make
