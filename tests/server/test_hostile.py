"""No input makes a server error: a corpus by hand, and 20,000 valid requests with broken bytes.

Everything goes over raw sockets to a real server process. Whatever it answers is read as HTTP; no
status may be 5xx, every 4xx must be a whole problem, and a good request must be answered after it.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
import socket
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import pytest

from linocut.server.problems import ALL_CODES, MEDIA_TYPE
from linocut.server.schemas import Problem

SEED: Final = 20_260_327
THREADS: Final = 16
OF_BODIES: Final = 14_000
OF_WHOLES: Final = 6_400
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
        try:
            self.socket.sendall(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has answered already
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
        try:
            stream = self.send(raw)
            while (answer := read_answer(stream, bodiless=head)) is not None:
                found.append(answer)
        except (ConnectionResetError, TimeoutError):
            pass  # it closes on what it did not want to read; or a stream goes on
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


def request(
    method: str, path: str, key: str, body: bytes = b"", *headers: str, kind: str = ""
) -> tuple[bytes, bytes]:
    """A request's head and its body."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"API-KEY: {key}",
        *([f"Content-Type: {kind}", f"Content-Length: {len(body)}"] if kind else []),
        *headers,
        "\r\n",
    ]
    return "\r\n".join(lines).encode("latin-1"), body


def wish(**more: Any) -> dict[str, Any]:
    """A body that is drawn in a moment."""
    return {
        "type": "IMAGE_GENERATOR",
        "model": "black-forest-labs/flux-2-dev",
        "promptObject": {
            "prompt": "a red apple \N{RED APPLE}, \"sliced\"",
            "aspect_ratio": "custom",
            "width": 64,
            "height": 64,
            "num_inference_steps": 1,
            "guidance": 3.5,
            "output_format": "png",
            "seed": 7,
        },
        "async": True,
    } | more


def tiny_png(width: int = 64, height: int = 64) -> bytes:
    """A black picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        size, sum_ = struct.pack(">I", len(data)), struct.pack(">I", zlib.crc32(checked))
        return size + checked + sum_

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = (b"\0" + b"\0" * ((width + 7) // 8)) * height
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def form(data: bytes, *, mark: str = "mark", field: str = "asset", name: str = "a.png") -> bytes:
    """A multipart form with one file."""
    head = (
        f'--{mark}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        "Content-Type: image/png\r\n\r\n"
    )
    return head.encode() + data + f"\r\n--{mark}--\r\n".encode()


JSON: Final = "application/json"
FORM: Final = "multipart/form-data; boundary=mark"


def valid_requests(key: str, uuid: str) -> list[tuple[bytes, bytes]]:
    """One of each kind."""
    plain = json.dumps(wish()).encode()
    spoken = json.dumps(wish(), ensure_ascii=False, indent=1).encode()
    picture = "data:image/png;base64," + base64.b64encode(tiny_png()).decode()
    edit = wish(type="IMAGE_EDITOR")
    edit["promptObject"] |= {"imageUrl": picture, "prompt_strength": "0.5", "go_fast": False}
    edited = json.dumps(edit).encode()
    return [
        request("POST", "/api/features", key, plain, kind=JSON),
        request("POST", "/api/features", key, spoken, "Prefer: respond-async", kind=JSON),
        request("POST", "/api/features", key, plain, f'Idempotency-Key: "{key}"', kind=JSON),
        request("POST", "/api/features", key, edited, "X-Request-Id: abc", kind=JSON),
        request("POST", "/api/assets", key, form(tiny_png()), kind=FORM),
        request("GET", "/api/records?limit=1&search=apple&starred=false&cursor=abc", key),
        request("GET", f"/api/records/{uuid}", key, b"", "Authorization: Bearer x"),
        request("GET", f"/api/records/{uuid}/events?after=0", key, b"", "Last-Event-ID: 1"),
        request("PUT", f"/api/records/{uuid}/star", key),
        request("GET", f"/api/results/{uuid}", key, b"", "Accept: */*"),
        request("GET", "/files/a/b.png?exp=1&kid=1&sig=ab", key, b"", "Range: bytes=0-1"),
        request("GET", "/models?feature=IMAGE_EDITOR", key, b"", "Origin: http://a.example"),
    ]


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
    address: tuple[str, int], seeds: Sequence[tuple[bytes, bytes]], number: int, count: int
) -> Counter[int]:
    """Statuses of requests whose bodies are broken and whose heads are right, on a kept line."""
    chance, line, seen = random.Random(SEED + number), Line(address), Counter[int]()
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
    address: tuple[str, int], seeds: Sequence[tuple[bytes, bytes]], number: int, count: int
) -> Counter[int]:
    """Statuses of requests of which any byte may be broken, the body's length included."""
    chance, line, seen = random.Random(-SEED - number), Line(address), Counter[int]()
    for _ in range(count):
        head, body = chance.choice(seeds)
        head = head[:-2] + b"Connection: close\r\n\r\n"
        head = broken(chance, head) if chance.random() < 0.9 else head
        for answer in line.pour(head + (broken(chance, body) if body else b"")):
            check(answer)
            seen[answer.status] += 1
    return seen


