"""The secret that receivers of webhooks check signatures with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from standardwebhooks.webhooks import Webhook

Run = Callable[..., Any]


def test_the_secret_is_the_only_thing_on_standard_output(linocut: Run) -> None:
    linocut("keys", "add", "a")  # makes the data folder, as a server does
    done = linocut("webhooks", "secret")
    assert (done.code, len(done.lines)) == (0, 1)
    assert linocut("webhooks", "secret").lines == done.lines
    webhook, now = Webhook(done.lines[0]), datetime.now(UTC)
    headers = {
        "webhook-id": "1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": webhook.sign("1", now, "{}"),
    }
    assert webhook.verify("{}", headers) == {}


def test_no_verb_is_help(linocut: Run) -> None:
    assert b"secret" in linocut("webhooks").out
