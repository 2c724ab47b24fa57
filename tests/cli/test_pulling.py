"""A download as a person sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linocut.cli.pulling import follow
from linocut.errors import DownloadRefused
from linocut.weights import fetch

FOLDER = Path("/home/of/flux-2-dev")
EVENTS = (
    fetch.Licence("A licence", "first line\nsecond line"),
    fetch.Planned(FOLDER, 21, 64_000_000_000, 4_000_000_000),
    fetch.Progress("transformer/a.safetensors", 5, 10, 4_000_000_005),
    fetch.Checking("transformer/a.safetensors"),
    fetch.Again("transformer/b.safetensors", "the connection ended early"),
)


def told(*events: fetch.Event, asked: dict[str, Any] | None = None) -> Any:
    """A `fetch.pull` that tells these events."""

    def pull(name: str, **options: Any) -> Iterator[fetch.Event]:
        if asked is not None:
            asked.update(options, name=name)
        yield from events

    return pull


def test_the_folder_comes_back_and_the_rest_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(fetch, "pull", told(*EVENTS, fetch.Pulled(FOLDER), asked=asked))
    found = follow("flux-2-dev", home=Path("/home/of"), token="hf_x", endpoint=None)  # noqa: S106
    assert found == FOLDER
    assert asked == {
        "name": "flux-2-dev", "home": Path("/home/of"), "token": "hf_x",
        "endpoint": fetch.ENDPOINT, "with_safety_model": False,
    }  # fmt: skip
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "first line",
        "second line",
        f"60.0 GB of 64.0 GB, 21 files in all, to be fetched into {FOLDER}",
        "warning: transformer/b.safetensors: the connection ended early; trying again",
    ]
    assert "hf_x" not in err


def test_another_hub_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(fetch, "pull", told(fetch.Pulled(FOLDER), asked=asked))
    follow("x", home=Path(), token=None, endpoint="http://127.0.0.1:9", with_safety_model=True)
    assert asked["endpoint"] == "http://127.0.0.1:9"
    assert asked["with_safety_model"] is True


def test_a_refusal_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> Iterator[fetch.Event]:
        yield EVENTS[1]
        raise DownloadRefused("the disk is too small")

    monkeypatch.setattr(fetch, "pull", refused)
    with pytest.raises(DownloadRefused, match="too small"):
        follow("x", home=Path(), token=None, endpoint=None)


def test_on_a_terminal_the_bar_follows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes it for a terminal
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(fetch, "pull", told(*EVENTS, fetch.Pulled(FOLDER)))
    follow("flux-2-dev", home=Path(), token=None, endpoint=None)
    assert "64.0 GB" in capsys.readouterr().err
