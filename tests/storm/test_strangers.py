"""P18, P23: keys that are guessed, and webhooks to receivers that fail."""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
import time
from collections import defaultdict
from contextlib import closing
from typing import Any

import httpx2
from standardwebhooks.webhooks import Webhook
from storm_client import History, connected, wish
from storm_server import Server, free_port

from linocut.jobs.store import Store
from linocut.jobs.terms import ApiKey
from linocut.server.keys import CHECK_LENGTH, _check, digest, new_key
from linocut.server.secrets import open_secrets


def _guess(key: str, number: int) -> str:
    """Nobody's key; the right one with another end; the right id with another whole secret."""
    other = new_key().text
    if number % 3 == 0:
        return other
    if number % 3 == 1:
        return key[:-8] + secrets.token_hex(4)
    return _with_secret_of(key, other)


def _with_secret_of(key: str, other: str) -> str:
    """A well-formed key with the id of one and the secret of another."""
    body = key[:14] + other[14:-CHECK_LENGTH]
    return body + _check(body)


def _elsewhere(number: int) -> str:
    """An address of its own for each: the flood guard would hide the comparison."""
    return f"198.51.{number // 250}.{number % 250}"


def test_keys_are_not_guessed_and_leak_nowhere(sqlite_storm: Any) -> None:
    storm, most = sqlite_storm, sqlite_storm.sizes.guesses

    async def story() -> None:
        server = storm.server(LINOCUT_AUTH="true", LINOCUT_FORWARDED_ALLOW_IPS="127.0.0.1")
        await server.start()
        key = (server.folder / "admin.key").read_text(encoding="ascii").strip()
        secret = key[-20:]
        guesses = [_guess(key, number) for number in range(most)]
        async with connected(server.url, storm.history, most=20) as client:
            own = await client.http.get("/api/records", headers={"API-KEY": key})
            assert own.status_code == 200
            assert key not in own.text

            async def tried(number: int, guess: str) -> None:
                headers = {"API-KEY": guess, "X-Forwarded-For": _elsewhere(number)}
                answer = await client.http.get("/api/records", headers=headers)
                assert answer.status_code == 401, answer.text
                assert guess not in answer.text

            await asyncio.gather(*(tried(i, guess) for i, guess in enumerate(guesses)))
        assert await server.stop() == 0
        assert secret not in server.said
        with closing(sqlite3.connect(server.folder / "linocut.db")) as database:
            assert secret not in "\n".join(database.iterdump())

    storm.run(story)
    storm.figure("P18", f"{most:,} wrong keys from as many addresses: 0 accepted; 0 traces of the "
                        "right one in answers, log and database")  # fmt: skip


async def _exchanged(server: Server, old: str) -> str:
    """A key in place of the old one, which is revoked."""
    key, store = new_key(), await Store.open(server.database)
    kept = digest(key, open_secrets(server.folder).pepper)
    try:
        await store.add_key(
            ApiKey(id=key.id, tenant="ann", name="ann", digest=kept, scopes=("read",))
        )
        assert await store.revoke_key(old[5:13])
    finally:
        await store.close()
    return key.text


def _shown(answer: httpx2.Response) -> str:
    """All of an answer but the name of its request and the time of day."""
    headers = {n: v for n, v in answer.headers.items() if n not in {"date", "x-request-id"}}
    body = {name: value for name, value in answer.json().items() if name != "request_id"}
    return json.dumps([answer.status_code, headers, body], sort_keys=True)


def _logged(said: str) -> dict[str, str]:
    """What the log says of each request, but for the time of day and the seconds it took."""
    found: dict[str, str] = defaultdict(str)
    for line in said.splitlines():
        if line.startswith("{") and "request_id" in line:
            told = json.loads(line)
            kept = {n: v for n, v in told.items() if n not in {"timestamp", "seconds"}}
            found[kept.pop("request_id")] += json.dumps(kept, sort_keys=True)
    return found