@pytest.fixture(scope="module")
def server(lasting_server: Any) -> Any:
    """A server with little patience and no limit on its key."""
    return lasting_server(**SETTINGS)


def is_well(server: Any) -> bool:
    """Whether a good request is taken, and nothing was logged that nobody expected."""
    taken = server.client.post("/api/features", json=wish(), timeout=PATIENCE)
    faults = [line for line in server.lines if line.get("level") in {"error", "critical"}]
    return taken.status_code in {200, 429} and not faults


def body_of(**prompt: Any) -> bytes:
    """A good body but for these fields of its prompt."""
    good = wish()
    return json.dumps(good | {"promptObject": good["promptObject"] | prompt}).encode()


def swapped(old: str, new: str) -> bytes:
    """A good body in which one piece of text is another; bytes as latin-1."""
    raw = json.dumps(wish())
    assert old in raw
    return raw.replace(old, new).encode("latin-1")


DEEP: Final = 100_000
GOOD: Final = json.dumps(wish()).encode()
BODIES: Final[dict[str, tuple[bytes, int]]] = {
    "good": (GOOD, 200),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, 200),
    "blanks around it": (b" \n\t" + GOOD + b"\r\n", 200),
    "nothing": (b"", 400),
    "one blank": (b" ", 400),
    "a null": (b"null", 400),
    "a list": (b"[" + GOOD + b"]", 400),
    "a text": (b'"abc"', 400),
    "a number": (b"1e5", 400),
    "an empty object": (b"{}", 400),
    "two objects": (GOOD + GOOD, 400),
    "cut off": (GOOD[:-1], 400),
    "cut in a text": (GOOD[:20], 400),
    "cut in an escape": (b'{"type": "\\u12', 400),
    "NaN": (swapped("3.5", "NaN"), 400),
    "-Infinity": (swapped("3.5", "-Infinity"), 400),
    "1e999": (swapped("3.5", "1e999"), 400),
    "-1e999": (swapped("3.5", "-1e999"), 400),
    "1e-999": (swapped("3.5", "1e-999"), 200),
    "a seed of 1e999": (swapped('"seed": 7', '"seed": 1e999'), 400),
    "a seed of 1e400 in quotes": (body_of(seed="1e400"), 400),
    "a seed of NaN in quotes": (body_of(seed="NaN"), 400),
    "5,000 digits": (swapped('"seed": 7', '"seed": ' + "9" * 5000), 400),
    "5,000 digits in quotes": (body_of(seed="9" * 5000), 400),
    "5,000 decimals": (swapped("3.5", "3." + "1" * 5000), 400),
    "-0": (swapped('"seed": 7', '"seed": -0'), 200),
    "0x10": (swapped('"seed": 7', '"seed": 0x10'), 400),
    "01": (swapped('"seed": 7', '"seed": 01'), 400),
    "+1": (swapped('"seed": 7', '"seed": +1'), 400),
    "Arabic digits": (body_of(seed="\u0661"), 400),
    "half a surrogate pair": (swapped("a red", "\\ud800 red"), 400),
    "the other half": (swapped("a red", "\\udc00 red"), 400),
    "halves in the wrong order": (swapped("a red", "\\udc00\\ud800 red"), 400),
    "half a pair as a name": (swapped('"async"', '"\\ud800": 1, "async"'), 400),
    "half a pair in UTF-8": (swapped("a red", "\xed\xa0\x80 red"), 400),
    "NUL, escaped": (swapped("a red", "\\u0000 red"), 400),
    "NUL, raw": (swapped("a red", "\0 red"), 400),
    "NUL in a name": (swapped('"async"', '"\\u0000": 1, "async"'), 400),
    "NUL in a picture's key": (swapped('"seed": 7', '"imageUrl": "a\\u0000b"'), 400),
    "a line break in a text": (swapped("a red", "\n red"), 400),
    "bytes that are no UTF-8": (swapped("a red", "\xff\xfe red"), 400),
    "overlong UTF-8": (swapped("a red", "\xc0\xaf red"), 400),
    "beyond Unicode": (swapped("a red", "\xf4\x90\x80\x80 red"), 400),
    "UTF-16": (GOOD.decode().encode("utf-16"), 400),
    "UTF-32": (GOOD.decode().encode("utf-32-le"), 400),
    "deep lists": (b"[" * DEEP + b"]" * DEEP, 400),
    "deep lists without an end": (b"[" * DEEP, 400),
    "deep objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, 400),
    "a deep field": (swapped('"seed": 7', '"seed": ' + "[" * DEEP + "]" * DEEP), 400),
    "brackets that close only": (b"]" * DEEP, 400),
    "quotes only": (b'"' * DEEP, 400),
    "backslashes only": (b'{"' + b"\\" * DEEP, 400),
    "a twin": (swapped('"async": true', '"async": true, "async": true'), 400),
    "a twin, escaped": (swapped('"async": true', '"async": true, "\\u0061sync": true'), 400),
    "a twin inside": (swapped('"seed": 7', '"seed": 7, "seed": 8'), 400),
    "100,000 members": (b"{" + b",".join(b'"%d":1' % i for i in range(DEEP)) + b"}", 400),
    "a long name": (swapped('"async"', f'"{"a" * 500_000}": 1, "async"'), 200),
    "a prompt too long": (body_of(prompt="a" * 20_001), 400),
    "a prompt of blanks": (body_of(prompt=" \u00a0\u2003"), 400),
    "a prompt of joiners": (body_of(prompt="\u200d" * 20), 200),
    "a prompt in all scripts": (body_of(prompt="\u202e\ufeff\uffff\U0010ffff\u0301a"), 200),
    "__proto__": (swapped('"async"', '"__proto__": {"a": 1}, "async"'), 200),
    "a script": (body_of(prompt="<script>alert(1)</script>' OR 1=1; --"), 200),
    "a template": (body_of(prompt="{{7*7}} ${jndi:ldap://x} %s %n {0}"), 200),
    "true for a number": (swapped("3.5", "true"), 400),
    "an object for a text": (body_of(prompt={"a": 1}), 400),
    "a list for an object": (swapped('"promptObject": {', '"promptObject": [], "other": {'), 400),
    "a number for the type": (swapped('"IMAGE_GENERATOR"', "1"), 400),
    "a file's address": (body_of(imageUrl="file:///etc/passwd"), 400),
    "a path": (body_of(imageUrl="../../../etc/passwd"), 400),
    "this computer": (body_of(imageUrl="http://127.0.0.1/a.png"), 400),
    "no base64": (body_of(imageUrl="data:image/png;base64,%%%%"), 400),
    "no picture": (body_of(imageUrl="data:image/png;base64,AAAA"), 400),
    "a svg": (body_of(imageUrl="data:image/svg+xml;base64,PHN2Zy8+"), 400),
    "many pictures": (body_of(additional_images=["a.png"] * 1000), 400),
    "a strange webhook": (GOOD[:-1] + b', "webhook": "http://[::1"}', 400),
    "a webhook with a line break": (GOOD[:-1] + b', "webhook": "http://a/\\r\\nX: y"}', 400),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_is_answered_in_words(server: Any, name: str) -> None:
    body, status = BODIES[name]
    answer = Line(server.address).ask(
        b"".join(request("POST", "/api/features", server.key, body, "Connection: close", kind=JSON))
    )
    check(answer)
    assert answer.status == status, answer.body
    if status == 400:
        assert json.loads(answer.body)["code"] in {
            "invalid_body", "invalid_request", "invalid_picture", "unsupported_model",
        }  # fmt: skip


