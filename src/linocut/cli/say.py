"""How the command line speaks: data on standard output, everything else on standard error.

Text from files and arguments may hold control characters that move a cursor or hide what follows;
whatever is shown to a person goes through `printable`.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from rich.console import Console
from rich.text import Text

from linocut.errors import OutputError

# Control characters, what turns the writing direction, lone surrogates.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object) -> str:
    """The text on one line, with every character that a terminal might obey spelled out."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def console() -> Console:
    """Standard error as it is at this moment."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def error(message: str, hint: str = "") -> None:
    """Two lines on standard error: what is wrong, and what to do."""
    _line("error", "bold red", message)
    if hint:
        _line("hint", "cyan", hint)


def warning(text: str, *, to: Console | None = None) -> None:
    """A line on standard error about something that was not as asked for."""
    _line("warning", "yellow", text, to=to)


def note(text: str, *, to: Console | None = None) -> None:
    """A line on standard error about how it goes."""
    (to or console()).print(Text(printable(text)))


class _Told(io.FileIO):
    """A descriptor whose refusal comes in words, and once: what is written after it is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:  # a reader that has had enough; nothing went wrong
            raise
        except OSError as error:
            # Python flushes once more as it ends, and would then speak in words of its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            raise OutputError(
                f"standard output takes no more: {error.strerror}",
                hint="make room, or send it elsewhere",
            ) from error


def told(stream: TextIO) -> TextIO:
    """The stream written line by line, so that OutputError comes where something was written."""
    return io.TextIOWrapper(
        io.BufferedWriter(_Told(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=True,
    )


def path(value: Path) -> None:
    """The path alone on standard output, byte for byte as the system knows it."""
    raw(os.fsencode(value) + b"\n")


def values(what: Mapping[str, Any]) -> None:
    """One JSON object on standard output, in ASCII."""
    raw(json.dumps(what, default=str).encode() + b"\n")


def raw(data: bytes) -> None:
    """Bytes on standard output, now; nowhere if it is closed, as `print` does."""
    if sys.stdout is None:
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def rows(what: Mapping[str, object]) -> None:
    """Names and values below each other on standard output; what is None or empty is left out."""
    width = max(map(len, what), default=0)
    for name, value in what.items():
        if value not in (None, ""):
            print(f"{name:<{width}}  {printable(value)}")


def gigabytes(count: float) -> str:
    """A number of bytes for people: 64.4 GB, 58 MB."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def duration(seconds: float) -> str:
    """A time for people: 0.13 s, 12 s, 2 min 05 s."""
    if seconds < 10:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _line(label: str, style: str, text: str, *, to: Console | None = None) -> None:
    (to or console()).print(Text.assemble((f"{label}: ", style), printable(text)))
