"""References: one's own assets, checked pictures, and nothing left behind by what fails."""

from __future__ import annotations

import base64
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from linocut.errors import InvalidRequest, RateLimited
from linocut.jobs.record import StoredFile
from linocut.server.answers import link
from linocut.server.context import Service
from linocut.server.dialects.features import Source
from linocut.server.references import UPLOAD, discard, gather, keep

HERE = "http://here"


def asset(key: str) -> Source:
    """A source that names a stored picture."""
    return Source(kind="asset", text=key, pointer="#/promptObject/imageUrl")


def data(content: bytes) -> Source:
    """A source that brings its bytes along."""
    text = "data:image/png;base64," + base64.b64encode(content).decode()
    return Source(kind="data", text=text, pointer="#/promptObject/additional_images/0")


def url(text: str) -> Source:
    """A source somewhere."""
    return Source(kind="url", text=text, pointer="#/promptObject/imageUrl")


async def uploaded(service: Service, tenant: str) -> StoredFile:
    """A picture that was uploaded before."""
    picture = await service.guard.normalise(b"PICTURE of mine")
    return await keep(service, tenant, picture, kind=UPLOAD, name="cat.png")


def test_an_upload_is_used_as_it_stands(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> None:
        file = await uploaded(service, "ours")
        gathered = await gather(service, "ours", [asset(file.key)])
        assert [each.key for each in gathered.references] == [file.key]
        assert gathered.references[0].width == 80
        assert gathered.own == ()

    desk.run(tmp_path, scenario)


def test_a_data_uri_is_stored_for_the_request(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> None:
        gathered = await gather(service, "ours", [data(b"PICTURE 1"), data(b"PICTURE 2")])
        keys = [each.key for each in gathered.references]
        assert tuple(keys) == gathered.own
        assert [await service.pictures.read(key) for key in keys] == [b"PICTURE 1", b"PICTURE 2"]
        stored = await service.store.file(keys[0])
        assert stored is not None
        assert (stored.tenant, stored.kind, stored.size) == ("ours", "reference", 9)
        guard: Any = service.guard
        assert guard.owners == ["ours", "ours"]

    desk.run(tmp_path, scenario)


def test_pictures_are_held_one_at_a_time_and_no_more_of_a_key_than_its_share(
    tmp_path: Path, desk: ModuleType
) -> None:
    async def scenario(service: Service) -> None:
        one = data(b"PICTURE" + bytes(2_000))  # twice: as it came, and as it was made ours
        gathered = await gather(service, "ours", [one, one, one])
        assert len(gathered.own) == 3
        assert service.holding.total == 0
        before = await service.pictures.keys(older_than=-1.0)
        with pytest.raises(RateLimited, match="one tenant may have 5,000"):
            await gather(service, "ours", [one, data(b"PICTURE" + bytes(2_600))])
        assert service.holding.total == 0
        assert await service.pictures.keys(older_than=-1.0) == before
        await gather(service, "theirs", [one])

    desk.run(tmp_path, scenario, max_body=5_000, max_held=10_000)


def test_a_foreign_asset_is_as_absent_as_none(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> list[InvalidRequest]:
        file = await uploaded(service, "theirs")
        refusals = []
        for key in (file.key, "images/none.png"):
            with pytest.raises(InvalidRequest) as caught:
                await gather(service, "ours", [asset(key)])
            refusals.append(caught.value)
        return refusals

    foreign, absent = desk.run(tmp_path, scenario)
    assert (foreign.message, foreign.hint) == (absent.message, absent.hint)
    assert "imageUrl" in foreign.message


def test_one_bad_picture_leaves_nothing_behind(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> list[str]:
        with pytest.raises(InvalidRequest, match=r"additional_images"):
            await gather(service, "ours", [data(b"PICTURE"), data(b"no such thing")])
        return await service.pictures.keys(older_than=-1.0)

    assert desk.run(tmp_path, scenario) == []


def test_a_drawn_picture_is_copied_because_its_record_may_go(
    tmp_path: Path, desk: ModuleType
) -> None:
    async def scenario(service: Service) -> bytes:
        record = await desk.drawn(service, data=b"PICTURE drawn")
        gathered = await gather(service, "ours", [asset(record.result_keys[0])])
        for key in await service.store.delete("ours", record.id) or ():
            await service.pictures.delete(key)
        return await service.pictures.read(gathered.references[0].key)

    assert desk.run(tmp_path, scenario) == b"PICTURE drawn"


def test_a_link_of_ours_is_read_without_a_detour(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> bytes:
        record = await desk.drawn(service, "theirs", data=b"PICTURE given away")
        source = url(link(service, record.result_keys[0], HERE))
        gathered = await gather(service, "ours", [source], here=HERE)
        return await service.pictures.read(gathered.references[0].key)

    assert desk.run(tmp_path, scenario) == b"PICTURE given away"


@pytest.mark.parametrize("change", ["&sig=x", "1"])
def test_a_link_of_ours_that_was_changed_is_refused(
    tmp_path: Path, desk: ModuleType, change: str
) -> None:
    async def scenario(service: Service) -> None:
        record = await desk.drawn(service, "theirs")
        good = link(service, record.result_keys[0], HERE)
        bad = good.replace("&sig=", change + "&sig=") if change == "&sig=x" else good + change
        with pytest.raises(InvalidRequest, match=r"imageUrl.*link"):
            await gather(service, "ours", [url(bad)], here=HERE)

    desk.run(tmp_path, scenario)


def test_what_is_discarded_is_gone_from_store_and_database(
    tmp_path: Path, desk: ModuleType
) -> None:
    async def scenario(service: Service) -> None:
        gathered = await gather(service, "ours", [data(b"PICTURE")])
        await discard(service, "ours", gathered.own)
        assert await service.store.file(gathered.own[0]) is None
        assert await service.pictures.keys(older_than=-1.0) == []

    desk.run(tmp_path, scenario)
