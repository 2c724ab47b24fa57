"""The command line in this process, with a small engine in place of the real one."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from linocut.cli.main import main
from linocut.events import Decoding, Done, Encoding, Event, Preview, Started, Step
from linocut.request import ImageRequest, Picture
from linocut.safety.policy import Finding

WARNING = "drawn by a fake"


@dataclass
class FakeEngine:
    """Draws stripes of one colour; `breaks` is raised after step 2."""

    placement: Any = field(default_factory=lambda: SimpleNamespace(default_mode="exact"))
    requests: list[ImageRequest] = field(default_factory=list)
    breaks: BaseException | None = None
    is_open: bool = True

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_open = False

    def run(self, request: ImageRequest) -> Iterator[Event]:
        """The events of a run."""
        self.requests.append(request)
        width, height, n = request.width, request.height, request.num_inference_steps
        yield Started("linocut-mini", request.mode, width // 2, height // 2, n, (WARNING,))
        yield Encoding()
        for i in range(1, n + 1):
            yield Step(i, n, 0.25, 0.25 * (n - i))
            if request.preview:
                yield Preview(i, Picture(2, 2, bytes(range(12))))
            if i == 2 and self.breaks is not None:
                raise self.breaks
        yield Decoding()
        yield Done(
            picture=Picture(width, height, b"\xf0\x10\x20" * (width * height)),
            seed=request.seed,
            drawn_width=width // 2,
            drawn_height=height // 2,
            mode=request.mode,
            checkpoint="linocut-mini",
            demo=True,
            warnings=(WARNING, "the prompt was cut"),
            threads=3,
            timings={"encoding": 0.5, "denoising": 1.0, "decoding": 0.25},
        )


@dataclass
class FakeCheck:
    """The picture check of a test: finds what `about` says, and counts how often it is used."""

    about: Callable[[Picture], Finding | None] = lambda _: None
    opened: int = 0

    def open(self, **_: object) -> FakeCheck:
        """Itself."""
        self.opened += 1
        return self

    def check(self, picture: Picture) -> Finding | None:
        """What the test wants to be found."""
        return self.about(picture)


@pytest.fixture
def doubts(monkeypatch: pytest.MonkeyPatch) -> FakeCheck:
    """The picture check that every command of this test gets, in place of the network."""
    check = FakeCheck()
    monkeypatch.setattr("linocut.safety.picture.PictureCheck.open", check.open)
    return check


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, doubts: FakeCheck) -> FakeEngine:
    """The engine that every command of this test gets; its pictures pass the check."""
    engine = FakeEngine()
    monkeypatch.setattr("linocut.cli.generate.open_engine", lambda _: engine)
    return engine


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        """Standard output as text."""
        return self.out.decode().splitlines()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the command runs in, with an environment that says nothing."""
    for name in [name for name in os.environ if name.startswith("LINOCUT_")]:
        monkeypatch.delenv(name)
    for name in ("HF_TOKEN", "DATABASE_URL", "FORWARDED_ALLOW_IPS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def linocut(
    folder: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Run a command line: `linocut("generate", "a red apple", stdin=b"")`."""

    def run(*arguments: str | Path, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main([str(argument) for argument in arguments])
        out, err = capsysbinary.readouterr()
        return Outcome(code, out, err.decode())

    return run
