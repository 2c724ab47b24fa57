"""A server that draws with the demo checkpoint, as people meet it on the first day: over HTTP."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import numpy as np
import pytest
from contract_page import RUNNERS, printed
from PIL import Image

from linocut.images.metadata import Metadata, read_metadata

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "LINOCUT_WORKER": "engine",
    "LINOCUT_DEVICE": "cpu",
    "LINOCUT_THREADS": "1",  # a model this small gains nothing from more
    "LINOCUT_PROMPT_CHECKS": "terms,my_checks:Names,broken:Broken",
    "LINOCUT_PICTURE_CHECKS": "opennsfw,my_checks:Blank",
}
BROKEN = """
class Broken:
    def check(self, text):
        if "broken" in text: raise ValueError(text)
"""


@pytest.fixture(scope="module")
def server(lasting_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The real worker's server, with the checks that docs/safety.md shows, and one that fails."""
    folder = tmp_path_factory.mktemp("checks")
    page = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
    (module,) = re.findall(r"(?ms)^```python\n(.*^class Blank.*?)^```$", page)
    (folder / "my_checks.py").write_text(module, encoding="utf-8")
    (folder / "broken.py").write_text(BROKEN, encoding="utf-8")
    path = os.pathsep.join((str(ROOT / "src"), str(folder)))
    return lasting_server(**SETTINGS, PYTHONPATH=path)


def linked(record: dict[str, Any]) -> bytes:
    """The picture that a record's link leads to, without a key."""
    answer = httpx2.get(record["temporaryUrl"])
    assert answer.status_code == 200
    return answer.content


def levels(file: bytes, size: tuple[int, int] | None = None) -> np.ndarray:
    """Red, green and blue of a picture, at its own size or at another."""
    with Image.open(io.BytesIO(file)) as picture:
        shown = picture.convert("RGB")
        return np.asarray(shown.resize(size) if size else shown, dtype=np.float64)


def is_blank(file: bytes) -> bool:
    """Whether a picture is nothing but areas of a few colours."""
    shown = levels(file)
    return bool(shown.std() < 8 or len(np.unique(shown.reshape(-1, 3), axis=0)) < 1000)


def drawn_by_the_demo(record: dict[str, Any], file: bytes) -> Metadata:
    """What the file says of itself, which is what its record says: the demo checkpoint drew it."""
    said, told = record["metadata"], read_metadata(file)
    assert told is not None
    assert said["checkpoint"] == told.checkpoint == "linocut-mini"
    assert said["demo"] is told.demo is True
    assert said["seed"] == told.seed
    assert (said["drawn_width"], said["drawn_height"]) == (told.drawn_width, told.drawn_height)
    assert said["safety"]["checked"] is True
    assert any("demo checkpoint" in text for text in said["warnings"])
    return told


@pytest.mark.parametrize("name", ["curl.txt", "javascript.txt", "python.txt"])
def test_the_contract_s_example_is_drawn(server: Any, name: str) -> None:
    status, body = RUNNERS[name](printed(name, server))
    assert status == 200, body
    record = body["aiRecord"]
    assert record["status"] == "SUCCESS"
    file = linked(record)
    with Image.open(io.BytesIO(file)) as picture:
        assert (picture.format, picture.size) == ("WEBP", (896, 1088))
    told = drawn_by_the_demo(record, file)
    assert told.prompt == record["aiRecordDetail"]["promptObject"]["prompt"]
    assert (told.num_inference_steps, told.guidance, told.references) == (28, 3.5, 0)
    assert told.drawn_width < told.width == 896
    assert not is_blank(file)


@pytest.mark.parametrize("said", [{}, {"go_fast": False}, {"go_fast": True}])
def test_the_fast_mode_draws_what_permits_it_and_nothing_else(
    server: Any, desk: ModuleType, said: dict[str, bool]
) -> None:
    (worker, *_) = server.client.get("/readyz").json()["workers"]
    assert worker["modes"] == ["exact", "bf16"]
    assert worker["fast_mode"] in (None, "bf16")  # which is true depends on the processor
    mode = (said.get("go_fast") and worker["fast_mode"]) or "exact"
    body = desk.call(num_inference_steps=2, seed=1, **said)
    answer = server.client.post("/api/features", json=body)
    assert answer.status_code == 200, answer.text
    uuid = answer.json()["aiRecord"]["uuid"]
    record = server.client.get(f"/api/records/{uuid}").json()["aiRecord"]
    assert record["metadata"]["mode"] == mode
    assert drawn_by_the_demo(record, linked(record)).mode == mode


