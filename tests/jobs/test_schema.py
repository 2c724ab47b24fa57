"""What the tables themselves refuse, whoever writes; on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert, update

from linocut.errors import Conflict
from linocut.jobs.schema import deliveries, events, metadata, records
from linocut.jobs.store import Store


def test_every_text_is_of_the_kinds_that_both_databases_take() -> None:
    kinds = {type(column.type).__name__ for table in metadata.tables.values() for column in table.c}
    assert kinds == {"Words", "Json", "Integer", "BigInteger", "Boolean", "Double"}


def test_the_tables_refuse_what_must_never_be(run: Any, jobs: Any) -> None:
    event = {"kind": "progress", "data": {}, "at": 0}

    async def story(store: Store) -> None:
        id = (await store.submit(jobs.submission(), jobs.wide)).record.id
        refused = [
            update(records).values(state="DONE"),
            insert(events).values(record_id="nothing", seq=1, **event),
            insert(events).values(record_id=id, seq=1, **event),
            insert(deliveries).values(
                id="d", record_id=id, tenant="ann", event="x", url="", state="LOST",
                attempt=0, run_at=0, created_at=0, last_error="",
            ),
        ]  # fmt: skip
        for statement in refused:
            with pytest.raises(Conflict):
                await jobs.change(store, statement)
        await jobs.change(store, insert(events).values(record_id=id, seq=2, **event))

    run(story)
