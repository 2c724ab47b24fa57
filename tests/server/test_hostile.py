"""No input makes a server error: a corpus by hand, and 20,000 valid requests with broken bytes.

Everything goes over raw sockets to a real server process on SQLite, and all of the corpus and some
of the rest to one on PostgreSQL. Whatever is answered is read as HTTP; no status may be 5xx, every
4xx must be a whole problem, and a good request must be answered after it.
"""

from __future__ import annotations

import io
import json
import random
import socket
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import hostile_bodies as made
import hostile_lines as lines
import pytest

from linocut.server.problems import ALL_CODES, MEDIA_TYPE
from linocut.server.schemas import Problem

PATIENCE: Final = 30.0
SETTINGS: Final = {
    "LINOCUT_FETCH": "false",  # a mutation may well make an address that is somebody's
    "LINOCUT_KEY_RATE": "0",
    "LINOCUT_KEY_SHARE": "0",
    "LINOCUT_QUEUE_LIMIT": "200",
    "LINOCUT_SYNC_WAIT": "0.2",
    "LINOCUT_SSE_HEARTBEAT": "1",
    "LINOCUT_HEADER_SECONDS": "1",
    "LINOCUT_STALL_SECONDS": "1",
    "LINOCUT_DRAIN_SECONDS": "0",
    "LINOCUT_LOG_LEVEL": "warning",
    "LINOCUT_WORKER": "fake --step-seconds=0.001",
}


@dataclass(frozen=True, slots=True)
class Flood:
    """How many requests have broken bodies, how many are broken anywhere, and their chance."""

    bodies: int
    wholes: int
    seed: int

    @property
    def size(self) -> int:
        """All of them."""
        return self.bodies + self.wholes


FLOODS: Final = {
    "sqlite": Flood(bodies=14_000, wholes=6_400, seed=20_260_327),
    "postgresql": Flood(bodies=2_400, wholes=1_280, seed=20_261_129),
}
OF_BODIES: Final = 8  # clients
OF_WHOLES: Final = 64  # and these wait for bytes that never come, many of them


@dataclass(frozen=True, slots=True)
class Answer:
    """What was read of one answer; `is_whole`: all that it promised came."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool


def read_answer(stream: io.BufferedReader, *, bodiless: bool = False) -> Answer | None:
    """The next answer on the line; None where no more comes."""
    line = stream.readline()
    if not line:
        return None
    assert line.startswith(b"HTTP/1.1 "), line
    status, headers = int(line[9:12]), {}
    while (field := stream.readline()) not in {b"\r\n", b""}:
        name, _, value = field.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    if bodiless or status < 200 or status in {204, 304}:
        return Answer(status, headers, b"", is_whole=True)
    if headers.get("transfer-encoding") == "chunked":
        return Answer(status, headers, *_chunks(stream))
    size = int(headers["content-length"])
    body = stream.read(size)
    return Answer(status, headers, body, len(body) == size)


def _chunks(stream: io.BufferedReader) -> tuple[bytes, bool]:
    body = b""
    while line := stream.readline():
        size = int(line, 16)
        body += stream.read(size)
        stream.readline()
        if size == 0:
            return body, True
    return body, False


class Line:
    """One connection, made anew when the server has closed it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.socket: socket.socket | None = None
        self.stream: io.BufferedReader | None = None

    def send(self, raw: bytes) -> io.BufferedReader:
        """Open it if need be, and say so much of this as the server takes."""
        if self.socket is None:
            self.socket = socket.create_connection(self.address, timeout=PATIENCE)
            self.stream = self.socket.makefile("rb")
        assert self.stream is not None
        with suppress(BrokenPipeError, ConnectionResetError):  # it has answered already
            self.socket.sendall(raw)
        return self.stream

    def close(self) -> None:
        """Hang up."""
        if self.stream is not None:
            self.stream.close()
        if self.socket is not None:
            self.socket.close()
        self.socket = self.stream = None

    def ask(self, raw: bytes) -> Answer:
        """The answer on a line that stays open for the next."""
        for _ in range(3):
            try:
                answer = read_answer(self.send(raw))
            except ConnectionResetError:
                answer = None
            if answer is not None:
                if answer.headers.get("connection") == "close" or not answer.is_whole:
                    self.close()
                return answer
            self.close()  # the server had closed the line while it was idle
        pytest.fail("the server closes without an answer")

    def pour(self, raw: bytes) -> list[Answer]:
        """All answers until the server closes the line."""
        found, head = [], raw[:5].upper() == b"HEAD "
        with suppress(ConnectionResetError, TimeoutError):  # it does not read what it refuses
            stream = self.send(raw)
            while (answer := read_answer(stream, bodiless=head)) is not None:
                found.append(answer)
        self.close()
        return found


