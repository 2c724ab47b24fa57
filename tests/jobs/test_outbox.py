"""Webhooks on their way, to receivers on loopback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import update
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from linocut.jobs.outbox import RETRY_SECONDS
from linocut.jobs.schema import deliveries
from linocut.jobs.terms import Delivery

Play = Callable[[Callable[[Any], Awaitable[None]]], None]


def test_a_webhook_arrives_and_its_signature_holds(play: Play, mail: Any) -> None:
    async def story(post: Any) -> None:
        async with mail.receiving(200) as receiver:
            id = await post.owe(receiver.url)
            assert await post.send(post.outbox(receiver)) == 1
            ((headers, body),) = receiver.sent
            said = Webhook(mail.SECRET).verify(body, headers)
            assert said == {"type": "record.canceled", "id": id, "word": "Grüße"}
            assert headers["content-type"] == "application/json"
            with pytest.raises(WebhookVerificationError):
                Webhook(mail.SECRET).verify(body + b" ", headers)
            assert (await post.row()).state == "SENT"
            await post.make_due()
            assert await post.send(post.outbox(receiver)) == 0

    play(story)


def test_a_receiver_in_trouble_hears_it_again_under_the_same_id(play: Play, mail: Any) -> None:
    async def story(post: Any) -> None:
        async with mail.receiving(500, 503, 204) as receiver:
            await post.owe(receiver.url)
            outbox = post.outbox(receiver)
            for reason in ("answered 500", "answered 503"):
                assert await post.send(outbox) == 1
                row = await post.row()
                assert (row.state, row.last_error) == ("DUE", reason)
                assert await post.send(outbox) == 0  # not before the pause is over
                await post.make_due()
            assert await post.send(outbox) == 1
            assert (await post.row()).state == "SENT"
            assert {headers["webhook-id"] for headers, _ in receiver.sent} == {row.id}
            assert len(receiver.sent) == 3
            for headers, body in receiver.sent:
                Webhook(mail.SECRET).verify(body, headers)

    play(story)


def test_the_pauses_grow_until_it_is_given_up(play: Play, mail: Any) -> None:
    async def story(post: Any) -> None:
        async with mail.receiving(500) as receiver:
            await post.owe(receiver.url)
            outbox, pauses = post.outbox(receiver), []
            retry = post.store.retry_delivery

            async def noted(id: str, delay: float, error: str, *, give_up: bool) -> None:
                pauses.append((delay, give_up))
                await retry(id, delay, error, give_up=give_up)

            post.store.retry_delivery = noted  # type: ignore[method-assign]
            while await post.send(outbox):
                await post.make_due()
            assert pauses == [*((pause, False) for pause in RETRY_SECONDS), (0, True)]
            assert list(RETRY_SECONDS) == sorted(set(RETRY_SECONDS))
            assert (await post.row()).state == "GIVEN_UP"

    play(story)


def test_the_pause_is_kept_by_the_database(play: Play, mail: Any) -> None:
    async def story(post: Any) -> None:
        async with mail.receiving(500) as receiver:
            await post.owe(receiver.url)
            created = (await post.row()).created_at
            await post.jobs.change(post.store, update(deliveries).values(attempt=8))
            await post.send(post.outbox(receiver))
            assert (await post.row()).run_at >= created + RETRY_SECONDS[8] * 1000

    play(story)


def test_a_receiver_that_is_gone_for_good_hears_no_more(play: Play, mail: Any) -> None:
    async def story(post: Any) -> None:
        async with mail.receiving(410) as receiver:
            await post.owe(receiver.url)
            await post.send(post.outbox(receiver))
            row = await post.row()
            assert (row.state, row.last_error) == ("GIVEN_UP", "answered 410")

    play(story)


def test_silence_is_tried_again_later(play: Play, mail: Any) -> None:
    async def story(post: Any) -> None:
        async with mail.receiving(mail.SILENT) as receiver:
            await post.owe(receiver.url)
            await post.send(post.outbox(receiver, seconds=0.3))
            row = await post.row()
            assert (row.state, row.last_error) == ("DUE", "no answer within 0.3 seconds")
            receiver.answers = (200,)
            await post.make_due()
            await post.send(post.outbox(receiver))
            assert (await post.row()).state == "SENT"

    play(story)


def test_who_does_not_listen_is_tried_again_later(play: Play, mail: Any) -> None:
    async def story(post: Any) -> None:
        async with mail.receiving() as receiver:
            pass
        await post.owe(receiver.url)
        await post.send(post.outbox(receiver))
        row = await post.row()
        assert (row.state, "Connect" in row.last_error) == ("DUE", True)

    play(story)


def test_what_a_receiver_says_besides_its_status_is_not_read(play: Play, mail: Any) -> None:
    async def story(post: Any) -> None:
        async with mail.receiving(mail.ENDLESS) as receiver:
            await post.owe(receiver.url)
            await post.send(post.outbox(receiver))
            assert (await post.row()).state == "SENT"

    play(story)


def test_a_private_address_gets_no_connection(play: Play, mail: Any) -> None:
    async def story(post: Any) -> None:
        async with mail.receiving() as receiver:
            for host in ("127.0.0.1", "localhost", "[::1]", "0x7f.1", "user@127.0.0.1"):
                await post.owe(f"http://{host}:{receiver.port}/hook")
            await post.send(post.outbox())
            assert receiver.connections == 0
            rows = await post.rows()
            assert {row.state for row in rows} == {"DUE"}
            assert all(row.last_error.startswith("AddressRefused") for row in rows)

    play(story)


def test_a_redirect_is_not_followed(play: Play, mail: Any) -> None:
    async def story(post: Any) -> None:
        async with (
            mail.receiving() as private,
            mail.receiving(302, location=private.url) as receiver,
        ):
            await post.owe(receiver.url)
            await post.send(post.outbox(receiver))
            assert (len(receiver.sent), private.connections) == (1, 0)
            assert (await post.row()).last_error == "answered 302"

    play(story)


@pytest.mark.parametrize("url", ["http://[::1", "http://", "ftp://a.test/", "http://\ud800.test"])
def test_an_address_that_is_none_harms_nobody_else(play: Play, mail: Any, url: str) -> None:
    async def story(post: Any) -> None:
        async with mail.receiving() as receiver:
            await post.owe(receiver.url)
            outbox = post.outbox(receiver)
            (good,) = await post.store.due_deliveries(1)
            await post.make_due()
            bad = Delivery(
                id="msg", record_id="r", tenant="ann", event="canceled", url=url, attempt=1
            )
            given_up: list[str] = []

            async def both(*_: object) -> list[Delivery]:
                return [bad, good]

            async def body(_: Delivery) -> str:
                return "{}"

            async def noted(id: str, *_: object, **__: object) -> None:
                given_up.append(id)

            post.store.due_deliveries = both  # type: ignore[method-assign]
            post.store.retry_delivery = noted  # type: ignore[method-assign]
            outbox.body = body
            assert await post.send(outbox) == 2
            assert (given_up, len(receiver.sent)) == (["msg"], 1)

    play(story)


def test_a_record_that_was_deleted_is_not_spoken_of(play: Play, mail: Any) -> None:
    async def story(post: Any) -> None:
        async with mail.receiving() as receiver:
            id = await post.owe(receiver.url)
            outbox = post.outbox(receiver)
            await post.store.delete("ann", id)
            await post.send(outbox)
            assert receiver.connections == 0
            await post.make_due()
            assert await post.send(outbox) == 0

    play(story)
