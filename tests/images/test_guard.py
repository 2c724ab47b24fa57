"""`Guard`: pictures become ours in children that may die, hang or lie; see also `test_guard_bombs`.

Where a child has to misbehave, a stand-in takes its place that speaks the same protocol.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from PIL import Image

from linocut.errors import InvalidPicture, Unavailable
from linocut.images.decode import decode
from linocut.images.guard import Guard, Normalised
from linocut.request import MOST_DECODED

T = TypeVar("T")
FORMATS = ("PNG", "JPEG", "WEBP")

STAND_IN = """
import os, sys, time
source, target = sys.stdin.buffer, sys.stdout.buffer
def say(kind, body=b""):
    target.write(kind + len(body).to_bytes(8, "big") + body)
    target.flush()
say(b"r")
while head := source.read(8):
    name = source.read(int.from_bytes(head, "big"))
    data = source.read(int.from_bytes(source.read(8), "big"))
    if data == b"die":
        os.abort()
    if data == b"hang":
        time.sleep(600)
    if data == b"half":
        target.write(b"p" + (99).to_bytes(8, "big") + b"x")
        target.flush()
        os._exit(0)
    if data == b"endless":
        target.write(b"p" + (1 << 60).to_bytes(8, "big"))
        target.flush()
    time.sleep(0.02)
    say(b"p", b"\\x89PNG" + bytes(12) + (7).to_bytes(4, "big") + (9).to_bytes(4, "big") + data)
