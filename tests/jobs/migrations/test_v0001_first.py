"""The first tables, as they were: what later versions migrate from. Their rows stay readable."""

from __future__ import annotations

import asyncio
import json

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from linocut.jobs.database import address
from linocut.jobs.migrate import migrate
from linocut.jobs.record import State
from linocut.jobs.store import Store

ROW = {
    "id": "019ab000-0000-7000-8000-000000000001", "tenant": "ann", "key_id": "k",
    "feature": "IMAGE_GENERATOR", "model": "black-forest-labs/flux-2-dev", "state": "SUCCESS",
    "body": json.dumps({"promptObject": {"prompt": "Ä"}}),
    "plan": json.dumps({
        "request": {"prompt": "Ä", "width": 64, "height": 64, "num_inference_steps": 4,
                    "guidance": 3.0, "seed": 1, "prompt_strength": 1.0, "mode": "exact",
                    "preview": False},
        "reference_keys": ["a"], "go_fast": False, "output_format": "png", "output_quality": 80,
        "check_safety": True, "warnings": [],
    }),
    "prompt": "ä", "webhook": "", "webhook_events": "[]", "estimate": 2000, "day": 20000,
    "worker": "lane", "attempt": 1, "fence": 1, "last_seq": 2, "starred": False,
    "run_at": 1728000000000, "lease_until": None, "created_at": 1728000000000,
    "started_at": 1728000000100, "finished_at": 1728000001100, "paid": 1000,
    "result_keys": '["images/a.png"]', "result": '{"seed":1}', "error": None,
}  # fmt: skip


def test_a_record_of_the_first_version_can_still_be_read(empty_url: str) -> None:
    place = address(empty_url)
    migrate(place, to="0001")
    engine = create_engine(place, poolclass=NullPool)
    with engine.begin() as connection:
        places = ", ".join(f":{name}" for name in ROW)  # in the order of the first version
        connection.execute(text("INSERT INTO records VALUES (" + places + ")"), ROW)  # noqa: S608

    async def story() -> None:
        store = await Store.open(empty_url)
        (record,) = await store.records("ann", limit=5, search="Ä")
        assert (record.id, record.state) == (ROW["id"], State.SUCCESS)
        assert (record.seconds, record.estimate) == (1.0, 2.0)
        assert record.started_at == 1728000000.1
        assert record.order.reference_keys == ("a",)
        assert (record.order.request.width, record.order.output_format) == (64, "png")
        assert record.result_keys == ("images/a.png",)
        await store.close()

    asyncio.run(story())
