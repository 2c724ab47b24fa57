"""Settings as they are said: flags, variables, files; and docs/settings.md, which lists them."""

from __future__ import annotations

from pathlib import Path

import pytest

from linocut.cli import settings as cli
from linocut.errors import InvalidRequest
from linocut.server.environment import read_settings, table, variable
from linocut.server.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_a_variable_is_a_setting() -> None:
    found = read_settings({"LINOCUT_PORT": " 9000 ", "LINOCUT_AUTH": "off", "PATH": "/bin"})
    assert (found.settings.port, found.settings.auth) == (9000, False)
    assert found.sources["port"] == "LINOCUT_PORT"
    assert found.sources["host"] == "default"


def test_an_empty_variable_says_nothing() -> None:
    assert read_settings({"LINOCUT_PORT": " "}).settings.port == 8000


def test_a_flag_counts_more_than_a_variable() -> None:
    found = read_settings({"LINOCUT_PORT": "1"}, {"port": 2, "host": None})
    assert found.settings.port == 2
    assert found.sources["port"] == "--port"


def test_a_file_s_content_is_a_value(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("hush\n", encoding="utf-8")
    found = read_settings({"LINOCUT_METRICS_TOKEN_FILE": str(secret)})
    assert found.settings.metrics_token.get_secret_value() == "hush"
    assert found.sources["metrics_token"] == "LINOCUT_METRICS_TOKEN_FILE"  # noqa: S105


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"LINOCUT_PORT_FILE.*No such file"):
        read_settings({"LINOCUT_PORT_FILE": str(tmp_path / "none")})


def test_a_value_and_a_file_at_once_are_refused(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("1", encoding="utf-8")
    with pytest.raises(InvalidRequest, match="are both set"):
        read_settings({"LINOCUT_PORT": "1", "LINOCUT_PORT_FILE": str(tmp_path / "port")})


def test_the_usual_names_are_heard_but_ours_count_more() -> None:
    usual = {"DATABASE_URL": "postgresql://h/theirs", "FORWARDED_ALLOW_IPS": "10.0.0.1"}
    found = read_settings(usual)
    assert found.settings.database == "postgresql://h/theirs"
    assert found.settings.forwarded_allow_ips == "10.0.0.1"
    assert found.sources["database_url"] == "DATABASE_URL"
    ours = read_settings(usual | {"LINOCUT_DATABASE_URL": "postgresql://h/ours"})
    assert ours.settings.database == "postgresql://h/ours"


def test_a_misspelt_variable_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InvalidRequest, match="LINOCUT_QUEUE_LIMT is no setting") as caught:
        read_settings({"LINOCUT_QUEUE_LIMT": "5"})
    assert "did you mean LINOCUT_QUEUE_LIMIT?" in caught.value.hint


def test_what_is_wrong_is_said_with_its_variable_and_what_it_is_for() -> None:
    with pytest.raises(InvalidRequest, match="LINOCUT_PORT='no'") as caught:
        read_settings({"LINOCUT_PORT": "no"})
    assert "the port to listen on" in caught.value.hint
    with pytest.raises(InvalidRequest, match="--port=99999999"):
        read_settings({}, {"port": 99_999_999})


@pytest.mark.parametrize("said", [",", " , ,"])
def test_no_check_at_all_is_refused_with_what_switches_them_off(said: str) -> None:
    with pytest.raises(InvalidRequest, match=r"PICTURE_CHECKS=.*name at least one") as found:
        read_settings({"LINOCUT_PICTURE_CHECKS": said})
    assert "LINOCUT_SAFETY and --disable-safety-checker do" in found.value.message


def test_an_empty_file_of_checks_is_no_check_at_all(tmp_path: Path) -> None:
    (tmp_path / "checks").write_text("\n", encoding="utf-8")
    with pytest.raises(InvalidRequest, match="no prompt check is named"):
        read_settings({"LINOCUT_PROMPT_CHECKS_FILE": str(tmp_path / "checks")})


def test_settings_that_disagree_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="lease=10 is too short"):
        read_settings({"LINOCUT_LEASE": "10"})


def test_secrets_are_shown_as_set_or_not() -> None:
    shown = read_settings({"LINOCUT_METRICS_TOKEN": "hush"}).shown()
    assert shown["metrics_token"] == "********"  # noqa: S105
    assert shown["database_url"] == ""
    assert "hush" not in str(shown)


def test_the_page_lists_every_setting_as_it_is() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), "docs/settings.md: replace its table"


@pytest.mark.parametrize("word", ["1", "true", "YES", "on", "0", "False", "no", "off", " on "])
def test_the_command_line_and_the_server_read_the_same_words(word: str) -> None:
    environ = {
        "LINOCUT_EMBED_PROMPT": word, "LINOCUT_DEBUG": word, "LINOCUT_HOME": "/data",
        "LINOCUT_PROMPT_CHECKS": "a:b, terms", "LINOCUT_PICTURE_CHECKS": " c:d ",
    }  # fmt: skip
    settings = read_settings(environ).settings
    assert settings.embed_prompt is cli.embed_prompt(environ)
    assert settings.debug is cli.debug(environ)
    assert settings.home == cli.home(environ)
    assert settings.prompt_checks == cli.checks(environ, "prompt") == ("a:b", "terms")
    assert settings.picture_checks == cli.checks(environ, "picture") == ("c:d",)


def test_without_a_word_they_agree_too() -> None:
    settings = Settings()
    assert settings.embed_prompt is cli.embed_prompt({})
    assert settings.debug is cli.debug({})
    assert settings.home.expanduser() == cli.home({})
    assert settings.prompt_checks == cli.checks({}, "prompt")
    assert settings.picture_checks == cli.checks({}, "picture")


def test_a_variable_is_named_after_its_setting() -> None:
    assert variable("data_dir") == "LINOCUT_DATA_DIR"
