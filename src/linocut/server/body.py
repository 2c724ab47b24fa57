"""The JSON object in a request's body, read strictly; what is wrong is said with its place.

Python's parser alone would take NaN and 1e999, keep the last of two equal names, recurse as deep
as it is told to, and choke on long numbers. One pass over the tokens finds all of these first.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from typing import Any, Final

from starlette.requests import Request

from linocut.errors import InvalidBody, UnsupportedMedia
from linocut.server.holding import Room

MAX_DEPTH: Final = 32
MAX_TOKENS: Final = 20_000
MAX_NUMBER_CHARACTERS: Final = 64
SHOWN: Final = 24

JsonObject = dict[str, Any]

# Whatever stands in the text is part of some token, and a token never gives a character back; so
# the pass takes linear time, also where quotes, blanks or brackets go on without an end.
_TOKEN: Final = re.compile(
    r"""(?P<text>"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z))"""
    r"|(?P<open>[\[{])|(?P<close>[\]}])"
    r"|(?P<constant>-?(?:NaN|Infinity))"
    r"|(?P<number>-?[0-9][0-9.eE+-]*+)"
    r"|(?P<rest>[\s,:]++|[^\s,:\"\[\]{}0-9NI-]++|.)",
    re.DOTALL | re.ASCII,
)
_COLON: Final = re.compile(r"[ \t\n\r]*:")
_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([^\"'\s;]*)")
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_HINTS: Final = {
    "Expecting property name enclosed in double quotes": (
        "names and texts need double quotes, and no comma follows the last one"
    ),
    "Illegal trailing comma before end of object": "remove the last comma",
    "Illegal trailing comma before end of array": "remove the last comma",
    "Extra data": "send one JSON object and nothing after it",
    "Invalid control character at": r"write a line break inside a text as \n",
    "Unterminated string starting at": "a closing quote is missing, or the body was cut off",
    "Invalid \\escape": r"write a backslash inside a text as \\",
}
_SHELL: Final = "check commas and quotes; in a shell, put single quotes around the whole body"


async def received(request: Request, room: Room) -> bytearray:
    """All of a request's body; RateLimited or Unavailable where `room` has no place for it."""
    raw = bytearray()
    async for piece in request.stream():
        room.take(len(piece))
        raw += piece
    return raw


def read_json(raw: bytes | bytearray, content_type: str | None) -> JsonObject:
    """The object, or InvalidBody with the place; UnsupportedMedia for another type or charset."""
    _check_type(content_type)
    text = _decoded(raw)
    if not text.strip(" \t\n\r"):
        raise InvalidBody("the body is empty", hint='send a JSON object: {"type": …, …}')
    _check_tokens(text)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        hint = _HINTS.get(error.msg, _SHELL)
        raise _wrong(text, error.pos, f"not valid JSON ({error.msg})", hint) from error
    if not isinstance(value, dict):
        raise _wrong(text, 0, "the body must be a JSON object", "begin it with { and end it with }")
    return value


def check_charset(content_type: str) -> None:
    """Nothing for UTF-8, of which ASCII is a part; UnsupportedMedia wherever another is named.

    Every mention counts, as a reader of forms may follow another one than the first.
    """
    for charset in _CHARSET.findall(content_type.lower()):
        if charset not in _CHARSETS:
            raise UnsupportedMedia(
                f"the body's charset is {charset[:SHOWN]!r}; UTF-8 is read here",
                hint="leave the charset out of the header Content-Type, or say utf-8",
            )


def _check_type(content_type: str | None) -> None:
    """Nothing for JSON in UTF-8; a missing type is taken for it."""
    if not content_type:
        return
    kind = content_type.lower().partition(";")[0].strip()
    if kind != "application/json" and not re.fullmatch(r"application/[\w.+-]+\+json", kind):
        raise UnsupportedMedia(
            f"the body's type is {kind[:SHOWN]!r}; JSON is read here",
            hint="send the header Content-Type: application/json",
        )
    check_charset(content_type)


def _decoded(raw: bytes | bytearray) -> str:
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in raw[:4]:
        raise InvalidBody("the body is in UTF-16 or UTF-32", hint="send it as UTF-8")
    try:
        return raw.decode("utf-8-sig")  # Windows tools write that mark
    except UnicodeDecodeError as error:
        raise InvalidBody(
            f"byte {error.start + 1:,} of the body is not valid UTF-8", hint="send it as UTF-8"
        ) from error


def _check_tokens(text: str) -> None:
    """Nothing, or InvalidBody: nesting, repetition, constants, numbers, characters."""
    levels: list[set[str] | None] = []  # the names so far, for each object that is open
    for count, token in enumerate(_TOKEN.finditer(text)):
        if count >= MAX_TOKENS:
            raise _wrong(text, token.start(), f"over {MAX_TOKENS:,} words and signs", "send fewer")
        match token.lastgroup:
            case "open":
                levels.append(set() if token[0] == "{" else None)
                if len(levels) > MAX_DEPTH:
                    what = f"nested deeper than {MAX_DEPTH} levels"
                    raise _wrong(text, token.start(), what, "send a flatter object")
            case "close":
                del levels[-1:]
            case "text":
                _check_text(text, token, levels[-1] if levels else None)
            case "number" | "constant":
                _check_number(text, token)


def _check_number(text: str, token: re.Match[str]) -> None:
    digits = token[0]
    if len(digits) > MAX_NUMBER_CHARACTERS:
        what = f"a number of {len(digits):,} characters"
        raise _wrong(text, token.start(), what, f"at most {MAX_NUMBER_CHARACTERS} are read")
    try:
        is_finite = math.isfinite(float(digits))
    except ValueError:
        return  # no number: the parser says so
    if not is_finite:
        what = "a number that is not finite"
        raise _wrong(text, token.start(), what, "JSON has no NaN or Infinity, nor 1e999")


def _check_text(text: str, token: re.Match[str], names: set[str] | None) -> None:
    value = token[0][1:-1]
    if "\\" in value:
        try:
            value = json.loads(token[0])
        except json.JSONDecodeError:
            return  # the parser says so
    if "\0" in value:
        raise _wrong(text, token.start(), r"a text with the character \u0000", "remove it")
    if any("\ud800" <= character <= "\udfff" for character in _escaped(token[0], value)):
        what = "a text with half of a surrogate pair"
        raise _wrong(text, token.start(), what, r"send both halves, as \ud83d\ude00, or the letter")
    if names is None or not _COLON.match(text, token.end()):
        return
    if value in names:
        raise _wrong(text, token.start(), "a name that this object has already", "keep one")
    names.add(value)


def _escaped(source: str, value: str) -> str:
    """The value, if it may hold surrogates: only an escape can bring them into decoded UTF-8."""
    return value if "\\u" in source else ""


def _wrong(text: str, at: int, what: str, hint: str) -> InvalidBody:
    """The error: what, where, and a little of the text there."""
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    near = json.dumps(text[at : at + SHOWN], ensure_ascii=True)[: 2 * SHOWN]
    said = f"line {line}, column {column} of the body: {what}"
    return InvalidBody(f"{said}, at {near}" if at < len(text) else said, hint=hint)
