"""The environment as the command line reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from linocut.cli import settings
from linocut.errors import InvalidRequest


def test_the_home_is_named_or_the_usual_one() -> None:
    assert settings.home({"LINOCUT_HOME": "/data"}) == Path("/data")
    assert settings.home({}) == Path("~/.cache/linocut").expanduser()


def test_a_home_below_nobody_s_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="there is no such home folder") as caught:
        settings.home({"LINOCUT_HOME": "~nosuchuser/x"})
    assert caught.value.field == "LINOCUT_HOME"


@pytest.mark.parametrize(
    ("where", "environ", "flags"),
    [
        ("LINOCUT_DATA_DIR", {"LINOCUT_DATA_DIR": "~nosuchuser/x"}, {}),
        ("--data-dir", {}, {"data_dir": Path("~nosuchuser/x")}),
    ],
)
def test_a_data_folder_below_nobody_s_home_is_refused(
    where: str, environ: dict[str, str], flags: dict[str, Path]
) -> None:
    with pytest.raises(InvalidRequest, match="there is no such home folder") as caught:
        settings.in_force(environ, flags)
    assert caught.value.field == where


@pytest.mark.parametrize(
    ("said", "kept"),
    [(None, True), ("", True), ("true", True), ("1", True), ("False", False), (" no ", False)],
)
def test_the_prompt_is_kept_unless_it_is_told_otherwise(said: str | None, kept: bool) -> None:
    environ = {} if said is None else {"LINOCUT_EMBED_PROMPT": said}
    assert settings.embed_prompt(environ) is kept


def test_a_word_that_is_neither_yes_nor_no_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="use true or false"):
        settings.embed_prompt({"LINOCUT_EMBED_PROMPT": "maybe"})


def test_checks_are_ours_unless_others_are_named() -> None:
    assert settings.checks({}, "prompt") == ("terms",)
    assert settings.checks({"LINOCUT_PICTURE_CHECKS": " "}, "picture") == ("opennsfw",)
    said = {"LINOCUT_PROMPT_CHECKS": "terms, my_checks:Names  other:Words"}
    assert settings.checks(said, "prompt") == ("terms", "my_checks:Names", "other:Words")
    assert settings.checks(said, "picture") == ("opennsfw",)
    assert settings.checks({"LINOCUT_PROMPT_CHECKS": ","}, "prompt") == ()


def test_what_a_server_reads_from_a_file_is_read_from_it_here_too(tmp_path: Path) -> None:
    file = tmp_path / "said"
    file.write_text("terms, my_checks:Names\n")
    assert settings.checks({"LINOCUT_PROMPT_CHECKS_FILE": str(file)}, "prompt") == (
        "terms",
        "my_checks:Names",
    )
    file.write_text("false\n")
    assert settings.embed_prompt({"LINOCUT_EMBED_PROMPT_FILE": str(file)}) is False
    file.write_text("perhaps")
    with pytest.raises(InvalidRequest, match=r"EMBED_PROMPT_FILE='perhaps': use true or false"):
        settings.embed_prompt({"LINOCUT_EMBED_PROMPT_FILE": str(file)})
    file.write_text("")
    assert settings.checks({"LINOCUT_PROMPT_CHECKS_FILE": str(file)}, "prompt") == ()
    with pytest.raises(InvalidRequest, match="are both set"):
        settings.checks(
            {"LINOCUT_PROMPT_CHECKS": "terms", "LINOCUT_PROMPT_CHECKS_FILE": str(file)}, "prompt"
        )
    with pytest.raises(InvalidRequest, match=r"PICTURE_CHECKS_FILE=.*No such file"):
        settings.checks({"LINOCUT_PICTURE_CHECKS_FILE": str(tmp_path / "none")}, "picture")


@pytest.mark.parametrize(("said", "on"), [("", False), ("0", False), ("1", True), ("all", True)])
def test_debugging_is_switched_on_by_anything_but_no(said: str, on: bool) -> None:
    assert settings.debug({"LINOCUT_DEBUG": said}) is on
    assert settings.debug({}) is False


def test_the_hub_is_the_public_one_unless_named() -> None:
    assert settings.endpoint({}) is None
    assert settings.endpoint({"HF_ENDPOINT": "http://127.0.0.1:1"}) == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    "said",
    ["http://127.0.0.1:99999", "http://[::1", "http://x:abc", "huggingface.co", "http://", "http://:80",
     "ftp://x", "http://a b", "http://x\ny"],
)  # fmt: skip
def test_a_hub_at_no_address_is_refused(said: str) -> None:
    with pytest.raises(InvalidRequest, match=r"HF_ENDPOINT=.*use an address like") as caught:
        settings.endpoint({"HF_ENDPOINT": said})
    assert caught.value.field == "HF_ENDPOINT"


def test_the_token_is_the_environment_s_before_the_kept_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "kept")
    assert settings.token({"HF_TOKEN": "said"}) == "said"
    assert settings.token({"HF_TOKEN": " "}) == "kept"
    assert settings.token({}) == "kept"
