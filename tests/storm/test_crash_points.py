"""P3: wherever the server dies, a record that is SUCCESS has its picture."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import storm_crash
from storm_client import connected, wish

SCRIPT = str(Path(storm_crash.__file__))


def test_wherever_the_server_dies_a_success_has_its_picture(storm: Any) -> None:
    async def story() -> int:
        server = storm.server(script=SCRIPT, LINOCUT_WORKERS="1")
        asked = []
        async with connected(server.url, storm.history) as client:
            for turn in range(storm.sizes.crashes):
                for point in storm_crash.POINTS:
                    server.begin(STORM_CRASH=point)
                    name = f"{point} {turn}"
                    asked.append(asyncio.create_task(
                        client.create(wish(name), key=name.replace(" ", "-"))
                    ))  # fmt: skip
                    assert await server.gone() == -9
            await server.start()
            made = await asyncio.gather(*asked)
            world = await storm.judged()
            assert world.states() == {"SUCCESS": len(asked)}
            for each in made:
                record = (await client.ended(each.uuid)).body["aiRecord"]
                link = await client.http.get(record["temporaryUrl"])
                assert link.status_code == 200
                (file,) = world.files[each.uuid]
                assert hashlib.sha256(link.content).hexdigest() == file.sha256
        assert await server.stop() == 0
        return len(asked)

    whole = storm.run(story)
    storm.figure("P3", f"{len(storm_crash.POINTS)} points, {whole} crashes: {whole} of {whole} "
                       "links answer 200 with the record's SHA-256")  # fmt: skip
