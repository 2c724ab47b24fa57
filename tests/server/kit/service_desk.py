"""What the tests of routes share: bodies, event streams, pictures; a service without a server.

That service has a real store, folder, signer and bus, and no worker. It does not look at pictures:
its guard is a stand-in that takes what begins with "PICTURE".
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from linocut.errors import InvalidPicture
from linocut.images.fetch import FetchPolicy
from linocut.images.guard import Normalised
from linocut.images.signing import Signer
from linocut.images.store import FolderStore
from linocut.jobs.bus import Bus
from linocut.jobs.record import Order, Record, StoredFile, Submission
from linocut.jobs.store import Store
from linocut.jobs.terms import Limits
from linocut.request import ImageRequest
from linocut.server.context import Service
from linocut.server.holding import Holding
from linocut.server.keyring import Caller, Keyring
from linocut.server.limits import Limiter
from linocut.server.secrets import Secrets
from linocut.server.settings import Settings

T = TypeVar("T")
BODY = {"type": "IMAGE_GENERATOR", "promptObject": {"prompt": "a red apple"}}
ENOUGH = Limits(queue=100, share=100)


def call(prompt: str = "a red apple", /, **fields: Any) -> dict[str, Any]:
    """A body for `POST /api/features`: small and quick, `fields` are the prompt object's."""
    small = {"prompt": prompt, "megapixels": "0.25", "num_inference_steps": 4}
    return {
        "type": "IMAGE_GENERATOR",
        "model": "black-forest-labs/flux-2-dev",
        "promptObject": small | fields,
    }


def picture(width: int = 96, height: int = 80, kind: str = "png", **how: Any) -> bytes:
    """A file with a picture in it."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(file, kind, **how)
    return file.getvalue()


def parsed(raw: bytes | str) -> list[dict[str, Any]]:
    """The events of a stream; comments and `retry` are left out."""
    text = raw.decode() if isinstance(raw, bytes) else raw
    found = []
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.splitlines()]
        event: dict[str, Any] = {
            name: value for name, _, value in lines if name in {"id", "event", "data"}
        }
        if "data" in event:
            event["data"] = json.loads(event["data"])
            found.append(event)
    return found


class PlainGuard:
    """Takes what begins with PICTURE; every picture is 80 x 64. Notes whose they were."""

    def __init__(self) -> None:
        self.owners: list[str] = []

    async def normalise(
        self, data: bytes, name: str = "the picture", *, owner: str = ""
    ) -> Normalised:
        """The bytes, as if they had been encoded anew."""
        self.owners.append(owner)
        if not data.startswith(b"PICTURE"):
            raise InvalidPicture(f"{name} is no picture")
        return Normalised(
            file=data,
            content_type="image/png",
            extension="png",
            width=80,
            height=64,
            sha256=hashlib.sha256(data).hexdigest(),
        )


class NoWorker:
    """Estimates what it is told to, and has nothing that draws."""

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self.sizes: list[Any] = []
        self.more: dict[str, Any] = {}

    def estimate(self, _request: ImageRequest, sizes: Any = (), **more: Any) -> float | None:
        """What was said at birth."""
        self.sizes, self.more = list(sizes), more
        return self.seconds

    def conditions(self) -> tuple[Any, ...]:
        """None."""
        return ()


def caller(tenant: str = "ours", **more: Any) -> Caller:
    """Somebody with a key."""
    said: dict[str, Any] = {
        "id": tenant,
        "name": tenant,
        "scopes": frozenset({"generate"}),
        "rate": 0.0,
        "share": 100,
        "quota_seconds": None,
        "allow_unsafe": False,
    }
    return Caller(tenant=tenant, **(said | more))


def submission(tenant: str = "ours", **more: Any) -> Submission:
    """A small request."""
    order = Order(request=ImageRequest(prompt="a red apple", width=64, height=64))
    said: dict[str, Any] = {
        "key_id": tenant,
        "feature": "IMAGE_GENERATOR",
        "model": "black-forest-labs/flux-2-dev",
        "body": BODY,
        "order": order,
        "estimate": 2.0,
    }
    return Submission(tenant=tenant, **(said | more))


async def submitted(service: Service, tenant: str = "ours") -> Record:
    """A record that waits."""
    return (await service.store.submit(submission(tenant), ENOUGH)).record


async def drawn(service: Service, tenant: str = "ours", data: bytes = b"PICTURE") -> Record:
    """A record that has ended well, and its file."""
    record = await submitted(service, tenant)
    claimed = await service.store.claim("test", 30.0)
    assert claimed is not None
    assert claimed.id == record.id
    key = f"images/{record.id}.webp"
    await service.pictures.put(key, data)
    file = StoredFile(
        key=key, tenant=tenant, kind="result", content_type="image/webp", size=len(data),
        sha256=hashlib.sha256(data).hexdigest(), width=64, height=64, record_id=record.id,
    )  # fmt: skip
    assert await service.store.succeed(record.id, claimed.fence, [file], {"seed": 1}, 1.0)
    ended = await service.store.record(tenant, record.id)
    assert ended is not None
    return ended


def run(folder: Path, scenario: Callable[[Service], Awaitable[T]], **settings: Any) -> T:
    """What the scenario gives, in a service of its own."""

    async def inside() -> T:
        store = await Store.open(f"sqlite:///{folder / 'linocut.db'}")
        bus = Bus()
        store.wake, store.told, store.work = bus.notify, bus.notify_followers, bus.notify_work
        store.over = bus.notify_end
        secrets = Secrets.new()
        chosen = Settings(**({"data_dir": folder} | settings))
        try:
            return await scenario(
                Service(
                    settings=chosen,
                    secrets=secrets,
                    store=store,
                    bus=bus,
                    pictures=FolderStore(folder / "pictures"),
                    guard=PlainGuard(),  # type: ignore[arg-type]
                    signer=Signer(secrets.links, secrets.link),
                    fetching=FetchPolicy(),
                    keyring=Keyring(store=store, pepper=secrets.pepper),
                    limiter=Limiter(),
                    holding=Holding(chosen.max_held),
                    supervisor=NoWorker(),  # type: ignore[arg-type]
                )
            )
        finally:
            await store.close()

    return asyncio.run(inside())
