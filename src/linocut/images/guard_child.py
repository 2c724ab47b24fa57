"""The process that decodes what strangers sent; started by `guard`, imported by nobody.

    python -m linocut.images.guard_child MEMORY SECONDS

It reads a picture's file from its standard input and writes ours to its standard output, one at a
time, until its input ends; every message is its length in eight bytes and then itself, an answer
also begins with a byte that says which it is. It may use so many bytes of memory and, for one
picture, so many seconds of processor time; it can open no file and no connection, and it goes when
its parent goes.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import resource
import signal
import sys
from typing import BinaryIO, Final

from PIL import Image

from linocut.errors import InvalidPicture
from linocut.images.decode import decode

READY: Final = b"r"
PICTURE: Final = b"p"
REFUSAL: Final = b"x"
LENGTH: Final = 8
# Level 1 takes a third of the default's time, for files an eighth larger. Lossless WebP takes half
# of that, but 26 bytes of memory a pixel, which is too much at 25 MP, and ends at 16,383 px a side.
_COMPRESSION: Final = 1
_DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG


def main(memory: int, seconds: float) -> None:
    """Pictures in, pictures out, until the input ends."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        return
    for meant_for_the_parent in (signal.SIGINT, signal.SIGTERM):  # which still needs this process
        signal.signal(meant_for_the_parent, signal.SIG_IGN)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    normalise(_SMALLEST, "a first picture")  # whatever is loaded late is loaded now
    _confine(memory)
    _answer(target, READY, b"")
    while head := source.read(LENGTH):
        _allow(seconds)
        name = source.read(int.from_bytes(head, "big")).decode()
        data = source.read(int.from_bytes(source.read(LENGTH), "big"))
        try:
            kind, body = PICTURE, normalise(data, name)
        except InvalidPicture as error:
            kind, body = REFUSAL, json.dumps([error.message, error.hint]).encode()
        del data
        _answer(target, kind, body)
        del body  # while it waits, the largest pictures' memory is not kept


def normalise(data: bytes, name: str) -> bytes:
    """A PNG of the picture as a viewer shows it, without anything else that was in the file."""
    picture = decode(data, name=name)
    image = Image.frombytes("RGB", (picture.width, picture.height), picture.rgb)
    del picture
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=_COMPRESSION)
    return file.getvalue()


def _answer(target: BinaryIO, kind: bytes, body: bytes) -> None:
    target.write(kind + len(body).to_bytes(LENGTH, "big"))
    target.write(body)
    target.flush()


def _confine(memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    for nothing in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(nothing, (0, 0))


def _allow(seconds: float) -> None:
    """So much processor time from now on; SIGPROF ends what takes more.

    (RLIMIT_CPU counts from the process's start, by another clock than any that can be read: on a
    busy machine the two drift apart, and a child that lives long would be ended for nothing.)
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)


_SMALLEST: Final = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0:~\x9bU"
    b"\0\0\0\nIDATx\x9cc`\0\0\0\2\0\1H\xaf\xa4q\0\0\0\0IEND\xaeB`\x82"
)

if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
