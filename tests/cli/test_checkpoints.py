"""`linocut ls` and `linocut pull`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linocut.catalog import CHECKPOINTS
from linocut.errors import DownloadRefused

Run = Callable[..., Any]


def test_every_known_name_has_a_line(linocut: Run) -> None:
    done = linocut("ls")
    assert done.code == 0
    first_words = [line.split()[0] for line in done.lines if not line.startswith(" ")]
    assert first_words == list(CHECKPOINTS)
    dev = next(line for line in done.lines if line.startswith("flux-2-dev"))
    assert "not here" in dev


def test_json_says_where_and_whether_it_can_be_used(
    linocut: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINOCUT_HOME", str(tmp_path / "weights"))
    (tmp_path / "weights" / "flux-2-dev").mkdir(parents=True)
    done = linocut("ls", "--json")
    values = json.loads(done.out)
    assert values["home"] == str(tmp_path / "weights")
    dev = next(one for one in values["checkpoints"] if one["name"] == "flux-2-dev")
    assert dev["folder"] == str(tmp_path / "weights" / "flux-2-dev")
    assert dev["usable"] is False
    assert "is no checkpoint" in dev["problem"]


def test_pull_prints_the_folder(linocut: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def follow(name: str, **options: Any) -> Path:
        asked.update(options, name=name)
        return Path("/data/flux-2-dev")

    monkeypatch.setattr("linocut.cli.pulling.follow", follow)
    monkeypatch.setenv("LINOCUT_HOME", "/data")
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    done = linocut("pull", "flux-2-dev")
    assert (done.code, done.lines) == (0, ["/data/flux-2-dev"])
    assert asked == {
        "name": "flux-2-dev", "home": Path("/data"), "token": "hf_x",
        "endpoint": "http://127.0.0.1:9", "with_safety_model": False,
    }  # fmt: skip
    assert linocut("pull", "flux-2-dev", "--with-safety-model").code == 0
    assert asked["with_safety_model"] is True


def test_an_unknown_name_is_two_lines(linocut: Run) -> None:
    done = linocut("pull", "flux-9")
    assert (done.code, done.out) == (4, b"")
    assert done.err.startswith("error: 'flux-9' is no checkpoint that linocut knows\nhint: ")


def test_a_refusal_is_two_lines_and_its_code(linocut: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> Path:
        raise DownloadRefused("the licence was not accepted", hint="accept it")

    monkeypatch.setattr("linocut.cli.pulling.follow", refused)
    done = linocut("pull", "flux-2-dev")
    assert (done.code, done.err) == (5, "error: the licence was not accepted\nhint: accept it\n")


def test_a_stopped_pull_says_that_it_goes_on(linocut: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr("linocut.cli.pulling.follow", stopped)
    done = linocut("pull", "flux-2-dev")
    assert (done.code, done.out) == (130, b"")
    assert "linocut pull flux-2-dev goes on from there" in done.err
    done = linocut("pull", "flux-2-dev", "--with-safety-model")
    assert "linocut pull flux-2-dev --with-safety-model goes on from there" in done.err
