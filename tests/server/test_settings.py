"""Settings agree with each other, or the server does not start."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from linocut.images.fetch import FetchPolicy
from linocut.request import MOST_SENT
from linocut.server.settings import Settings, is_loopback


def test_a_server_needs_no_setting_at_all() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.auth) == ("127.0.0.1", 8000, True)
    assert settings.checkpoint == "linocut-mini"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "pictures.example.org"])  # noqa: S104
def test_an_open_address_without_keys_is_refused(host: str) -> None:
    with pytest.raises(ValidationError, match="can be reached by others"):
        Settings(host=host, auth=False)
    assert Settings(host=host).auth


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_may_do_without_keys(host: str) -> None:
    assert is_loopback(host)
    assert not Settings(host=host, auth=False).auth


def test_a_lease_must_outlive_waits_for_the_database() -> None:
    with pytest.raises(ValidationError, match="use at least 30"):
        Settings(lease=29, heartbeat=1)
    assert Settings(lease=30, heartbeat=10).lease == 30


def test_a_heartbeat_must_fit_three_times_into_a_lease() -> None:
    with pytest.raises(ValidationError, match="use at most 10"):
        Settings(heartbeat=10.5)


def test_the_storm_s_short_times_are_allowed() -> None:
    assert Settings(lease=2, heartbeat=0.5, busy_timeout=0.2).lease == 2


@pytest.mark.parametrize(
    "url",
    ["pictures.example.org", "ftp://x.example", "https://", "https://x.example/?a", "http://u@x"],
)
def test_a_public_url_is_an_address_of_the_web(url: str) -> None:
    with pytest.raises(ValidationError, match="public_url"):
        Settings(public_url=url)
    assert Settings(public_url="https://x.example/lino").public_url


@pytest.mark.parametrize("origin", ["x.example", "https://x.example/", "null", "https://"])
def test_an_origin_has_no_path(origin: str) -> None:
    with pytest.raises(ValidationError, match="cors_origins"):
        Settings(cors_origins=(origin,))
    assert Settings(cors_origins=("https://x.example", "http://y.example:81", "*"))


@pytest.mark.parametrize("entry", ["nas.lan", ":80", "nas.lan:http", "NAS.lan:80", "nas.lan:"])
def test_a_host_that_may_be_reached_is_named_with_its_port(entry: str) -> None:
    with pytest.raises(ValidationError, match="host:port"):
        Settings(fetch_allow=(entry,))
    for allowed in ("nas.lan:8080", "[::1]:80"):
        assert FetchPolicy(allowed_hosts=frozenset(Settings(fetch_allow=(allowed,)).fetch_allow))


def test_no_picture_may_be_larger_than_what_strangers_may_send() -> None:
    assert Settings(max_upload=MOST_SENT).max_upload == MOST_SENT
    with pytest.raises(ValidationError, match="max_upload"):
        Settings(max_upload=MOST_SENT + 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 65_536},
        {"link_seconds": 8 * 86_400},
        {"link_seconds": float("nan")},
        {"link_seconds": 0.5},
        {"device": "gpu"},
        {"prefix": "../"},
        {"prefix": "no-slash"},
        {"prefix": "/absolute/"},
        {"workers": 0},
        {"guess": 1},
    ],
)
def test_what_is_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(wrong)


def test_lists_are_written_with_commas_or_spaces() -> None:
    settings = Settings.model_validate({"allowed_hosts": "a.example, b.example c.example"})
    assert settings.allowed_hosts == ("a.example", "b.example", "c.example")


def test_the_database_is_a_file_in_the_data_folder_unless_named(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "my data")
    assert settings.database == f"sqlite:///{tmp_path}/my data/linocut.db"
    named = Settings(database_url=SecretStr("postgresql://h/x"))
    assert named.database == "postgresql://h/x"


def test_a_home_is_found_behind_its_sign(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings(data_dir=Path("~/lino")).data_folder == tmp_path / "lino"


def test_no_secret_is_shown_by_accident() -> None:
    settings = Settings(
        metrics_token=SecretStr("hush"), database_url=SecretStr("postgresql://a:b@c/d")
    )
    assert "hush" not in repr(settings)
    assert "a:b" not in str(settings)


def test_prompts_are_read_by_the_terms_unless_the_text_encoder_is_named() -> None:
    assert Settings().safety_model == "terms"
    assert Settings.model_validate({"safety_model": "text_encoder"}).safety_model == "text_encoder"
    with pytest.raises(ValidationError, match="'terms' or 'text_encoder'"):
        Settings.model_validate({"safety_model": "text-encoder"})


def test_every_field_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_ours_check_unless_others_are_named() -> None:
    settings = Settings()
    assert (settings.prompt_checks, settings.picture_checks) == (("terms",), ("opennsfw",))
    settings = Settings.model_validate(
        {"prompt_checks": "my_checks:Names, terms", "picture_checks": "my_checks:Blank"}
    )
    assert settings.prompt_checks == ("my_checks:Names", "terms")
    assert settings.picture_checks == ("my_checks:Blank",)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"prompt_checks": "terms,opennsfw"}, "'opennsfw' is no prompt check: use terms"),
        ({"picture_checks": "my_checks"}, "'my_checks' is no picture check: use opennsfw"),
        ({"picture_checks": ()}, "no picture check is named.*LINOCUT_SAFETY"),
    ],
)
def test_a_check_is_named_rightly_or_the_server_does_not_start(
    wrong: dict[str, object], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        Settings.model_validate(wrong)
