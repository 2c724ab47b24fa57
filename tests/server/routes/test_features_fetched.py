"""`imageUrl` as an address: the server gets the picture from another site, where it may."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from types import ModuleType
from typing import Any

import httpx2
import pytest
from other_site import Site, other_site
from PIL import Image

from linocut.images.metadata import read_metadata

PATH = "/pictures/a%20cat.png?size=1"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Another site on loopback."""
    with other_site() as running:
        yield running


@pytest.fixture(scope="module")
def server(lasting_server: Any, site: Site) -> Any:
    """A server that may fetch from that site."""
    return lasting_server(LINOCUT_FETCH_ALLOW=f"127.0.0.1:{site.port}")


def pixels(file: bytes) -> tuple[tuple[int, int], bytes]:
    """What a picture shows: its size, and its levels of red, green and blue."""
    with Image.open(io.BytesIO(file)) as picture:
        return picture.size, picture.convert("RGB").tobytes()


def references(server: Any, uuid: str) -> list[bytes]:
    """The files that a record's worker was given as references."""
    with closing(sqlite3.connect(server.folder / "linocut.db")) as database:
        (plan,) = database.execute("SELECT plan FROM records WHERE id = ?", (uuid,)).fetchone()
    keys = json.loads(plan)["reference_keys"]
    return [(server.folder / "pictures" / key).read_bytes() for key in keys]


@pytest.mark.parametrize("feature", ["IMAGE_GENERATOR", "IMAGE_EDITOR"])
def test_a_picture_of_another_site_is_fetched_once_and_drawn_from(
    server: Any, site: Site, desk: ModuleType, feature: str
) -> None:
    there = desk.picture(160, 96)
    site.files[PATH] = ("image/png", there)
    site.asked.clear()
    body = desk.call(imageUrl=site.url(PATH)) | {"type": feature}
    answer = server.client.post("/api/features", json=body)
    assert answer.status_code == 200, answer.text
    record = answer.json()["aiRecord"]
    assert (record["status"], record["type"]) == ("SUCCESS", feature)
    assert record["aiRecordDetail"]["promptObject"]["imageUrl"] == site.url(PATH)
    assert site.asked == [PATH]
    assert [pixels(file) for file in references(server, record["uuid"])] == [pixels(there)]
    told = read_metadata(httpx2.get(record["temporaryUrl"]).content)
    assert told is not None
    assert told.references == 1


@pytest.mark.parametrize("feature", ["IMAGE_GENERATOR", "IMAGE_EDITOR"])
def test_a_server_that_was_not_told_of_the_site_does_not_ask_it(
    shared_server: Any, site: Site, desk: ModuleType, feature: str
) -> None:
    site.files[PATH] = ("image/png", desk.picture())
    site.asked.clear()
    body = desk.call(imageUrl=site.url(PATH)) | {"type": feature}
    answer = shared_server.client.post("/api/features", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_picture")
    assert answer.json()["errors"][0]["pointer"] == "#/promptObject/imageUrl"
    assert site.asked == []
