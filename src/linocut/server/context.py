"""What every route may use: the service's parts, wired once at its start."""

from __future__ import annotations

from dataclasses import dataclass, field

from linocut.images.fetch import FetchPolicy
from linocut.images.guard import Guard
from linocut.images.signing import Signer
from linocut.images.store import PictureStore
from linocut.jobs.bus import Bus
from linocut.jobs.store import Store
from linocut.jobs.tally import Tally
from linocut.server.doorway import Doorway
from linocut.server.holding import Holding
from linocut.server.keyring import Keyring
from linocut.server.limits import Limiter
from linocut.server.metrics import Metrics
from linocut.server.secrets import Secrets
from linocut.server.settings import Settings
from linocut.workers.supervisor import Supervisor


@dataclass(slots=True)
class Draining:
    """Whether the server is on its way out, and whether nothing runs in it any more.

    Each is set once and never unset.
    """

    on: bool = False
    done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The parts of one running server."""

    settings: Settings
    secrets: Secrets
    store: Store
    bus: Bus
    pictures: PictureStore
    guard: Guard
    signer: Signer
    fetching: FetchPolicy
    keyring: Keyring
    limiter: Limiter
    doorway: Doorway = field(default_factory=Doorway)
    holding: Holding
    supervisor: Supervisor
    tally: Tally | None = None
    metrics: Metrics = field(default_factory=Metrics)
    draining: Draining = field(default_factory=Draining)