def check(answer: Answer) -> None:
    """Nothing failed in the server, and what is refused is refused as the page says."""
    assert answer.status < 500, answer
    if answer.status < 400 or not answer.is_whole or not answer.body:
        return
    assert answer.headers["content-type"] == MEDIA_TYPE, answer
    told = Problem.model_validate_json(answer.body)
    assert told.status == answer.status
    assert told.code in ALL_CODES
    assert told.errorCode == told.code.upper()
    assert told.message
    assert told.request_id == answer.headers["x-request-id"]


SPICES: Final = (
    b"\0", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xf4\x90\x80\x80", b"\r\n",
    b"\n", b"\r", b"\t", b" ", b'"', b"\\", b"\\u0000", b"\\ud800", b"\\udfff", b"{", b"}", b"[",
    b"]", b",", b":", b"NaN", b"-Infinity", b"1e999", b"-0", b"9" * 400, b"0x10", b"null", b"true",
    b"[[[[[[[[", b'{"a":', b"%00", b"%ff", b"%2e%2e/", b"../", b"&", b"=", b"?", b"#", b";",
    b"Transfer-Encoding: chunked\r\n", b"Content-Length: 3\r\n", b"Expect: 100-continue\r\n",
    b"Content-Encoding: gzip\r\n", b"Upgrade: websocket\r\n", b"\xe2\x80\xae", b"\xf0\x9f\x8d\x8e",
)  # fmt: skip


def broken(chance: random.Random, raw: bytes) -> bytes:
    """The bytes with one to four accidents in them."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(raw) + 1)
        end = min(len(raw), at + chance.choice((1, 1, 2, 8, 64)))
        match chance.randrange(7):
            case 0 if at < len(raw):
                raw = raw[:at] + bytes([raw[at] ^ 1 << chance.randrange(8)]) + raw[at + 1 :]
            case 1 if at < len(raw):
                raw = raw[:at] + chance.randbytes(1) + raw[at + 1 :]
            case 2:
                raw = raw[:at] + raw[end:]
            case 3:
                raw = raw[:end] + raw[at:]
            case 4:
                raw = raw[:at] + chance.choice(SPICES) + raw[end:]
            case 5:
                raw = raw[:at] + chance.choice(SPICES) + raw[at:]
            case _:
                raw = raw[:at] if chance.random() < 0.3 else raw + raw[at:end]
    return raw


def with_broken_bodies(
    address: tuple[str, int],
    seeds: Sequence[tuple[bytes, bytes]],
    chance: random.Random,
    count: int,
) -> Counter[int]:
    """Statuses of requests whose bodies are broken and whose heads are right, on a kept line."""
    line, seen = Line(address), Counter[int]()
    for _ in range(count):
        head, body = chance.choice([pair for pair in seeds if pair[1]])
        body = broken(chance, body)
        told = head.partition(b"Content-Length: ")
        head = told[0] + told[1] + str(len(body)).encode() + told[2][told[2].index(b"\r\n") :]
        answer = line.ask(head + body)
        check(answer)
        seen[answer.status] += 1
    line.close()
    return seen


def with_broken_wholes(
    address: tuple[str, int],
    seeds: Sequence[tuple[bytes, bytes]],
    chance: random.Random,
    count: int,
) -> Counter[int]:
    """Statuses of requests of which any byte may be broken, the body's length included."""
    line, seen = Line(address), Counter[int]()
    for _ in range(count):
        head, body = chance.choice(seeds)
        head = head[:-2] + b"Connection: close\r\n\r\n"
        head = broken(chance, head) if chance.random() < 0.9 else head
        for answer in line.pour(head + (broken(chance, body) if body else b"")):
            check(answer)
            seen[answer.status] += 1
    return seen


@pytest.fixture(scope="module")
def server(lasting_server: Any, database: Any) -> Any:
    """A server with little patience and no limit on its key, on each kind of database."""
    started = lasting_server(name=database.kind, **SETTINGS, **database.settings)
    assert (started.folder / "linocut.db").exists() is (database.kind == "sqlite")
    return started


def is_well(server: Any) -> bool:
    """Whether a good request is taken, and nothing was logged that nobody expected."""
    taken = server.client.post("/api/features", json=made.wish(), timeout=PATIENCE)
    faults = [line for line in server.lines if line.get("level") in {"error", "critical"}]
    return taken.status_code in {200, 429} and not faults