def uploaded(server: Any, picture: bytes) -> str:
    """The key of a picture that was sent before."""
    answer = server.client.post("/api/assets", files={"asset": ("a.png", picture)})
    return str(answer.json()["fileContent"]["path"])


def editing(desk: ModuleType, **fields: Any) -> dict[str, Any]:
    """A body for the editor."""
    return dict(desk.call(**fields) | {"type": "IMAGE_EDITOR"})


def test_an_upload_is_edited(server: Any, desk: ModuleType) -> None:
    sent, far = desk.picture(160, 96), []
    key = uploaded(server, sent)
    for said in ({"prompt_strength": 0}, {}):  # 0 gives image 1 back: so small can the distance be
        body = editing(desk, imageUrl=key, seed=1, **said)
        answer = server.client.post("/api/features", json=body)
        assert answer.status_code == 200, answer.text
        record = answer.json()["aiRecord"]
        file = linked(record)
        assert drawn_by_the_demo(record, file).references == 1
        far.append(np.abs(levels(file, (160, 96)) - levels(sent)).mean())
    assert far[0] < 8, far
    assert far[1] > 24, far


@pytest.mark.parametrize(
    ("prompt", "category"), [("a swastika flag", "hate"), ("the sign of ACME", "names")]
)
def test_a_prompt_that_the_safety_check_refuses_is_not_drawn(
    server: Any, desk: ModuleType, prompt: str, category: str
) -> None:
    def pictures() -> set[str]:
        return {str(path) for path in (server.folder / "pictures").rglob("*") if path.is_file()}

    before = pictures()
    answer = server.client.post("/api/features", json=desk.call(prompt))
    assert answer.status_code == 400, answer.text
    problem = answer.json()
    assert problem["code"] == "content_moderated"
    assert problem["context"] == {"stage": "input", "category": category}
    record = server.client.get(f"/api/results/{problem['uuid']}").json()["aiRecord"]
    assert (record["status"], record["temporaryUrl"]) == ("FAILURE", None)
    assert record["aiRecordDetail"]["resultObject"] == []
    assert record["metadata"]["error"]["code"] == "content_moderated"
    assert pictures() == before


def test_a_reference_that_the_operator_s_own_check_refuses_is_not_drawn_from(server: Any) -> None:
    file = io.BytesIO()
    Image.new("RGB", (96, 64), "navy").save(file, "PNG")
    answer = server.client.post("/api/assets", files={"asset": ("a.png", file.getvalue())})
    body = {"type": "IMAGE_EDITOR", "model": "linocut-mini", "promptObject": {
        "prompt": "a red apple", "imageUrl": answer.json()["fileContent"]["path"],
    }}  # fmt: skip
    answer = server.client.post("/api/features", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["context"] == {"stage": "input", "category": "blank"}


def test_a_check_that_fails_shows_nothing_and_quotes_no_prompt(
    server: Any, desk: ModuleType
) -> None:
    answer = server.client.post("/api/features", json=desk.call("a broken teacup"))
    assert (answer.status_code, answer.json()["code"]) == (500, "check_failed"), answer.text
    why = "the prompt check broken:Broken failed: ValueError (broken.py, line 4)"
    assert answer.json()["detail"] == why
    record = server.client.get(f"/api/results/{answer.json()['uuid']}").json()["aiRecord"]
    assert (record["status"], record["temporaryUrl"]) == ("FAILURE", None)
    assert f"worker-0: {why}" in server.said
    assert "teacup" not in server.said


def test_a_stream_shows_previews_until_the_picture_is_there(server: Any, desk: ModuleType) -> None:
    keys = [uploaded(server, desk.picture(256, side)) for side in (256, 272, 288, 304)]
    # Previews come a second apart: fewer steps, or those without references, may be over by then.
    fields = {"imageUrl": keys[0], "additional_images": keys[1:], "prompt_strength": 1, "seed": 1}
    body = editing(desk, **fields, num_inference_steps=50)
    answer = server.client.post("/api/features?isStreaming=true", json=body)
    events = desk.parsed(answer.content)
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[-1]) == ("queued", "completed")
    assert events[kinds.index("started")]["data"]["checkpoint"] == "linocut-mini"
    previews = [event["data"] for event in events if event["event"] == "preview"]
    assert previews
    for preview in previews:
        kind, _, text = preview["image"].partition(";base64,")
        small = base64.b64decode(text, validate=True)
        assert kind == "data:image/webp"
        assert levels(small).shape == (preview["height"], preview["width"], 3)
        assert not is_blank(small)
    record = events[-1]["data"]["aiRecord"]
    file = linked(record)
    assert drawn_by_the_demo(record, file).references == 4
    assert not is_blank(file)
