"""`BoundedStore`: every call comes to an end, whatever stands behind it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from far_peer import SILENCES, FarStore, Peer, a_peer, behind

from linocut.errors import Conflict, NotFound, StorageUnavailable
from linocut.images.bounded import BoundedStore
from linocut.images.store import CHUNK, FolderStore, PictureStore, forget

KEY = "images/cat.webp"
SOON = 0.3  # seconds of a store that is to be given up
LATE = 60.0  # seconds of one that is to answer
MANY = 40  # more than there are threads, hung ones and others
MORE_THAN_FITS = b"x" * 20_000_000  # no socket takes so much from who sends to a peer that is mute


def run(story: Callable[[], Awaitable[None]]) -> None:
    """The story, which has two minutes."""

    async def told() -> None:
        async with asyncio.timeout(120):
            await story()

    asyncio.run(told())


@pytest.fixture(params=SILENCES)
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """One that accepts and never answers, and one that drips."""
    with a_peer(request.param) as peer:
        yield peer


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "pictures")


async def refused(call: Awaitable[object]) -> StorageUnavailable:
    """What the call says when it is given up."""
    with pytest.raises(StorageUnavailable, match=r"gave no answer for 0\.3 s") as caught:
        await call
    assert caught.value.retry_after > 0
    return caught.value


def test_a_bounded_store_is_a_picture_store(folder: FolderStore) -> None:
    async def story() -> None:
        store: PictureStore = BoundedStore(folder, LATE)
        await store.put(KEY, b"cat")
        with pytest.raises(Conflict):
            await store.put(KEY, b"dog")
        assert (await store.read(KEY), await store.read(KEY, 1, 2)) == (b"cat", b"a")
        assert (await store.size(KEY), await store.keys(-1)) == (3, [KEY])
        await store.ping()
        assert (await store.sweep(-1), await store.delete(KEY), await store.delete(KEY)) == (
            0, True, False,
        )  # fmt: skip
        with pytest.raises(NotFound):
            await store.read(KEY)

    run(story)


def test_a_long_range_comes_in_pieces(folder: FolderStore) -> None:
    async def story() -> None:
        store, data = BoundedStore(folder, LATE), os.urandom(2 * CHUNK + 77)
        await store.put(KEY, data)
        whole = [piece async for piece in store.open_range(KEY, 5, len(data))]
        assert [len(piece) for piece in whole] == [CHUNK, CHUNK, 72]
        assert b"".join(whole) == data[5:]

    run(story)


def test_a_peer_that_does_not_answer_is_given_up_whatever_it_is_asked(peer: Peer) -> None:
    async def story() -> None:
        store = BoundedStore(FarStore(peer.address), SOON, listing=SOON)
        said = await refused(store.put(KEY, b"cat"))
        assert "stored" in said.message
        assert "127.0.0.1" not in f"{said.message} {said.hint}"
        await refused(store.put(KEY, MORE_THAN_FITS))
        for call in (
            store.read(KEY),
            store.size(KEY),
            store.delete(KEY),
            store.keys(-1),
            store.sweep(-1),
            anext(store.open_range(KEY, 0, 9)),
            store.ping(),
        ):
            await refused(call)  # fmt: skip
        peer.answers = True
        store.seconds = LATE
        await store.put(KEY, b"cat")
        assert await store.read(KEY) == b"cat"

    run(story)


def test_a_disk_that_does_not_answer_is_given_up_and_holds_up_nobody_else(
    peer: Peer, folder: FolderStore
) -> None:
    async def story() -> None:
        store = BoundedStore(folder, SOON)
        with behind(peer.address):
            puts = (refused(store.put(f"images/{n}.webp", b"cat")) for n in range(MANY))
            others = asyncio.create_task(asyncio.to_thread(pow, 2, 3))
            await asyncio.gather(*puts)
            assert await others == 8
            hung = folder._threads.num_left
            assert 0 < hung <= 2 * folder._threads.most
            peer.answers = True
            while folder._threads.num_left:  # noqa: ASYNC110 - threads ring no bell here
                await asyncio.sleep(0.01)
            store.seconds = LATE
            for n in range(MANY):  # some came late: the same bytes may be put again
                await store.put(f"images/{n}.webp", b"cat")
        assert sorted(await store.keys(-1)) == sorted(f"images/{n}.webp" for n in range(MANY))
        assert len([path for path in folder.root.rglob("*") if path.is_file()]) == MANY

    run(story)


def test_who_does_not_wait_for_the_end_leaves_too(peer: Peer, folder: FolderStore) -> None:
    async def story() -> None:
        store = BoundedStore(folder, LATE)
        with behind(peer.address):
            put = asyncio.create_task(store.put(KEY, b"cat"))
            assert await asyncio.to_thread(peer.met.wait, 60)
            put.cancel()
            with pytest.raises(asyncio.CancelledError):
                await put
            assert folder._threads.num_left == 1

    run(story)


def test_a_store_that_hangs_is_pinged_once_however_many_ask(folder: FolderStore) -> None:
    async def story() -> None:
        store, calls, answers = BoundedStore(folder, LATE), [], asyncio.Event()
        ping = folder.ping

        async def slow() -> None:
            calls.append(1)
            await answers.wait()
            await ping()

        folder.ping = slow  # type: ignore[method-assign]
        for _ in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await store.ping()
        asked = [asyncio.create_task(store.ping()) for _ in range(5)]
        answers.set()
        await asyncio.gather(*asked)
        assert calls == [1]
        await store.ping()
        assert calls == [1, 1]

    run(story)


def test_a_ping_that_failed_when_nobody_listened_is_no_fault(peer: Peer) -> None:
    async def story() -> None:
        faults: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: faults.append(told))
        store = BoundedStore(FarStore(peer.address), SOON)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await store.ping()
        await refused(store.ping())
        store._asked = None
        assert faults == []

    run(story)


def test_forgetting_ends_with_the_first_that_the_store_keeps(folder: FolderStore) -> None:
    async def story() -> None:
        gate, asked = threading.Event(), []
        delete = folder.delete

        async def slow(key: str) -> bool:
            asked.append(key)
            if key == "b.webp":
                await folder._threads.run(gate.wait)
            return await delete(key)

        folder.delete = slow  # type: ignore[method-assign]
        for name in "abc":
            await folder.put(f"{name}.webp", b"cat")
        await forget(BoundedStore(folder, SOON), ["a.webp", "b.webp", "c.webp"])
        assert asked == ["a.webp", "b.webp"]
        assert sorted(await folder.keys(-1)) == ["b.webp", "c.webp"]
        gate.set()

    run(story)
