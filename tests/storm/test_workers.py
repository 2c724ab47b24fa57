"""P12: a worker may crash, hang or run out of memory; the others' pictures do not notice."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from storm_client import PATIENCE, Client, connected, wish

from linocut.workers.supervisor import FIRST_PAUSE

POISON = ("[crash]", "[killed]", "[exit]", "[hang]")
ATTEMPTS = 3
LOST = len(POISON) * ATTEMPTS + 1  # and what crashes once
TOLD = re.compile(r"(worker-\d+): .*; the next one in (\S+) s")


@dataclass(frozen=True, slots=True)
class Loss:
    """A worker's end, as the log has it. pause: how long its place was meant to stay empty."""

    at: float
    worker: str
    pause: float


@dataclass(frozen=True, slots=True)
class Sight:
    """A worker that could draw at some moment between two."""

    worker: str
    after: float
    before: float


async def _watch(client: Client, seen: list[Sight]) -> None:
    """Note again and again which workers can draw."""
    while True:
        asked = time.time()
        page = (await client.http.get("/metrics")).text
        for line in page.splitlines():
            name, _, value = line.rpartition(" ")
            if name.startswith("engine_up{") and float(value):
                seen.append(Sight(name.split('"')[1], asked, time.time()))
        await asyncio.sleep(0.05)


def _losses(said: str) -> list[Loss]:
    """All of them, from a server's log."""
    lines = [json.loads(line) for line in said.splitlines() if line[:1] + line[-1:] == "{}"]
    told = [(line["timestamp"], TOLD.fullmatch(line["event"])) for line in lines]
    return [
        Loss(datetime.fromisoformat(when).timestamp(), found[1], float(found[2]))
        for when, found in told
        if found
    ]


def _replaced(losses: Sequence[Loss], seen: Sequence[Sight]) -> dict[Loss, float]:
    """The seconds until a worker's place was taken, at most: what is lost again was there."""
    waits = {}
    for loss in losses:
        again = [one.at for one in losses if one.worker == loss.worker and one.at > loss.at]
        again += [one.before for one in seen if one.worker == loss.worker and one.after > loss.at]
        if again:
            waits[loss] = min(again) - loss.at
    return waits


async def _all_replaced(server: Any, seen: Sequence[Sight]) -> dict[Loss, float]:
    """The same, once each of those that are lost here has its replacement."""
    end = time.monotonic() + PATIENCE
    while len(waits := _replaced(losses := _losses(server.said), seen)) < LOST:
        assert time.monotonic() < end, f"{len(waits)} of {LOST} replaced: {losses}"
        await asyncio.sleep(0.1)
    return waits


def _in_words(waits: Sequence[float]) -> str:
    longest, middle = (f"{seconds:.1f} s" for seconds in (max(waits), median(waits)))
    return f"{len(waits)} within {longest}, half of them within {middle}"


def test_a_worker_may_die_in_every_way(sqlite_storm: Any) -> None:
    storm, sights = sqlite_storm, []

    async def story() -> tuple[Any, dict[str, str], dict[Loss, float]]:
        state = storm.tmp_path / "state"
        state.mkdir()
        server = storm.server(
            LINOCUT_WORKER=f"fake --step-seconds=0.01 --state-dir={state}",
            LINOCUT_MAX_ATTEMPTS=str(ATTEMPTS), LINOCUT_HANG_SECONDS="3",
        )  # fmt: skip
        await server.start()
        prompts = [*POISON, "[crash-once]", "[oom]", "[refuse]", "[refuse-output]"]
        prompts += [f"an ordinary one {number}" for number in range(20)]
        storm.chance.shuffle(prompts)
        async with connected(server.url, storm.history) as client:
            watch = asyncio.create_task(_watch(client, sights))
            made = await asyncio.gather(*(client.create(wish(prompt)) for prompt in prompts))
            for each in made:
                await client.ended(each.uuid)
            waits = await _all_replaced(server, sights)
            assert watch.cancel(), watch
        world = await storm.judged()
        assert await server.stop() == 0
        named = {each.uuid: prompt for each, prompt in zip(made, prompts, strict=True)}
        return world, named, waits

    world, prompts, waits = storm.run(story)
    assert len(waits) == LOST
    found = {prompt: world.records[uuid] for uuid, prompt in prompts.items()}
    for prompt, record in found.items():
        name = prompt if prompt.startswith("[") else ""
        seen = (record.state, record.attempt, (record.error or {}).get("code"))
        assert seen == {
            "": ("SUCCESS", 1, None),
            "[crash-once]": ("SUCCESS", 2, None),
            "[oom]": ("FAILURE", 1, "does_not_fit"),
            "[refuse]": ("FAILURE", 1, "content_moderated"),
            "[refuse-output]": ("FAILURE", 1, "content_moderated"),
        }.get(name, ("FAILURE", ATTEMPTS, "worker_failed")), prompt
    alone = [wait for loss, wait in waits.items() if loss.pause == FIRST_PAUSE]
    more = [wait for loss, wait in waits.items() if loss.pause > FIRST_PAUSE]
    storm.figure("P12", f"{len(POISON)} poisonous requests fail after {ATTEMPTS} runs each, one "
                        "that crashes once is drawn, the 20 beside them are drawn; each of "
                        f"{LOST} lost workers was replaced: first ones of a row {_in_words(alone)}"
                        "; later ones, whose pauses grow with the row, "
                        f"{_in_words(more)}")  # fmt: skip
