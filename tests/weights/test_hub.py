"""What the hub, the network and the disk refuse is said in words, with the next command."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from linocut.errors import DownloadRefused
from linocut.weights.fetch import Event

NAME = "flux-2-dev"
Pull = Callable[..., Iterator[Event]]
Refuse = Callable[..., DownloadRefused]


def test_no_token_is_said_with_the_page_and_the_command(
    hub: Any, home: Path, refused: Refuse
) -> None:
    hub.gate = "gated"
    error = refused(token=None)
    assert "there is no Hugging Face token on this computer" in error.message
    assert f"{hub.url}/black-forest-labs/FLUX.2-dev" in error.hint
    assert "hf auth login" in error.hint
    assert not home.exists()


def test_a_licence_that_was_not_accepted_is_said_before_the_first_byte(
    hub: Any, home: Path, refused: Refuse
) -> None:
    hub.gate = "not accepted"
    error = refused()
    assert "has not accepted the licence of black-forest-labs/FLUX.2-dev" in error.message
    assert f"{hub.url}/black-forest-labs/FLUX.2-dev" in error.hint
    assert not home.exists()


def test_a_token_that_is_not_accepted_is_told_from_a_missing_licence(
    hub: Any, home: Path, refused: Refuse
) -> None:
    hub.gate = "gated"
    error = refused(token="hf_expired")  # noqa: S106
    assert "does not accept the token" in error.message
    assert "hf auth login" in error.hint
    assert not home.exists()


@pytest.mark.parametrize("token", ["", "hf good", "hf_göod", "hf_good\n", "hf\0"])
def test_a_token_that_is_none_is_not_sent(hub: Any, token: str, refused: Refuse) -> None:
    assert "token on this computer is none" in refused(token=token).message
    assert hub.requests == []


def test_the_token_is_sent_to_no_other_origin(hub: Any, pulled: Pull) -> None:
    # The storage of the test hub refuses requests that carry a token, so a whole pull is the proof.
    hub.gate = "gated"
    list(pulled())
    assert any(path.startswith("/storage/") for _, path, _ in hub.requests)


def test_an_absent_repository_and_revision_are_named(hub: Any, refused: Refuse) -> None:
    hub.revision = "0" * 40
    assert "has no revision 26afe3a7" in refused().message
    hub.repo = "somebody/else"
    assert "has no repository black-forest-labs/FLUX.2-dev" in refused().message


def test_no_network_is_said_in_words(hub: Any, refused: Refuse) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    hub.url = f"http://127.0.0.1:{port}"
    assert "cannot be reached" in refused().message


@pytest.mark.parametrize(
    "endpoint", ["nonsense", "ftp://nowhere", "http://[", "http://localhost:99999"]
)
def test_an_endpoint_that_is_none_is_refused(hub: Any, endpoint: str, refused: Refuse) -> None:
    hub.url = endpoint
    assert "cannot be reached" in refused().message


def test_offline_mode_is_respected_and_named(
    hub: Any, monkeypatch: pytest.MonkeyPatch, refused: Refuse
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refused().message
    assert hub.requests == []


@pytest.mark.parametrize(
    "page", [b"<html>please log in</html>", b"[]", b"{}", b'{"id": 1, "siblings": 3}']
)
def test_something_that_is_no_hub_is_recognised(hub: Any, page: bytes, refused: Refuse) -> None:
    hub.page = page
    assert "does not answer like a Hugging Face hub" in refused().message


@pytest.mark.parametrize(
    ("status", "words"), [(400, "answers 400"), (503, "answers 503"), (429, "too many requests")]
)
def test_a_hub_in_trouble_is_said_in_words(
    hub: Any, status: int, words: str, refused: Refuse
) -> None:
    hub.status = status
    assert words in refused().message


def test_a_home_that_cannot_be_written_is_said_in_words(home: Path, refused: Refuse) -> None:
    home.write_text("")
    assert "cannot be written" in refused().message


def test_a_full_disk_is_said_in_words_and_nothing_is_lost(
    hub: Any, home: Path, refused: Refuse
) -> None:
    shard = hub.first_shard
    part = home / NAME / f"{shard}.{hashlib.sha256(hub.files[shard]).hexdigest()[:12]}.part"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    error = refused()
    assert f"the disk of {home / NAME} is full" in error.message
    assert "LINOCUT_HOME" in error.hint
    assert (home / NAME / "model_index.json").is_file()
