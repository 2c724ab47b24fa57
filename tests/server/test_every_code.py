"""Every error code of the table comes out of a real server, each by a request of its own.

The trouble is a real one wherever there is any that ends so. No part of a server raises the codes
of `FROM_ELSEWHERE`: those are met by commands (tests/cli/test_every_code.py), or by nobody.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image

import linocut
from linocut.errors import kinds
from linocut.server.problems import ALL_CODES, MEDIA_TYPE
from linocut.server.schemas import Problem

SETTINGS: Final = {
    "LINOCUT_MAX_BODY": "100000",
    "LINOCUT_MAX_UPLOAD": "90000",
    "LINOCUT_MAX_ATTEMPTS": "1",
    "LINOCUT_FETCH": "false",
    "LINOCUT_DRAIN_SECONDS": "5",
}
# Branches of the tree: to be caught by, and raised by nobody.
BRANCHES: Final = ("checkpoint", "service", "later")
# A record may have them all the same, from a server of another version on the same database; they
# are written where that one would have written them.
# The fake worker has no check that could fail either; test_plugged and test_child_checks have.
FROM_ELSEWHERE: Final = (
    *BRANCHES, "checkpoint_not_found", "download_refused", "output", "check_failed",
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
    opened = [draw(server, SLOW | {"async": True}, headers=header)]
    # Three would do, if none ended in the meantime.
    while opened[-1].status_code == 200 and len(opened) < 20:
        opened.append(draw(server, SLOW | {"async": True}, headers=header))
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


def damaged(server: Any) -> Any:
    """A record of which the disk has lost a piece is asked for."""
    name = draw(server).json()["aiRecord"]["uuid"]
    with closing(sqlite3.connect(server.folder / "linocut.db", timeout=30)) as database:
        lost = "UPDATE records SET plan = substr(plan, 1, length(plan) / 2) WHERE id = ?"
        database.execute(lost, (name,))
        database.commit()
    try:  # the line it came by ends with what nobody expected
        return server.client.get(f"/api/records/{name}", headers={"Connection": "close"})
    finally:
        with closing(sqlite3.connect(server.folder / "linocut.db", timeout=30)) as database:
            database.execute("DELETE FROM records WHERE id = ?", (name,))
            database.commit()


def stored(code: str) -> Callable[[Any], Any]:
    """A record that ended so is asked for once more."""

    def ask(server: Any) -> Any:
        header = {"Idempotency-Key": uuid.uuid4().hex}
        name = draw(server, headers=header).json()["aiRecord"]["uuid"]
        error = {"code": code, "message": "as it was", "hint": "", "retry_after": 3}
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
    **{code: stored(code) for code in FROM_ELSEWHERE},
    "internal": damaged,
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
OF_ANOTHER_SERVER: Final = {"unavailable", "checkpoint_invalid"}


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
    assert set(REQUESTS) | OF_ANOTHER_SERVER == set(ALL_CODES)


def test_no_part_of_the_program_raises_the_name_of_a_branch() -> None:
    branches = "|".join(kinds()[code].__name__ for code in BRANCHES)
    made = re.compile(rf"\b(?:{branches})\(")
    sources = [path for path in Path(linocut.__file__).parent.rglob("*.py")
               if path.name != "errors.py"]  # fmt: skip
    assert len(sources) > 100
    assert [path for path in sources if made.search(path.read_text(encoding="utf-8"))] == []


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


@pytest.fixture
def treacherous(tiny_folder: Path, tmp_path: Path) -> Path:
    """A checkpoint that loads and draws, and whose chat template breaks at one word."""
    folder = shutil.copytree(tiny_folder, tmp_path / "treacherous")
    trap = "{% if 'pear' in messages[1]['content'][0]['text'] %}{{ 1 / 0 }}{% endif %}"
    settings = folder / "tokenizer" / "tokenizer_config.json"
    said = json.loads(settings.read_text(encoding="utf-8"))
    separate = folder / "tokenizer" / "chat_template.jinja"
    if separate.exists():
        separate.write_text(trap + separate.read_text(encoding="utf-8"), encoding="utf-8")
    else:
        said["chat_template"] = trap + said["chat_template"]
        settings.write_text(json.dumps(said), encoding="utf-8")
    return folder


def test_a_checkpoint_that_breaks_while_it_draws_says_so(
    running_server: Any, treacherous: Path
) -> None:
    server = running_server(LINOCUT_WORKER="engine", LINOCUT_CHECKPOINT=str(treacherous))
    for _ in range(2):  # the worker outlives it
        check(draw(server, wish("a green pear")), "checkpoint_invalid")
    assert "worker lost" not in server.said
