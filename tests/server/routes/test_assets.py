"""Uploads: the documented shape, pictures made anew, and everything else refused in words."""

from __future__ import annotations

import io
from datetime import datetime
from types import ModuleType
from typing import Any

import httpx2
import pytest
from PIL import Image

from linocut.server.routes.assets import plain_name
from linocut.server.schemas import AssetAnswer

DOCUMENTED = {
    "fieldname", "originalname", "encoding", "mimetype", "size", "bucket", "key", "acl",
    "contentType", "contentDisposition", "contentEncoding", "storageClass", "serverSideEncryption",
    "metadata", "location", "etag",
}  # fmt: skip


def upload(
    server: Any, data: bytes, name: str = "cat.png", field: str = "asset"
) -> httpx2.Response:
    """The answer to an upload."""
    answer: httpx2.Response = server.client.post("/api/assets", files={field: (name, data)})
    return answer


def test_an_upload_has_the_documented_shape(shared_server: Any, desk: ModuleType) -> None:
    answer = upload(shared_server, desk.picture(), "my cat.png")
    assert answer.status_code == 200
    asset, content = answer.json()["asset"], answer.json()["fileContent"]
    assert set(asset) == DOCUMENTED
    assert (asset["fieldname"], asset["originalname"]) == ("asset", "my cat.png")
    assert asset["key"] == content["path"]
    assert asset["key"].endswith("_my_cat.png")
    assert (content["type"], content["name"], content["status"]) == ("png", "my cat.png", "ACTIVE")
    file = httpx2.get(asset["location"])
    assert (file.headers["content-type"], file.headers["etag"]) == ("image/png", asset["etag"])
    assert len(file.content) == asset["size"]


@pytest.mark.parametrize(("days", "kept"), [("2", pytest.approx(172_800, abs=0.1)), ("0", None)])
def test_an_upload_tells_how_long_it_is_kept_unused(
    running_server: Any, desk: ModuleType, days: str, kept: Any
) -> None:
    server = running_server(LINOCUT_RETENTION_DAYS=days, ready=False)
    answer = upload(server, desk.picture())
    told = AssetAnswer.model_validate_json(answer.content)
    made, until = told.fileContent.createdAt, told.asset.metadata.kept_until
    left = until and datetime.fromisoformat(until) - datetime.fromisoformat(made)
    assert (left and left.total_seconds()) == kept


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_a_picture_is_stored_upright_and_bare(
    shared_server: Any, desk: ModuleType, kind: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010E] = "a secret"
    sent = desk.picture(120, 80, kind, exif=exif)
    assert b"a secret" in sent
    file = httpx2.get(upload(shared_server, sent, f"a.{kind}").json()["asset"]["location"])
    assert b"a secret" not in file.content
    with Image.open(io.BytesIO(file.content)) as picture:
        assert picture.size == (80, 120)


def test_the_name_may_be_missing_or_without_an_end(shared_server: Any, desk: ModuleType) -> None:
    for name in ("cat", "…", ".png"):
        answer = upload(shared_server, desk.picture(), name)
        assert answer.status_code == 200, answer.text
        assert answer.json()["fileContent"]["path"].endswith(".png")


def test_an_upload_is_deleted_by_its_owner_alone(shared_server: Any, desk: ModuleType) -> None:
    uploaded = upload(shared_server, desk.picture()).json()["asset"]
    at = f"/api/assets/{uploaded['key']}"
    for key, status in (
        ({"API-KEY": shared_server.add_key()}, 404),
        ({"API-KEY": shared_server.add_key(scopes=("read",))}, 403),
        ({"API-KEY": ""}, 401),
    ):
        assert shared_server.client.delete(at, headers=key).status_code == status
    assert httpx2.get(uploaded["location"]).status_code == 200
    gone = shared_server.client.delete(at)
    assert (gone.status_code, gone.content) == (204, b"")
    assert httpx2.get(uploaded["location"]).status_code == 404
    assert shared_server.client.delete(at).status_code == 404
    refused = shared_server.client.post("/api/features", json=desk.call(imageUrl=uploaded["key"]))
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "key", ["images/nothing.png", "..%2F..%2Fetc%2Fpasswd", "a%00b", "%ff", "é"]
)
def test_what_is_no_upload_cannot_be_deleted(shared_server: Any, key: str) -> None:
    answer = shared_server.client.delete(f"/api/assets/{key}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_drawn_picture_goes_with_its_record_only(shared_server: Any, desk: ModuleType) -> None:
    record = shared_server.client.post("/api/features", json=desk.call()).json()["aiRecord"]
    (key,) = record["aiRecordDetail"]["resultObject"]
    refused = shared_server.client.delete(f"/api/assets/{key}")
    assert refused.status_code == 404
    assert "DELETE /api/records/{uuid}" in refused.json()["hint"]
    assert httpx2.get(record["temporaryUrl"]).status_code == 200


def test_what_is_no_picture_is_refused(shared_server: Any) -> None:
    answer = upload(shared_server, b"GIF89a and so on")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_picture")


def test_a_field_of_another_name_is_refused(shared_server: Any, desk: ModuleType) -> None:
    answer = upload(shared_server, desk.picture(), field="file")
    assert answer.status_code == 400
    assert "asset" in answer.json()["message"]


def test_a_text_in_the_field_is_refused(shared_server: Any) -> None:
    answer = shared_server.client.post(
        "/api/assets", data={"asset": "x"}, files={"other": ("a", b"b")}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_a_body_of_another_type_is_refused(shared_server: Any, desk: ModuleType) -> None:
    answer = shared_server.client.post(
        "/api/assets", content=desk.picture(), headers={"Content-Type": "image/png"}
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_form_that_is_broken_is_refused(shared_server: Any, kind: str) -> None:
    answer = shared_server.client.post(
        "/api/assets", content=b"--y\r\n\r\n", headers={"Content-Type": kind}
    )
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_picture_over_the_limit_is_refused(running_server: Any, desk: ModuleType) -> None:
    server = running_server(LINOCUT_MAX_UPLOAD="2000", ready=False)
    small = upload(server, desk.picture(64, 64, "jpeg", quality=1))
    assert small.status_code == 200, small.text
    large = upload(server, desk.picture(64, 64, "jpeg", quality=1) + b"\0" * 2000)
    assert (large.status_code, large.json()["code"]) == (413, "payload_too_large")


def test_who_has_no_key_uploads_nothing(shared_server: Any, desk: ModuleType) -> None:
    files = {"asset": ("a.png", desk.picture())}
    answer = httpx2.post(f"{shared_server.url}/api/assets", files=files)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("cat.png", "cat.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\pictures\\cat.png", "cat.png"),
        ("a\x00b\x1b[31m\u202ec.png", "ab[31mc.png"),
        ("cờ  vua.jpg", "cờ vua.jpg"),
        ("..", ""),
        ("/", ""),
        ("a" * 300, "a" * 200),
    ],
)
def test_a_name_is_kept_as_far_as_people_can_read_it(sent: str, kept: str) -> None:
    assert plain_name(sent) == kept