@pytest.mark.parametrize("name", made.BODIES)
def test_a_hostile_body_is_answered_in_words(server: Any, name: str) -> None:
    body, status = made.BODIES[name]
    answer = Line(server.address).ask(
        b"".join(
            made.request(
                "POST", "/api/features", server.key, body, "Connection: close", kind=made.JSON
            )
        )
    )
    check(answer)
    assert answer.status == status, answer.body
    if status == 400:
        assert json.loads(answer.body)["code"] in {
            "invalid_body", "invalid_request", "invalid_picture", "unsupported_model",
        }  # fmt: skip


@pytest.mark.parametrize("name", made.KINDS)
def test_a_body_of_another_type_is_answered_in_words(server: Any, name: str) -> None:
    kind, status = made.KINDS[name]
    raw = b"".join(made.request("POST", "/api/features", server.key, made.GOOD, kind=kind))
    line = Line(server.address)
    answer = line.ask(raw)
    line.close()
    check(answer)
    assert answer.status == status, answer.body


@pytest.mark.parametrize("name", made.FORMS)
def test_a_hostile_form_is_answered_in_words(server: Any, name: str) -> None:
    body, kind, status = made.FORMS[name]
    line = Line(server.address)
    answer = line.ask(b"".join(made.request("POST", "/api/assets", server.key, body, kind=kind)))
    line.close()
    check(answer)
    assert answer.status == status, answer.body


@pytest.mark.parametrize("name", lines.LINES)
def test_a_hostile_head_is_answered_in_words(server: Any, name: str) -> None:
    sent, statuses = lines.LINES[name]
    answers = Line(server.address).pour(sent(server.key))
    for answer in answers:
        check(answer)
    assert {answer.status for answer in answers} <= statuses, answers
    assert answers


def test_what_follows_a_body_is_no_request_of_somebody_else(server: Any) -> None:
    """Where two readers could disagree about a body's end, no second request is smuggled in."""
    second = f"GET /api/records HTTP/1.1\r\nHost: a\r\nAPI-KEY: {server.key}\r\n\r\n".encode()
    for both in (("Content-Length: 4", *lines.IN_PIECES), (*lines.IN_PIECES, "Content-Length: 4")):
        answers = Line(server.address).pour(
            lines.posted(*both, body=b"0\r\n\r\n" + second)(server.key)
        )
        assert [answer.status for answer in answers] == [400]


def test_a_picture_like_a_rope_is_kept_but_not_drawn_from(server: Any) -> None:
    sent = server.client.post("/api/assets", files={"asset": made.tiny_png(20_000, 64)})
    body = made.body_of(imageUrl=sent.json()["fileContent"]["path"])
    answer = server.client.post("/api/features", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_picture")


def test_after_the_corpus_the_server_is_well(server: Any) -> None:
    assert is_well(server)


@pytest.mark.timeout(900)
def test_thousands_of_broken_requests_make_no_server_error(server: Any, database: Any) -> None:
    flood = FLOODS[database.kind]
    drawn = server.client.post("/api/features", json=made.wish())
    seeds = made.valid_requests(server.key, drawn.json()["aiRecord"]["uuid"])
    for head, body in seeds:  # they are valid, or the accidents would befall nothing
        answers = Line(server.address).pour(head[:-2] + b"Connection: close\r\n\r\n" + body)
        assert answers[0].status in {200, 202, 400, 403}, answers
    seen = statuses(server.address, seeds, flood)
    assert not [status for status in seen if status >= 500], seen
    assert {200, 400, 401, 404, 405, 415} <= set(seen), seen
    assert seen[200] > flood.size // 40, seen  # some accidents change nothing that counts
    assert seen.total() > 0.98 * flood.size, seen  # few go without a word
    assert is_well(server)


def statuses(
    address: tuple[str, int], seeds: Sequence[tuple[bytes, bytes]], flood: Flood
) -> Counter[int]:
    """Of all answers to a flood."""
    seen = Counter[int]()
    with ThreadPoolExecutor(OF_BODIES + OF_WHOLES) as crowd:
        runs = [
            crowd.submit(work, address, seeds, random.Random(flood.seed + n), count // clients)  # noqa: S311
            for work, count, clients in (
                (with_broken_bodies, flood.bodies, OF_BODIES),
                (with_broken_wholes, flood.wholes, OF_WHOLES),
            )
            for n in range(clients)
        ]
        for run in runs:
            seen.update(run.result())
    return seen
