"""Every error code of the table comes out of a real server, each by a request of its own."""

from __future__ import annotations

import io
import json
import signal
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

import pytest
from PIL import Image

from linocut.server.problems import ALL_CODES, MEDIA_TYPE
from linocut.server.schemas import Problem

SETTINGS: Final = {
    "LINOCUT_MAX_BODY": "100000",
    "LINOCUT_MAX_UPLOAD": "90000",
    "LINOCUT_MAX_ATTEMPTS": "1",
    "LINOCUT_FETCH": "false",
    "LINOCUT_DRAIN_SECONDS": "5",
}
# What ends the drawing of a record, and is told by whoever asks for it; the fake worker has no
# checkpoint or check that could be damaged, so these are written where a worker's own would be.
OF_RECORDS: Final = (
    "internal", "checkpoint", "checkpoint_not_found", "checkpoint_invalid", "download_refused",
    "output", "service", "later", "check_failed",
)  # fmt: skip


def wish(prompt: str = "a red apple", **more: Any) -> dict[str, Any]:
    """A body that is drawn in a moment, but for what is in brackets."""
    form = {"prompt": prompt, "megapixels": "0.25", "num_inference_steps": 1} | more
    return {"type": "IMAGE_GENERATOR", "model": "linocut-mini", "promptObject": form}


@pytest.fixture(scope="module")
def server(lasting_server: Any) -> Any:
    """One for all codes that leave it as it was."""
    return lasting_server(**SETTINGS)


def draw(server: Any, body: Any = None, **more: Any) -> Any:
    """The answer to a call of the drawing route."""
    return server.client.post("/api/features", json=wish() if body is None else body, **more)


def with_key(server: Any, **about: Any) -> dict[str, str]:
    """The header of a key that is made for this."""
    return {"API-KEY": server.add_key(**about)}


def twice(server: Any, header: dict[str, str], prompt: str = "a red apple") -> Any:
    """The second of two answers."""
    draw(server, wish(prompt) | {"async": True}, headers=header)
    return draw(server, headers=header)


def mismatch(server: Any) -> Any:
    header = {"Idempotency-Key": uuid.uuid4().hex}
    draw(server, headers=header)
    return draw(server, wish("another apple"), headers=header)


def conflict(server: Any) -> Any:
    header = with_key(server)
    open_ = draw(server, SLOW | {"async": True}, headers=header).json()["aiRecord"]["uuid"]
    answer = server.client.delete(f"/api/records/{open_}", headers=header)
    server.client.post(f"/api/records/{open_}/cancel", headers=header)
    return answer


def queue_full(server: Any) -> Any:
    header = with_key(server, share=1)
    opened = [draw(server, SLOW | {"async": True}, headers=header) for _ in range(3)]
    for each in opened:
        if each.status_code == 200:
            at = f"/api/records/{each.json()['aiRecord']['uuid']}/cancel"
            server.client.post(at, headers=header)
    return opened[-1]


def quota_exceeded(server: Any) -> Any:
    header = with_key(server, quota_seconds=1e6)
    draw(server, headers=header)
    with closing(sqlite3.connect(server.folder / "linocut.db", timeout=30)) as database:
        database.execute("UPDATE usage SET used_ms = 1000000000")
        database.commit()
    return draw(server, headers=header)


def stored(code: str) -> Callable[[Any], Any]:
    """A record that ended so is asked for once more."""

    def ask(server: Any) -> Any:
        header = {"Idempotency-Key": uuid.uuid4().hex}
        name = draw(server, headers=header).json()["aiRecord"]["uuid"]
        error = {"code": code, "message": "as it was", "hint": "", "retry_after": 3}
        if code == "internal":
            error["code"] = "of-another-version"
        with closing(sqlite3.connect(server.folder / "linocut.db", timeout=30)) as database:
            database.execute(
                "UPDATE records SET state = 'FAILURE', error = ? WHERE id = ?",
                (json.dumps(error), name),
            )
            database.commit()
        return draw(server, headers=header)

    return ask


def without_a_place(server: Any) -> Any:
    """An upload while the folder of pictures is not there."""
    pictures = server.folder / "pictures"
    aside = pictures.rename(server.folder / "aside")
    pictures.write_bytes(b"")
    try:
        return upload(server, picture())
    finally:
        pictures.unlink()
        aside.rename(pictures)


def picture() -> bytes:
    """A PNG."""
    file = io.BytesIO()
    Image.new("L", (64, 64)).save(file, "png")
    return file.getvalue()


def upload(server: Any, data: bytes) -> Any:
    return server.client.post("/api/assets", files={"asset": ("a.png", data, "image/png")})


SLOW: Final = wish("[slow] apple", num_inference_steps=50)
REQUESTS: Final[dict[str, Callable[[Any], Any]]] = {
    **{code: stored(code) for code in OF_RECORDS},
    "invalid_request": lambda s: draw(s, wish(guidance=12)),
    "invalid_body": lambda s: s.client.post("/api/features", content=b"{"),
    "unsupported_model": lambda s: draw(s, wish() | {"model": "another"}),
    "invalid_picture": lambda s: upload(s, b"no picture"),
    "does_not_fit": lambda s: draw(s, wish("[oom] apple")),
    "content_moderated": lambda s: draw(s, wish("[refuse] apple")),
    "worker_failed": lambda s: draw(s, wish("[crash] apple")),
    "invalid_api_key": lambda s: draw(s, headers={"API-KEY": "none"}),
    "forbidden": lambda s: draw(s, headers=with_key(s, scopes=("read",))),
    "not_found": lambda s: s.client.get(f"/api/records/{uuid.uuid4()}"),
    "method_not_allowed": lambda s: s.client.put("/api/features"),
    "conflict": conflict,
    "idempotency_mismatch": mismatch,
    "payload_too_large": lambda s: draw(s, wish("a" * 200_000)),
    "unsupported_media_type": lambda s: s.client.post("/api/features", data={"a": "b"}),
    "rate_limited": lambda s: twice(s, with_key(s, rate=1)),
    "queue_full": queue_full,
    "quota_exceeded": quota_exceeded,
    "storage_unavailable": without_a_place,
}
LEAVING: Final = {"unavailable"}


def check(answer: Any, code: str) -> None:
    """The problem is whole, and is the one of the table."""
    assert answer.headers["content-type"] == MEDIA_TYPE, answer.text
    told = Problem.model_validate_json(answer.content)
    assert told.code == code, answer.text
    assert told.status == answer.status_code == ALL_CODES[code].status
    assert told.title == ALL_CODES[code].title
    assert ("retry-after" in answer.headers) == (answer.status_code in {429, 503} and waits(code))


def waits(code: str) -> bool:
    """Whether it helps to come again."""
    return not code.startswith(("checkpoint", "download"))


def test_no_code_is_left_out() -> None:
    assert set(REQUESTS) | LEAVING == set(ALL_CODES)


@pytest.mark.parametrize("code", REQUESTS)
def test_a_request_yields_it(server: Any, code: str) -> None:
    check(REQUESTS[code](server), code)
    server.wait_ready()


def test_a_server_that_leaves_takes_nothing_new(running_server: Any) -> None:
    server = running_server(LINOCUT_WORKER="fake --step-seconds=0.05")
    drawing = server.client.post(
        "/api/features", json=wish(num_inference_steps=50) | {"async": True}
    )
    name = drawing.json()["aiRecord"]["uuid"]
    server.wait_until(lambda: server.state(name) == "PROCESSING")
    server.process.send_signal(signal.SIGTERM)
    server.wait_until(lambda: "draining" in server.said)
    check(draw(server), "unavailable")