"""


def with_guard(work: Callable[[Guard], Awaitable[T]], **settings: object) -> T:
    """What the work gives; all children are gone afterwards."""

    async def play() -> T:
        guard = Guard(**{"patience": 200.0, **settings})
        try:
            return await work(guard)
        finally:
            await guard.stop()
            assert not guard._all

    return asyncio.run(play())


def with_stand_in(work: Callable[[Guard], Awaitable[T]], **settings: object) -> T:
    return with_guard(work, command=(sys.executable, "-c", STAND_IN), **settings)


def body_of(ours: Normalised) -> bytes:
    return ours.file[24:]


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def marked() -> Image.Image:
    image = Image.new("RGB", (80, 64), (120, 130, 140))
    image.paste((250, 0, 0), (0, 0, 40, 32))
    return image


def test_the_pixels_are_those_that_a_viewer_shows() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = marked().convert("RGBA")
    clear.putalpha(100)
    files = {format: saved(marked(), format, exif=exif, quality=90) for format in FORMATS}
    files["clear"] = saved(clear, "PNG")

    async def work(guard: Guard) -> dict[str, Normalised]:
        return {name: await guard.normalise(data, name) for name, data in files.items()}

    for name, ours in with_guard(work).items():
        assert decode(ours.file) == decode(files[name])
        assert (ours.width, ours.height) == ((80, 64) if name == "clear" else (64, 80))
        assert (ours.content_type, ours.extension) == ("image/png", "png")
        assert ours.sha256 == hashlib.sha256(ours.file).hexdigest()


def test_nothing_but_pixels_remains() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    options = {"exif": exif, "xmp": b"<x>a secret place</x>", "comment": b"a secret place",
               "icc_profile": b"a secret place" * 20}  # fmt: skip

    async def work(guard: Guard) -> list[tuple[bytes, Normalised]]:
        files = [saved(marked(), format, **options) for format in FORMATS]
        return [(data, await guard.normalise(data)) for data in files]

    for data, ours in with_guard(work):
        assert b"a secret place" in data
        assert b"secret" not in ours.file
        with Image.open(io.BytesIO(ours.file)) as image:
            image.load()
            assert image.info == {}
            assert image.mode == "RGB"


def test_the_same_picture_gives_the_same_bytes() -> None:
    async def work(guard: Guard) -> set[str]:
        data = saved(marked(), "JPEG")
        return {(await guard.normalise(data, name)).sha256 for name in ("one", "two")}

    assert len(with_guard(work)) == 1


def test_what_is_no_picture_is_said_in_words() -> None:
    async def work(guard: Guard) -> None:
        with pytest.raises(InvalidPicture, match="image 2 ☂ is a GIF") as caught:
            await guard.normalise(saved(marked(), "GIF"), "image 2 ☂")
        assert "PNG, JPEG or WebP" in caught.value.hint
        with pytest.raises(InvalidPicture, match="is empty"):
            await guard.normalise(b"")

    with_guard(work)


def test_a_file_over_96_mb_is_refused_unseen() -> None:
    async def work(guard: Guard) -> None:
        with pytest.raises(InvalidPicture, match="over 96 MB"):
            await guard.normalise(bytes(MOST_DECODED + 1))
        assert not guard._all  # no child was even begun

    with_guard(work)


@pytest.mark.parametrize("harm", [b"die", b"half", b"endless", b"hang"])
def test_a_picture_that_ends_its_child_is_refused_and_the_next_one_is_not(harm: bytes) -> None:
    async def work(guard: Guard) -> bytes:
        await guard.start()
        (first,) = guard._all
        guard._patience = 0.5 if harm == b"hang" else 200.0
        with pytest.raises(InvalidPicture, match=r"image 1 (cannot be|takes too long)") as caught:
            await guard.normalise(harm, "image 1")
        assert caught.value.hint
        assert first.returncode is not None
        guard._patience = 200.0
        return body_of(await guard.normalise(b"good"))

    assert with_stand_in(work) == b"good"


def test_a_child_that_died_while_it_waited_spoils_no_picture() -> None:
    async def work(guard: Guard) -> bytes:
        await guard.start()
        (child,) = guard._all
        child.kill()
        await child.wait()
        return body_of(await guard.normalise(b"good"))

    assert with_stand_in(work) == b"good"


def test_a_caller_who_leaves_takes_no_answer_of_another() -> None:
    async def work(guard: Guard) -> list[bytes]:
        await guard.start()
        for _ in range(5):
            leaving = asyncio.create_task(guard.normalise(b"left behind"))
            await asyncio.sleep(0.005)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        return [body_of(await guard.normalise(b"%d" % i)) for i in range(5)]

    assert with_stand_in(work) == [b"0", b"1", b"2", b"3", b"4"]


def test_many_pictures_share_a_few_children() -> None:
    seen: set[int] = set()

    async def work(guard: Guard) -> list[bytes]:
        async def one(i: int) -> bytes:
            ours = await guard.normalise(b"%d" % i)
            seen.update(child.pid for child in guard._all)
            return body_of(ours)

        return await asyncio.gather(*[one(i) for i in range(30)])

    assert with_stand_in(work, children=2) == [b"%d" % i for i in range(30)]
    assert len(seen) <= 2


def test_many_pictures_of_one_owner_hold_up_nobody_else() -> None:
    async def work(guard: Guard) -> list[str]:
        done: list[str] = []

        async def one(owner: str) -> None:
            await guard.normalise(b"picture", owner=owner)
            done.append(owner)

        await asyncio.gather(*(one("many") for _ in range(6)), one("one"))
        return done

    assert with_stand_in(work).index("one") <= 1


def test_a_child_that_does_not_start_is_the_servers_trouble() -> None:
    async def work(guard: Guard) -> None:
        for begin in (guard.start, lambda: guard.normalise(b"good")):
            with pytest.raises(Unavailable, match="does not start") as caught:
                await begin()
            assert caught.value.retry_after > 0
        assert not guard._all

    with_guard(work, command=(sys.executable, "-c", "raise SystemExit(1)"))


def test_a_picture_beyond_the_memory_is_refused_and_the_next_one_is_not() -> None:
    large, small = saved(Image.new("RGB", (4000, 4000)), "PNG"), saved(marked(), "PNG")

    async def work(guard: Guard) -> int:
        with pytest.raises(InvalidPicture, match="image 1 cannot be decoded"):
            await guard.normalise(large, "image 1")
        return (await guard.normalise(small)).width

    assert with_guard(work, memory=100 << 20) == 80


PARENT = """
import asyncio, sys, time
from linocut.images.guard import Guard
async def main():
    guard = Guard()
    await guard.start()
    print(*[child.pid for child in guard._all], flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def is_gone(pid: int) -> bool:
    """Whether it has ended, even if nobody has asked for its status yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="the signal of a parent's death is Linux's own")
@pytest.mark.parametrize("busy", [False, True])
def test_the_child_goes_when_its_parent_is_killed(*, busy: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        if busy:
            os.kill(child, signal.SIGSTOP)  # it will not see that its input ends
        parent.kill()
    until = time.monotonic() + 60
    while not is_gone(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert is_gone(child)