KINDS: Final[dict[str, tuple[str, int]]] = {
    "application/json;charset=utf-8": (JSON, 200),
    "JSON in capitals": ("APPLICATION/JSON; Charset=UTF-8", 200),
    "a kind of JSON": ("application/vnd.api+json", 200),
    "utf-16": ("application/json; charset=utf-16", 415),
    "latin-1": ("application/json; charset=iso-8859-1", 415),
    "utf-7": ('application/json; charset="utf-7"', 415),
    "no such charset": ("application/json; charset=" + "x" * 5000, 415),
    "plain text": ("text/plain", 415),
    "a form": ("application/x-www-form-urlencoded", 415),
    "multipart": (FORM, 415),
    "xml": ("application/xml", 415),
    "no type": (";;;", 415),
    "letters beyond ASCII": ("application/\xff\xfe", 415),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_body_of_another_type_is_answered_in_words(server: Any, name: str) -> None:
    kind, status = KINDS[name]
    raw = b"".join(request("POST", "/api/features", server.key, GOOD, kind=kind))
    line = Line(server.address)
    answer = line.ask(raw)
    line.close()
    check(answer)
    assert answer.status == status, answer.body


FORMS: Final[dict[str, tuple[bytes, str, int]]] = {
    "good": (form(tiny_png()), FORM, 200),
    "no mark": (form(tiny_png()), "multipart/form-data", 400),
    "an empty mark": (form(tiny_png()), "multipart/form-data; boundary=", 400),
    "another mark": (form(tiny_png(), mark="other"), FORM, 400),
    "a mark without an end": (form(tiny_png()), 'multipart/form-data; boundary="mark', 400),
    "a mark beyond ASCII": (form(tiny_png()), "multipart/form-data; boundary=m\xff", 400),
    "a mark of 10,000": (form(tiny_png()), "multipart/form-data; boundary=" + "m" * 10_000, 400),
    "an empty body": (b"", FORM, 400),
    "cut off": (form(tiny_png())[:-20], FORM, 400),
    "only its end": (b"--mark--\r\n", FORM, 400),
    "no name": (form(tiny_png()).replace(b' name="asset";', b""), FORM, 400),
    "another field": (form(tiny_png(), field="file"), FORM, 400),
    "a text as the field": (form(b"a").replace(b'; filename="a.png"', b""), FORM, 400),
    "no picture": (form(b"hello"), FORM, 400),
    "an empty file": (form(b""), FORM, 400),
    "a picture cut off": (form(tiny_png()[:40]), FORM, 400),
    "a side of zero": (form(tiny_png(0, 64)), FORM, 400),
    "a side of 2^31": (form(tiny_png().replace(b"\0\0\0@", b"\x7f\xff\xff\xff", 1)), FORM, 400),
    "a picture like a rope": (form(tiny_png(20_000, 64)), FORM, 400),
    "two files": (form(tiny_png())[:-8] + form(tiny_png()), FORM, 400),
    "many fields": (form(b"a").replace(b'; filename="a.png"', b"")[:-8] * 50, FORM, 400),
    "a file named ..": (form(tiny_png(), name="../../etc/passwd"), FORM, 200),
    "a file's name of 20,000": (form(tiny_png(), name="a" * 20_000), FORM, 400),
    "a file's name with NUL": (form(tiny_png(), name="a\0.png"), FORM, 400),
    "a header without a colon": (b"--mark\r\nabc\r\n\r\nx\r\n--mark--\r\n", FORM, 400),
    "line feeds only": (form(tiny_png()).replace(b"\r\n", b"\n"), FORM, 400),
    "JSON": (GOOD, JSON, 415),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_hostile_form_is_answered_in_words(server: Any, name: str) -> None:
    body, kind, status = FORMS[name]
    line = Line(server.address)
    answer = line.ask(b"".join(request("POST", "/api/assets", server.key, body, kind=kind)))
    line.close()
    check(answer)
    assert answer.status == status, answer.body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A body in pieces."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def posted(*lines: str, body: bytes = b"") -> Callable[[str], bytes]:
    """A call of the drawing route with these headers, whatever they are."""
    head = ["POST /api/features HTTP/1.1", "Host: a", "API-KEY: {key}", "Connection: close"]
    whole = "\r\n".join([*head, *lines, "\r\n"])
    return lambda key: whole.replace("{key}", key).encode("latin-1") + body


def asked(target: str, *lines: str, method: str = "GET", key: str = "{key}") -> Any:
    """A call without a body."""
    head = [f"{method} {target} HTTP/1.1", "Host: a", f"API-KEY: {key}", "Connection: close"]
    whole = "\r\n".join([*head, *lines, "\r\n"])
    return lambda key: whole.replace("{key}", key).encode("latin-1")


def raw(data: bytes) -> Callable[[str], bytes]:
    """These bytes and no more."""
    return lambda _: data


IN_PIECES: Final = ("Content-Type: application/json", "Transfer-Encoding: chunked")
SIZED: Final = f"Content-Length: {len(GOOD)}"
LINES: Final[dict[str, tuple[Callable[[str], bytes], set[int]]]] = {
    "in pieces": (posted(*IN_PIECES, body=chunked(GOOD)), {200}),
    "in single bytes": (posted(*IN_PIECES, body=chunked(*(GOOD[i : i + 1] for i in range(len(GOOD))))), {200}),
    "pieces with a remark": (posted(*IN_PIECES, body=chunked(GOOD).replace(b"\r\n", b";a=b\r\n", 1)), {200, 400}),
    "pieces with a trailer": (posted(*IN_PIECES, body=chunked(GOOD, end=b"0\r\nA: b\r\n\r\n")), {200}),
    "a piece of no size": (posted(*IN_PIECES, body=b"\r\nabc\r\n0\r\n\r\n"), {400}),
    "a piece of size -1": (posted(*IN_PIECES, body=b"-1\r\nabc\r\n0\r\n\r\n"), {400}),
    "a piece of size zz": (posted(*IN_PIECES, body=b"zz\r\nabc\r\n0\r\n\r\n"), {400}),
    "a piece of 2^80 bytes": (posted(*IN_PIECES, body=b"1" + b"0" * 20 + b"\r\nabc\r\n"), {400}),
    "a piece longer than it says": (posted(*IN_PIECES, body=b"2\r\nabcdef\r\n0\r\n\r\n"), {400}),
    "pieces without an end": (posted(*IN_PIECES, body=chunked(GOOD, end=b"")), {408}),
    "pieces and a length": (posted(*IN_PIECES, SIZED, body=chunked(GOOD)), {400}),
    "a length and pieces": (posted(SIZED, *IN_PIECES, body=GOOD), {400}),
    "two lengths": (posted(SIZED, "Content-Length: 1", body=GOOD), {400}),
    "one length twice": (posted(SIZED, SIZED, body=GOOD), {400}),
    "a list of lengths": (posted("Content-Length: 5, 5", body=b"hello"), {400}),
    "a length of -1": (posted("Content-Length: -1", body=GOOD), {400}),
    "a length of +5": (posted("Content-Length: +5", body=b"hello"), {400}),
    "a length of 0x5": (posted("Content-Length: 0x5", body=b"hello"), {400}),
    "a length of 2^80": (posted("Content-Length: " + "9" * 25, body=b"hello"), {400, 413}),
    "a length of 1 GB": (posted("Content-Length: 1000000000", body=b"hello"), {413}),
    "a length too long": (posted("Content-Length: 10000", body=GOOD), {408}),
    "no length": (posted(body=GOOD), {400}),
    "pieces of gzip": (posted("Transfer-Encoding: gzip, chunked", body=chunked(GOOD)), {200, 400, 501}),
    "pieces that are none": (posted("Transfer-Encoding: xchunked", body=chunked(GOOD)), {400}),
    "pieces, spelled oddly": (posted("Transfer-Encoding : chunked", body=chunked(GOOD)), {400}),
    "an encoding of identity": (posted("Transfer-Encoding: identity", SIZED, body=GOOD), {400}),
    "gzip": (posted("Content-Encoding: gzip", f"Content-Length: {len(gzip.compress(GOOD))}", body=gzip.compress(GOOD)), {400, 415}),
    "a bomb of gzip": (posted("Content-Encoding: gzip", *IN_PIECES, body=chunked(gzip.compress(b"[" * 10_000_000))), {400, 415}),
    "it waits for 100": (posted("Expect: 100-continue", SIZED, body=GOOD), {100, 200}),
    "it expects more": (posted("Expect: the unexpected", SIZED, body=GOOD), {200, 417}),
    "a folded header": (posted("X-A: b", " c", SIZED, body=GOOD), {200, 400}),
    "a header without a name": (posted(": b", SIZED, body=GOOD), {400}),
    "a header with NUL": (posted("X-A: b\0c", SIZED, body=GOOD), {400}),
    "a header of bytes": (posted("X-A: \xff\xfe", SIZED, body=GOOD), {200}),
    "a line feed inside": (posted("X-A: b\nX-B: c", SIZED, body=GOOD), {200, 400}),
    "5,000 headers": (posted(*(f"X-{i}: a" for i in range(5000)), SIZED, body=GOOD), {431}),
    "a header of 1 MB": (posted("X-A: " + "a" * 1_000_000, SIZED, body=GOOD), {431}),
    "a key of bytes": (asked("/api/records", key="\xff\xfe"), {401}),
    "an empty key": (asked("/api/records", key=""), {401}),
    "a long key": (asked("/api/records", key="lino_" + "a" * 20_000), {401}),
    "two keys": (asked("/api/records", "API-KEY: b"), {200, 401}),
    "a bearer of nothing": (asked("/api/records", "Authorization: Bearer", key=""), {401}),
    "basic": (asked("/api/records", "Authorization: Basic \xff==", key=""), {401}),
    "Prefer, odd": (posted("Prefer: wait=99999999999999999999, ;;=,\xff", SIZED, body=GOOD), {200, 202}),
    "Prefer, without an end": (posted("Prefer: " + "a;" * 10_000, SIZED, body=GOOD), {200}),
    "an odd Idempotency-Key": (posted("Idempotency-Key: \xff \xfe", SIZED, body=GOOD), {400}),
    "an empty Idempotency-Key": (posted("Idempotency-Key:", SIZED, body=GOOD), {400}),
    "an odd Last-Event-ID": (asked("/api/records/" + "0" * 32 + "/events", "Last-Event-ID: \xb2"), {404}),
    "a huge limit": (asked("/api/records?limit=" + "9" * 5000), {400}),
    "a limit of NaN": (asked("/api/records?limit=NaN"), {400}),
    "a limit of Arabic digits": (asked("/api/records?limit=%D9%A1"), {200, 400}),
    "two limits": (asked("/api/records?limit=1&limit=x"), {400}),
    "a search for NUL": (asked("/api/records?search=%00"), {400}),
    "a search for half a pair": (asked("/api/records?search=%ED%A0%80"), {200, 400}),
    "a search for bytes": (asked("/api/records?search=%ff%fe"), {200, 400}),
    "a search for %": (asked("/api/records?search=%25_%5C%27"), {200}),
    "a cursor of bytes": (asked("/api/records?cursor=%ff"), {400}),
    "a query without an end": (asked("/api/records?" + "&" * 20_000), {200}),
    "an odd switch": (asked("/api/features?isStreaming=%00", method="POST"), {400}),
    "an id of NUL": (asked("/api/records/%00"), {404}),
    "an id of bytes": (asked("/api/records/%ff%fe"), {404}),
    "an id of a path": (asked("/api/records/..%2f..%2fetc"), {404}),
    "an id of digits": (asked("/api/results/" + "%D9%A1" * 32), {200}),
    "a file of NUL": (asked("/files/a%00b?exp=9999999999&kid=1&sig=a"), {403, 404}),
    "a file above": (asked("/files/../../etc/passwd?exp=9999999999&kid=1&sig=a"), {403, 404}),
    "a file of bytes": (asked("/files/%ff?exp=%ff&kid=%ff&sig=%ff"), {403, 404}),
    "a link of 5,000 digits": (asked("/files/a?kid=1&sig=a&exp=" + "9" * 5000), {403, 404}),
    "a page above": (asked("/pages/..%2fbody.py"), {404}),
    "a model of NUL": (asked("/models?feature=%00"), {200, 400}),
    "a fragment": (asked("/livez#a"), {200, 400, 404}),
    "half an escape": (asked("/livez%"), {404}),
    "a target of bytes": (asked("/\xff\xfe"), {400, 404}),
    "another server": (asked("http://example.org/livez"), {200, 400, 404}),
    "a star": (asked("*", method="OPTIONS"), {400, 404, 405}),
    "TRACE": (asked("/livez", method="TRACE"), {405}),
    "CONNECT": (asked("a:1", method="CONNECT"), {400, 404, 405}),
    "PROPFIND": (asked("/livez", method="PROPFIND"), {405}),
    "a method of our own": (asked("/livez", method="DRAW"), {400}),
    "a long target": (asked("/" + "a" * 100_000), {431}),
    "a websocket": (asked("/livez", "Upgrade: websocket", "Sec-WebSocket-Key: a", "Sec-WebSocket-Version: 13", method="GET"), {200, 400, 426}),
    "an upgrade to 2": (asked("/livez", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), {200, 400}),
    "HTTP/2": (raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), {400}),
    "HTTP/0.9": (raw(b"GET /livez\r\n\r\n"), {400}),
    "HTTP/1.0": (raw(b"GET /livez HTTP/1.0\r\n\r\n"), {200}),
    "HTTP/9.9": (raw(b"GET /livez HTTP/9.9\r\nHost: a\r\n\r\n"), {400}),
    "no host": (raw(b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n"), {200, 400}),
    "an odd host": (raw(b"GET /livez HTTP/1.1\r\nHost: [::1\r\nConnection: close\r\n\r\n"), {200, 400}),
    "two hosts": (raw(b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n"), {200, 400}),
    "TLS": (raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200), {400}),
    "zeros": (raw(b"\0" * 1000), {400}),
    "line ends": (raw(b"\r\n" * 20_000), {400, 408, 431}),
    "half a head": (raw(b"GET /livez HTTP/1.1\r\nHost:"), {408}),
    "nothing at all": (raw(b""), {408}),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_a_hostile_head_is_answered_in_words(server: Any, name: str) -> None:
    made, statuses = LINES[name]
    answers = Line(server.address).pour(made(server.key))
    for answer in answers:
        check(answer)
    assert {answer.status for answer in answers} <= statuses, answers
    assert answers


def test_what_follows_a_body_is_no_request_of_somebody_else(server: Any) -> None:
    """Where two readers could disagree about a body's end, no second request is smuggled in."""
    second = f"GET /api/records HTTP/1.1\r\nHost: a\r\nAPI-KEY: {server.key}\r\n\r\n".encode()
    for lines in (("Content-Length: 4", *IN_PIECES), (*IN_PIECES, "Content-Length: 4")):
        answers = Line(server.address).pour(
            posted(*lines, body=b"0\r\n\r\n" + second)(server.key)
        )
        assert [answer.status for answer in answers] == [400]


def test_after_the_corpus_the_server_is_well(server: Any) -> None:
    assert is_well(server)


@pytest.mark.timeout(900)
def test_twenty_thousand_broken_requests_make_no_server_error(server: Any) -> None:
    made = server.client.post("/api/features", json=wish())
    seeds = valid_requests(server.key, made.json()["aiRecord"]["uuid"])
    for head, body in seeds:  # they are valid, or the accidents would befall nothing
        answers = Line(server.address).pour(head[:-2] + b"Connection: close\r\n\r\n" + body)
        assert answers[0].status in {200, 202, 400, 403}, answers
    seen = Counter[int]()
    with ThreadPoolExecutor(THREADS) as crowd:
        runs = [
            crowd.submit(work, server.address, seeds, number, count // THREADS)
            for work, count in ((with_broken_bodies, OF_BODIES), (with_broken_wholes, OF_WHOLES))
            for number in range(THREADS)
        ]
        for run in runs:
            seen.update(run.result())
    assert not [status for status in seen if status >= 500], seen
    assert {200, 400, 401, 404, 405, 415} <= set(seen), seen
    assert seen[200] > 500, seen  # some accidents change nothing that counts
    assert OF_BODIES + OF_WHOLES >= 20_000
    assert is_well(server)
