"""P12: a worker may crash, hang or run out of memory; the others' pictures do not notice."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Any

from storm_client import Client, connected, wish

POISON = ("[crash]", "[killed]", "[exit]", "[hang]")
ATTEMPTS = 3


async def _watch(client: Client, waits: list[float]) -> None:
    """Note how many seconds pass from each loss of a worker until there is another."""
    able: set[str] = set()
    since: dict[str, float] = {}
    while True:
        page = (await client.http.get("/metrics")).text
        for line in page.splitlines():
            name, _, value = line.rpartition(" ")
            if name.startswith("engine_up{") and float(value):
                able.add(name)
                waits += [time.monotonic() - since.pop(name)] if name in since else []
            elif name in able:
                since.setdefault(name, time.monotonic())
        await asyncio.sleep(0.05)


def test_a_worker_may_die_in_every_way(sqlite_storm: Any) -> None:
    storm, waits = sqlite_storm, []

    async def story() -> tuple[Any, dict[str, str]]:
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
            watch = asyncio.create_task(_watch(client, waits))
            made = await asyncio.gather(*(client.create(wish(prompt)) for prompt in prompts))
            for each in made:
                await client.ended(each.uuid)
            await server.ready()
            assert watch.cancel(), watch
        world = await storm.judged()
        assert await server.stop() == 0
        return world, {each.uuid: prompt for each, prompt in zip(made, prompts, strict=True)}

    world, prompts = storm.run(story)
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
    storm.figure("P12", f"{len(POISON)} poisonous requests fail after {ATTEMPTS} runs each, one "
                        "that crashes once is drawn, the 20 beside them are drawn; "
                        f"{len(waits)} lost workers were replaced within {max(waits):.1f} s, half "
                        f"of them within {median(waits):.1f} s, with the pauses that grow with "
                        "losses in a row")  # fmt: skip