def test_unknown_wrong_and_revoked_keys_are_refused_alike(sqlite_storm: Any) -> None:
    storm, most = sqlite_storm, sqlite_storm.sizes.refusals
    kinds = ["unknown", "wrong", "revoked"] * most
    storm.chance.shuffle(kinds)
    seen: dict[str, set[str]] = defaultdict(set)

    async def story() -> None:
        server = storm.server(LINOCUT_AUTH="true", LINOCUT_FORWARDED_ALLOW_IPS="127.0.0.1")
        await server.start()
        key = (server.folder / "admin.key").read_text(encoding="ascii").strip()
        turns = enumerate(kinds)
        async with connected(server.url, storm.history, most=20) as client:
            own = await client.http.get("/api/records", headers={"API-KEY": key})
            assert own.status_code == 200
            there = await _exchanged(server, key)

            async def try_on() -> None:
                for number, kind in turns:
                    other = new_key().text
                    sent = {"unknown": other, "wrong": _with_secret_of(there, other)}
                    headers = {
                        "API-KEY": sent.get(kind, key),
                        "X-Forwarded-For": _elsewhere(number),
                        "X-Request-Id": f"{number:05}",
                    }
                    answer = await client.http.get("/api/records", headers=headers)
                    assert answer.status_code == 401, answer.text
                    seen[kind].add(_shown(answer))

            await asyncio.gather(*(try_on() for _ in range(20)))
        assert await server.stop() == 0
        lines = _logged(server.said)
        for number, kind in enumerate(kinds):
            seen[kind].add(lines[f"{number:05}"])

    storm.run(story)
    answer_and_line = seen["unknown"]
    assert len(answer_and_line) == 2
    assert "" not in answer_and_line
    assert seen["wrong"] == seen["revoked"] == answer_and_line
    storm.figure("P18", f"{most:,} unknown, {most:,} wrong and {most:,} revoked keys: one and the "
                        "same answer and line of log", under="refused keys")  # fmt: skip


class Receiver:
    """Answers each path with its script of statuses; None says nothing at all."""

    def __init__(self, scripts: dict[str, list[int | None]]) -> None:
        self.scripts, self.got = scripts, defaultdict(list)  # type: ignore[var-annotated]
        self.port = free_port()

    async def __call__(self, reader: Any, writer: Any) -> None:
        """One connection, one delivery."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1]
        pairs = [line.partition(": ") for line in head.splitlines()[1:] if line]
        headers = {name.lower(): value for name, _, value in pairs}
        body = await reader.readexactly(int(headers["content-length"]))
        self.got[path].append((headers, body))
        script = self.scripts[path]
        status = script.pop(0) if len(script) > 1 else script[0]
        if status is None:
            await asyncio.sleep(25)
        else:
            more = "Location: http://127.0.0.1:9/\r\n" if status == 302 else ""
            writer.write(
                f"HTTP/1.1 {status} X\r\n{more}Content-Length: 0\r\nConnection: close\r\n\r\n"
                .encode()
            )  # fmt: skip
        writer.close()


def test_webhooks_arrive_signed_until_they_are_taken_or_refused(sqlite_storm: Any) -> None:
    storm = sqlite_storm
    receiver = Receiver({
        "/well": [204], "/once": [500, 204], "/gone": [410], "/slow": [None, 204],
        "/away": [302, 204],
    })  # fmt: skip

    async def story() -> str:
        listening = await asyncio.start_server(receiver, "127.0.0.1", receiver.port)
        server = storm.server(LINOCUT_FETCH_ALLOW=f"127.0.0.1:{receiver.port}")
        await server.start()
        async with listening, connected(server.url, storm.history) as client:
            for path in receiver.scripts:
                hook = f"http://127.0.0.1:{receiver.port}{path}"
                made = await client.create(
                    wish(path, webhook=hook, webhook_events_filter=["completed"])
                )
                assert made.status == 200, made.body
            wanted = {"/well": 1, "/once": 2, "/gone": 1, "/slow": 2, "/away": 2}
            end = time.monotonic() + 120
            while any(len(receiver.got[path]) < n for path, n in wanted.items()):
                assert time.monotonic() < end, receiver.got
                await asyncio.sleep(0.2)
            assert len(receiver.got["/gone"]) == 1
        await storm.judged(History())
        assert await server.stop() == 0
        return str(json.loads((server.folder / "secrets.json").read_text())["webhook"])

    secret = storm.run(story)
    for deliveries in receiver.got.values():
        assert len({headers["webhook-id"] for headers, _ in deliveries}) == 1
        for headers, body in deliveries:
            said = Webhook(secret).verify(body, headers)
            assert said["data"]["aiRecord"]["status"] == "SUCCESS"
    storm.figure("P23", "receivers that said 500, nothing, or sent elsewhere were asked again "
                        "with the same signed webhook-id; one that said 410 was not")  # fmt: skip
