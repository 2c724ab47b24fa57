"""Heads, pieces and bytes as no client of ours would send them; and what may be answered.

Where the HTTP parser is free to choose, there are several statuses.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any, Final

GOOD: Final = json.dumps(
    {
        "type": "IMAGE_GENERATOR",
        "model": "flux-2-dev",
        "promptObject": {"prompt": "an apple", "megapixels": "0.25", "num_inference_steps": 1},
        "async": True,
    }
).encode()


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
    "in single bytes": (
        posted(*IN_PIECES, body=chunked(*(GOOD[i : i + 1] for i in range(len(GOOD))))),
        {200},
    ),
    "pieces with a remark": (
        posted(*IN_PIECES, body=chunked(GOOD).replace(b"\r\n", b";a=b\r\n", 1)),
        {200, 400},
    ),
    "pieces with a trailer": (
        posted(*IN_PIECES, body=chunked(GOOD, end=b"0\r\nA: b\r\n\r\n")),
        {200},
    ),
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
    "pieces of gzip": (
        posted("Transfer-Encoding: gzip, chunked", body=chunked(GOOD)),
        {200, 400, 501},
    ),
    "pieces that are none": (posted("Transfer-Encoding: xchunked", body=chunked(GOOD)), {400}),
    "pieces, spelled oddly": (posted("Transfer-Encoding : chunked", body=chunked(GOOD)), {400}),
    "an encoding of identity": (posted("Transfer-Encoding: identity", SIZED, body=GOOD), {400}),
    "gzip": (
        posted(
            "Content-Encoding: gzip",
            f"Content-Length: {len(gzip.compress(GOOD))}",
            body=gzip.compress(GOOD),
        ),
        {400, 415},
    ),
    "a bomb of gzip": (
        posted(
            "Content-Encoding: gzip", *IN_PIECES, body=chunked(gzip.compress(b"[" * 10_000_000))
        ),
        {400, 415},
    ),
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
    "Prefer, odd": (
        posted("Prefer: wait=99999999999999999999, ;;=,\xff", SIZED, body=GOOD),
        {200, 202},
    ),
    "Prefer, without an end": (posted("Prefer: " + "a;" * 10_000, SIZED, body=GOOD), {200}),
    "Prefer, one long word": (posted("Prefer: " + "a" * 30_000, SIZED, body=GOOD), {200}),
    "an odd Idempotency-Key": (posted("Idempotency-Key: \xff \xfe", SIZED, body=GOOD), {400}),
    "an empty Idempotency-Key": (posted("Idempotency-Key:", SIZED, body=GOOD), {400}),
    "an odd Last-Event-ID": (
        asked("/api/records/" + "0" * 32 + "/events", "Last-Event-ID: \xb2"),
        {404},
    ),
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
    "a websocket": (
        asked(
            "/livez",
            "Upgrade: websocket",
            "Sec-WebSocket-Key: a",
            "Sec-WebSocket-Version: 13",
            method="GET",
        ),
        {200, 400, 426},
    ),
    "an upgrade to 2": (
        asked("/livez", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        {200, 400},
    ),
    "HTTP/2": (raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), {400}),
    "HTTP/0.9": (raw(b"GET /livez\r\n\r\n"), {200, 400}),
    "HTTP/1.0": (raw(b"GET /livez HTTP/1.0\r\n\r\n"), {200}),
    "HTTP/9.9": (raw(b"GET /livez HTTP/9.9\r\nHost: a\r\n\r\n"), {400}),
    "no host": (raw(b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n"), {400}),
    "an odd host": (
        raw(b"GET /livez HTTP/1.1\r\nHost: [::1\r\nConnection: close\r\n\r\n"),
        {400},
    ),
    "two hosts": (
        raw(b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n"),
        {400},
    ),
    "TLS": (raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200), {400}),
    "zeros": (raw(b"\0" * 1000), {400}),
    "line ends": (raw(b"\r\n" * 20_000), {400, 408, 431}),
    "half a head": (raw(b"GET /livez HTTP/1.1\r\nHost:"), {408}),
    "nothing at all": (raw(b""), {408}),
}
