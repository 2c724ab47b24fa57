"""Everything an operator can set, as one frozen value: LINOCUT_<NAME> in the environment.

The order is that of docs/settings.md, which a test holds equal to this page. Times are seconds,
sizes are bytes. Where the values come from: `linocut.server.environment`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)

from linocut.errors import InvalidRequest
from linocut.images.addresses import is_host_and_port
from linocut.jobs.folder import DataFolder
from linocut.request import MOST_SENT
from linocut.safety.policy import (
    PICTURE_CHECKS,
    PROMPT_CHECKS,
    SafetyModel,
    Subject,
    check_names,
)
from linocut.server.holding import SHARES

MB: Final = 1_000_000
DAY: Final = 86_400
CHECKPOINT: Final = "linocut-mini"


def _split(value: object) -> object:
    """A list as people write it: by commas or spaces."""
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


def _is_on(value: object) -> object:
    """For a switch that anything but a no turns on."""
    return value.lower() not in {"", "0", "false", "no", "off"} if isinstance(value, str) else value


def _named(subject: Subject) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    """For the names of checks."""

    def check(names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            check_names(names, subject)
        except InvalidRequest as error:
            raise ValueError(error.message) from None
        return names

    return check


Words = Annotated[tuple[str, ...], BeforeValidator(_split)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _set(default: Any, text: str, **rules: Any) -> Any:
    return Field(default, description=text, **rules)


class Settings(BaseModel):
    """One server's settings, checked together; every field has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    # Where it listens
    host: str = _set(
        "127.0.0.1",
        "the address to listen on; 0.0.0.0 or :: for every one, which needs keys",
        min_length=1,
    )
    port: int = _set(8000, "the port to listen on; 0 takes a free one", ge=0, le=65_535)
    public_url: str = _set(
        "", "how the world reaches this server, as https://pictures.example.org; links begin so"
    )
    allowed_hosts: Words = _set(
        (), "Host headers that are believed when links are made, where no public_url is set"
    )
    forwarded_allow_ips: str = _set(
        "", "proxies whose X-Forwarded-For and -Proto are believed: addresses, networks, or *"
    )
    cors_origins: Words = _set(
        (), "origins whose pages may call the API from a browser, as https://app.example.org; or *"
    )

    # Where things are
    home: Path = _set(Path("~/.cache/linocut"), "the folder of pulled checkpoints")
    data_dir: Path = _set(
        Path("~/.local/share/linocut"), "database, pictures and secrets; one server per folder"
    )
    database_url: SecretStr = _set(
        SecretStr(""),
        "postgresql://user:password@host/name; without it, SQLite in the data folder",
    )
    prefix: str = _set(
        "",
        "what the keys of stored pictures begin with, as team-a/",
        pattern=r"^(?:[A-Za-z0-9][A-Za-z0-9._-]*/)*$",
        max_length=100,
    )

    # What draws
    checkpoint: str = _set(CHECKPOINT, "a name that linocut ls lists, or a folder", min_length=1)
    device: str = _set(
        "auto", "auto, cpu, cuda or cuda:N", pattern=r"^(?:auto|cpu|cuda(?::[0-9]{1,3})?)$"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = _set(
        "auto", "precision of the weights; auto is float32 on a CPU and bfloat16 on a GPU"
    )
    text_layers: str = _set(
        "",
        "which hidden states of the text encoder are read, as 10,20,30, where the checkpoint does "
        "not say it itself",
        pattern=r"^(?:[0-9]{1,4}(?:,[0-9]{1,4})*)?$",
    )
    threads: int = _set(
        0, "threads that a worker computes with; 0 lets PyTorch decide", ge=0, le=1024
    )
    workers: int = _set(
        1,
        "worker processes; each loads the checkpoint, and with device=cuda worker n takes GPU n",
        ge=1,
        le=64,
    )
    worker: str = _set(
        "engine",
        "engine; for tests and load trials fake, which draws stripes without a model, and its "
        "arguments, as fake --step-seconds=0.01",
        pattern=r"^(?:engine|fake)(?: [^\n]*)?$",
    )

    # Who may do what
    auth: bool = _set(True, "false: whoever reaches the server is its admin; loopback only")
    key_rate: int = _set(
        180, "pictures and uploads a minute of a key without a rate of its own; 0 is no limit", ge=0
    )
    key_share: int = _set(
        50, "places in the queue of a key without a share of its own; 0 is no limit", ge=0
    )
    key_quota: float = _set(
        0.0,
        "worker seconds a UTC day of a key without a quota of its own; 0 is no limit",
        ge=0,
        allow_inf_nan=False,
    )
    safety: Literal["on", "per-key", "off"] = _set(
        "per-key",
        "on: every request is checked; per-key: keys made with --allow-unsafe, and without keys "
        "(LINOCUT_AUTH=false) everybody, may send disable_safety_checker; off: every key may",
    )
    prompt_checks: Annotated[Words, AfterValidator(_named("prompt"))] = _set(
        PROMPT_CHECKS,
        "what reads prompts, in this order: terms, the words that linocut knows; module:factory, "
        "a check of your own (docs/safety.md)",
    )
    picture_checks: Annotated[Words, AfterValidator(_named("picture"))] = _set(
        PICTURE_CHECKS,
        "what looks at pictures, in this order: opennsfw, the network that linocut brings; "
        "module:factory, a check of your own (docs/safety.md)",
    )
    safety_model: SafetyModel = _set(
        "terms",
        "what reads prompts after their checks: terms, nothing more; text_encoder, the whole text "
        "encoder of FLUX.2 [dev], which takes more memory (docs/safety.md)",
    )
    fetch: bool = _set(True, "whether pictures are fetched from addresses that callers give")
    fetch_allow: Words = _set(
        (),
        "host:port entries that pictures and webhooks may reach though the address is not public "
        "or the port is not 80 or 443, as nas.lan:8080",
    )

    # How much, how long
    queue_limit: int = _set(100, "requests that may wait; more are told to come back", ge=1)
    sync_wait: Seconds = _set(600.0, "seconds that a blocking call waits before it answers 202")
    max_body: int = _set(
        64 * MB, "bytes that a request's body may have; at most half of LINOCUT_MAX_HELD", ge=1024
    )
    max_upload: int = _set(
        20 * MB,
        "bytes that one picture may have: uploaded, fetched or in a data URI; at most 20 MiB",
        ge=1024,
        le=MOST_SENT,
    )
    max_held: int = _set(
        256 * MB,
        "bytes of bodies and pictures that are held at once while they come and are looked at; "
        "one tenant may have half of them, so that it is at least twice LINOCUT_MAX_BODY",
        ge=2048,
    )
    link_seconds: Seconds = _set(
        DAY, "seconds that a link to a picture works; at most 7 days", ge=1, le=7 * DAY
    )
    retention_days: float = _set(
        0.0, "finished records and their pictures are deleted after so many days; 0 never",
        ge=0, allow_inf_nan=False,
    )  # fmt: skip
    retention_bytes: int = _set(
        0,
        "the oldest finished records are deleted while the files of records take more bytes than "
        "this; 0 never",
        ge=0,
    )
    embed_prompt: bool = _set(True, "false leaves the prompt out of the pictures' files")

    # Keeping at it
    max_attempts: int = _set(
        3, "how often a request is begun before it fails, if its worker dies each time", ge=1, le=20
    )
    hang_seconds: Seconds = _set(120.0, "a worker that says nothing for so many seconds is ended")
    start_seconds: Seconds = _set(
        1800.0, "a worker that is not ready after so many seconds is ended"
    )
    lease: Seconds = _set(30.0, "a run that gives no sign for so many seconds is given to another")
    heartbeat: Seconds = _set(
        10.0, "seconds between two signs of a run; at most a third of the lease"
    )
    busy_timeout: Seconds = _set(
        5.0, "seconds to wait for SQLite's lock; at most a sixth of the lease"
    )
    storage_seconds: Seconds = _set(
        30.0,
        "seconds to store, read or delete a picture in; a store that takes longer is unavailable",
    )
    drain_seconds: float = _set(
        30.0, "seconds that running pictures may take to finish when the server is told to stop",
        ge=0, le=DAY, allow_inf_nan=False,
    )  # fmt: skip
    sse_heartbeat: Seconds = _set(
        15.0, "seconds between two signs of life in an event stream, at most", le=15
    )

    # Clients that are slow, or many
    header_seconds: Seconds = _set(8.0, "seconds in which a request's headers must have come")
    stall_seconds: Seconds = _set(
        8.0, "a client that takes or gives nothing for so many seconds is cut off"
    )
    keep_alive_seconds: int = _set(
        5, "seconds that an idle connection is kept; a proxy in front must keep it for less",
        ge=1, le=3600,
    )  # fmt: skip
    header_bytes: int = _set(32_768, "bytes that a request's line and headers may have", ge=4096)
    max_connections: int = _set(2000, "requests at once; more are told to come back", ge=10)

    # What it says
    log_format: Literal["auto", "json", "console"] = _set(
        "auto", "auto is console on a terminal and json elsewhere"
    )
    log_level: Literal["debug", "info", "warning", "error"] = _set(
        "info", "the lowest level that is logged"
    )
    metrics: bool = _set(True, "whether /metrics answers: to admin keys and the metrics_token")
    metrics_token: SecretStr = _set(
        SecretStr(""), "a bearer token that may read /metrics, and nothing else"
    )
    debug: Annotated[bool, BeforeValidator(_is_on)] = _set(
        False, "errors of the command line show where they come from"
    )

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        if self.lease < 6 * self.busy_timeout:
            raise ValueError(
                f"lease={self.lease:g} is too short beside busy_timeout={self.busy_timeout:g}: "
                f"use at least {6 * self.busy_timeout:g}, six times as long, or runs are taken "
                "from workers that only wait for the database"
            )
        if self.heartbeat > self.lease / 3:
            raise ValueError(
                f"heartbeat={self.heartbeat:g} is too long for lease={self.lease:g}: "
                f"use at most {self.lease / 3:g}, a third of it"
            )
        if self.max_held < SHARES * self.max_body:
            raise ValueError(
                f"max_held={self.max_held} is too small for max_body={self.max_body}: use at least "
                f"{SHARES * self.max_body}, as one tenant has half of it"
            )
        if not self.auth and not is_loopback(self.host):
            raise ValueError(
                f"host={self.host} can be reached by others, and auth is off: "
                "listen on 127.0.0.1, or leave auth on"
            )
        if "?" in str(self.data_dir):
            raise ValueError(f"data_dir={str(self.data_dir)!r}: use a folder without ? in its name")
        _check_url(self.public_url)
        for origin in self.cors_origins:
            _check_origin(origin)
        for entry in self.fetch_allow:
            _check_entry(entry)
        return self

    @property
    def database(self) -> str:
        """The database's address: the one that is set, else the file in the data folder."""
        named = self.database_url.get_secret_value()
        return named or f"sqlite:///{DataFolder(self.data_folder).database}"

    @property
    def data_folder(self) -> Path:
        """The data folder, whole."""
        return self.data_dir.expanduser().absolute()


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_url(url: str) -> None:
    if not url:
        return
    parts = urlsplit(url)
    plain = not (parts.query or parts.fragment or parts.username)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not plain:
        raise ValueError(f"public_url={url!r}: use an address as https://pictures.example.org")


def _check_entry(entry: str) -> None:
    if not is_host_and_port(entry):
        raise ValueError(f"fetch_allow={entry!r}: use host:port in lower case, as nas.lan:8080")


def _check_origin(origin: str) -> None:
    parts = urlsplit(origin)
    if origin == "*":
        return
    whole = bool(parts.netloc) and f"{parts.scheme}://{parts.netloc}" == origin
    if parts.scheme not in {"http", "https"} or not whole:
        raise ValueError(f"cors_origins={origin!r}: use an origin as https://app.example.org, or *")
