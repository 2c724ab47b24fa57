"""Requests that are good, and bodies that mean no good or know no better; and what is answered."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any, Final


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
            "prompt": 'a red apple \N{RED APPLE}, "sliced"',
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
    "a picture like a rope": (form(tiny_png(20_000, 64)), FORM, 200),
    "two files": (form(tiny_png()).replace(b"--mark--\r\n", b"") + form(tiny_png()), FORM, 400),
    "many fields": (form(b"a").replace(b'; filename="a.png"', b"")[:-8] * 50, FORM, 400),
    "a file named ..": (form(tiny_png(), name="../../etc/passwd"), FORM, 200),
    "a file's name of 20,000": (form(tiny_png(), name="a" * 20_000), FORM, 400),
    "a file's name with NUL": (form(tiny_png(), name="a\0.png"), FORM, 200),
    "a header without a colon": (b"--mark\r\nabc\r\n\r\nx\r\n--mark--\r\n", FORM, 400),
    "line feeds only": (form(tiny_png()).replace(b"\r\n", b"\n"), FORM, 400),
    "JSON": (GOOD, JSON, 415),
    "utf-8": (form(tiny_png()), f'{FORM}; charset="UTF-8"', 200),
    "a codec that always fails": (form(tiny_png()), f"{FORM}; charset=undefined", 415),
    "punycode": (form(tiny_png(), name="x.png"), f"{FORM}; Charset = punycode", 415),
    "idna": (form(tiny_png(), name="xn--a"), f"{FORM};charset='idna'", 415),
    "a charset behind another": (
        form(tiny_png()),
        f"{FORM}; charset=utf-8; charset=undefined",
        415,
    ),
    "a charset behind a twin": (
        form(tiny_png()),
        f"{FORM}; xcharset=utf-8; charset=undefined",
        415,
    ),
    "a charset of 5,000": (form(tiny_png()), f"{FORM}; charset={'x' * 5000}", 415),
}
