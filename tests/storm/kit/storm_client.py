"""A client under storm: it writes every call and every answer into a log of its own."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

PATIENCE: Final = 120.0
FINAL: Final = frozenset({"SUCCESS", "FAILURE", "CANCELED"})
NO_ANSWER: Final = 0
AGAIN: Final = frozenset({NO_ANSWER, 429, 503})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call and what came back. status 0: the line broke before an answer."""

    at: float
    what: str
    status: int
    key: str = ""
    uuid: str = ""
    state: str = ""
    retry_after: str = ""
    is_replay: bool = False
    is_whole: bool = True  # a body that is what it says it is
    body: Any = None


@dataclass(slots=True)
class History:
    """All calls of all clients of one storm, in the order of their answers."""

    calls: list[Call] = field(default_factory=list)
    stories: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    @property
    def acknowledged(self) -> set[str]:
        """The records that a client was told of."""
        return {call.uuid for call in self.calls if call.what == "create" and call.uuid}

    def count(self, what: str, *statuses: int) -> int:
        """How many calls of a kind ended so."""
        return sum(call.what == what and call.status in statuses for call in self.calls)


def wish(prompt: str, *, steps: int = 2, seed: int = 1, **more: Any) -> dict[str, Any]:
    """The body of a small request that is answered at once."""
    asked = {
        "prompt": prompt, "num_inference_steps": steps, "seed": seed, "megapixels": "0.25",
        "aspect_ratio": "1:1", "output_format": "jpg",
    }  # fmt: skip
    return {
        "type": "IMAGE_GENERATOR",
        "model": "black-forest-labs/flux-2-dev",
        "async": True,
        "promptObject": asked,
        **more,
    }


class Client:
    """Calls one address. Calls that may be repeated are, until there is an answer."""

    def __init__(self, http: httpx2.AsyncClient, history: History) -> None:
        self.http, self.history = http, history

    async def call(self, what: str, method: str, path: str, *, key: str = "", **more: Any) -> Call:
        """One call, logged."""
        headers = {"Idempotency-Key": key} if key else {}
        try:
            answer = await self.http.request(method, path, headers=headers, **more)
        except httpx2.HTTPError:
            made = Call(at=time.time(), what=what, status=NO_ANSWER, key=key)
        else:
            made = _read(what, key, answer)
        self.history.calls.append(made)
        return made

    async def create(self, body: dict[str, Any], *, key: str = "", insist: bool = True) -> Call:
        """A picture is asked for; again, with the same key, while nobody answers or none can."""
        end = time.monotonic() + PATIENCE
        while True:
            made = await self.call("create", "POST", "/api/features", key=key, json=body)
            if not insist or made.status not in AGAIN or time.monotonic() > end:
                return made
            await asyncio.sleep(random.uniform(0.05, 0.3))  # noqa: S311 - not a secret

    async def look(self, uuid: str) -> Call:
        """How a record stands."""
        return await self.call("look", "GET", f"/api/results/{uuid}")

    async def cancel(self, uuid: str) -> Call:
        """A record is canceled, once."""
        return await self.call("cancel", "POST", f"/api/records/{uuid}/cancel")

    async def counted(self) -> dict[str, int]:
        """`jobs_total` of /metrics, by state."""
        page = (await self.http.get("/metrics")).text
        lines = [line for line in page.splitlines() if line.startswith("jobs_total{")]
        return {line.split('"')[1]: int(float(line.split()[-1])) for line in lines}

    async def ended(self, uuid: str) -> Call:
        """The record's first look that finds it ended."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            seen = await self.look(uuid)
            if seen.state in FINAL:
                return seen
            await asyncio.sleep(0.1)
        raise AssertionError(f"{uuid} never ended: {seen}")

    async def read(
        self, uuid: str, *, after: int = 0, most: int = 1_000_000
    ) -> list[tuple[int, str]]:
        """Up to `most` numbered events behind `after`; the line is cut after them."""
        found: list[tuple[int, str]] = []
        headers = {"Last-Event-ID": str(after)} if after else {}
        path = f"/api/records/{uuid}/events"
        try:
            async with self.http.stream("GET", path, headers=headers) as answer:
                status = answer.status_code
                async for number, kind, _ in events_of(answer):
                    if number is not None:
                        found.append((number, kind))
                    if len(found) >= most or kind == "shutdown":
                        break
        except httpx2.HTTPError:
            status = NO_ANSWER
        self.history.calls.append(Call(at=time.time(), what="stream", status=status, uuid=uuid))
        self.history.stories.setdefault(uuid, []).extend(found)
        return found


async def events_of(answer: httpx2.Response) -> AsyncIterator[tuple[int | None, str, Any]]:
    """(number, kind, data) of each event on the wire."""
    number, kind = None, ""
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "id":
            number = int(value)
        elif name == "event":
            kind = value
        elif name == "data":
            yield number, kind, json.loads(value)
            number, kind = None, ""


def _read(what: str, key: str, answer: httpx2.Response) -> Call:
    kind, body, whole = answer.headers.get("content-type", ""), None, True
    if "json" in kind:
        try:
            body = answer.json()
        except ValueError:
            whole = False
    record = (body.get("aiRecord") or {}) if isinstance(body, dict) else {}
    if answer.status_code >= 400:
        whole = whole and kind.startswith("application/problem+json") and "code" in (body or {})
    return Call(
        at=time.time(),
        what=what,
        key=key,
        status=answer.status_code,
        uuid=str(record.get("uuid", "")),
        state=str(record.get("status", "")),
        retry_after=answer.headers.get("retry-after", ""),
        is_replay=answer.headers.get("idempotency-replayed") == "true",
        is_whole=whole,
        body=body,
    )


@asynccontextmanager
async def connected(
    url: str, history: History | None = None, *, most: int = 200, **headers: str
) -> AsyncIterator[Client]:
    """A client of this server. most: of its connections."""
    # Idle lines end here before the server ends them: a call never meets one that just closed.
    limits = httpx2.Limits(
        max_connections=most, max_keepalive_connections=most, keepalive_expiry=1.0
    )
    async with httpx2.AsyncClient(
        base_url=url, timeout=PATIENCE, limits=limits, trust_env=False, headers=headers
    ) as http:
        yield Client(http, history if history is not None else History())
