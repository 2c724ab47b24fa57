"""The outbox that sends for ever: nobody waits for another, and it stops when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from linocut.jobs.outbox import TAKEN
from linocut.jobs.terms import Delivery

Play = Callable[[Callable[[Any], Awaitable[None]]], None]


def test_a_receiver_that_hangs_keeps_nobody_else_waiting(play: Play, mail: Any) -> None:
    async def story(post: Any) -> None:
        async with mail.receiving(mail.SILENT) as silent, mail.receiving() as quick:
            for url in [silent.url] * 2 * TAKEN + [quick.url]:
                await post.owe(url)
            running = asyncio.create_task(post.outbox(silent, quick, seconds=100).run())

            async def has_arrived() -> bool:
                return bool(quick.sent)

            await post.until(has_arrived)
            assert silent.connections <= TAKEN
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    play(story)


def test_an_outbox_that_is_told_to_stop_as_a_delivery_ends_stops(play: Play, mail: Any) -> None:
    async def story(post: Any) -> None:
        async def body(delivery: Delivery) -> None:
            delivering = asyncio.current_task()
            assert delivering is not None
            # Added after the outbox's own, so that it runs when there is room, and before anything
            # that waits for room has woken.
            delivering.add_done_callback(lambda _: running.cancel())

        async with mail.receiving() as receiver:
            await post.owe(receiver.url)
            outbox = post.outbox(receiver, poll=1000)
            outbox.body = body
            running = asyncio.create_task(outbox.run())
            async with asyncio.timeout(60):
                await asyncio.wait([running])
            assert running.cancelled()
            assert receiver.connections == 0

    play(story)


def test_a_receiver_with_much_to_hear_hears_all_of_it(play: Play, mail: Any) -> None:
    async def story(post: Any) -> None:
        async with mail.receiving() as receiver:
            for _ in range(3 * TAKEN):
                await post.owe(receiver.url)
            running = asyncio.create_task(post.outbox(receiver, poll=1000).run())

            async def is_sent() -> bool:
                return {row.state for row in await post.rows()} == {"SENT"}

            await post.until(is_sent)
            assert len({headers["webhook-id"] for headers, _ in receiver.sent}) == 3 * TAKEN
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    play(story)


def test_the_outbox_sends_by_itself_and_survives_its_database(
    play: Play, mail: Any, jobs: Any
) -> None:
    async def story(post: Any) -> None:
        async with mail.receiving() as receiver:
            await post.owe(receiver.url)
            due = jobs.fault(post.store, "due_deliveries", 2)
            done = jobs.fault(post.store, "delivered", 1)
            running = asyncio.create_task(post.outbox(receiver).run())

            async def has_forgotten() -> bool:
                return done.calls == 1

            async def is_sent() -> bool:
                return bool((await post.row()).state == "SENT")

            await post.until(has_forgotten)
            assert due.left == 0
            await post.make_due()  # nobody could note that it arrived: it is sent again
            await post.until(is_sent)
            ids = {headers["webhook-id"] for headers, _ in receiver.sent}
            assert (len(ids), len(receiver.sent), running.done()) == (1, 2, False)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    play(story)
