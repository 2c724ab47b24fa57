"""Secrets are made once, readable by their owner alone, and never shown."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from linocut.images.signing import Signer
from linocut.server.secrets import SecretsUnreadable, open_secrets

FILE = "secrets.json"


def test_they_are_made_at_the_first_start_and_stay(tmp_path: Path) -> None:
    made = open_secrets(tmp_path)
    assert open_secrets(tmp_path) == made
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_two_folders_have_nothing_in_common(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = open_secrets(tmp_path / "a"), open_secrets(tmp_path / "b")
    assert one.pepper != other.pepper
    assert one.cursor != other.cursor
    assert one.webhook != other.webhook
    assert set(one.links.values()).isdisjoint(other.links.values())


def test_only_the_owner_may_read_them(tmp_path: Path) -> None:
    open_secrets(tmp_path)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    open_secrets(tmp_path)
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(SecretsUnreadable, match="can be read by other users"):
        open_secrets(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[]", "{", '{"pepper": 1}'])
def test_a_damaged_file_is_said_and_not_replaced(tmp_path: Path, content: str) -> None:
    open_secrets(tmp_path)
    (tmp_path / FILE).write_text(content, encoding="ascii")
    with pytest.raises(SecretsUnreadable, match="is damaged"):
        open_secrets(tmp_path)
    assert (tmp_path / FILE).read_text(encoding="ascii") == content


def test_a_key_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    open_secrets(tmp_path)
    found = json.loads((tmp_path / FILE).read_text(encoding="ascii"))
    (tmp_path / FILE).write_text(json.dumps(found | {"pepper": "00"}), encoding="ascii")
    with pytest.raises(SecretsUnreadable, match="is damaged"):
        open_secrets(tmp_path)


def test_servers_that_start_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(open_secrets, [tmp_path] * 8))
    assert made == [made[0]] * 8


def test_they_fit_what_they_are_for(tmp_path: Path) -> None:
    made = open_secrets(tmp_path)
    assert Signer(made.links, made.link).sign("a.png", now=0, seconds=60)
    assert made.webhook.startswith("whsec_")
    Webhook(made.webhook)


def test_they_do_not_show_themselves(tmp_path: Path) -> None:
    made = open_secrets(tmp_path)
    assert repr(made) == str(made) == "Secrets(…)"
