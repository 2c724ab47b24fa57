"""`linocut generate` stopped by its user, or by the reader of its output."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
SMALL = ("--width", "64", "--height", "64", "--num-inference-steps", "4")


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_interrupt_says_how_far_it_was(linocut: Run, fake: Any, folder: Path) -> None:
    fake.breaks = KeyboardInterrupt()
    done = linocut("generate", "x", *SMALL)
    assert (done.code, done.out) == (130, b"")
    assert done.err.endswith("error: stopped after step 2 of 4, nothing was saved\n")
    assert not fake.is_open
    assert listing(folder) == []


def test_an_interrupt_while_loading_is_no_different(
    linocut: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("linocut.cli.generate.open_engine", interrupted)
    done = linocut("generate", "x", *SMALL)
    assert (done.code, done.err) == (
        130,
        "error: stopped before the first step, nothing was saved\n",
    )


def test_a_reader_that_went_away_is_no_traceback(
    linocut: Run, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: bytes) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("linocut.cli.say.raw", gone)
    with pytest.raises(SystemExit) as caught:
        linocut("generate", "x", *SMALL, "-o", "-")
    assert caught.value.code == 1


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Children hear SIGINT, even if these tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_control_c_in_a_real_terminal_stops_within_a_step(tiny_folder: Path, folder: Path) -> None:
    ours, theirs = pty.openpty()
    flags = (
        "--device",
        "cpu",
        "--width",
        "1024",
        "--height",
        "1024",
        "--num-inference-steps",
        "50",
    )
    verb = ("generate", "a red apple", "--checkpoint", str(tiny_folder))
    command = [sys.executable, "-m", "linocut", *verb, *flags]
    sources = str(Path(__file__).parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": sources, "TERM": "xterm", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as child:
        os.close(theirs)
        seen, until = "", time.monotonic() + 240
        while not re.search(r"step \d+ of 50", seen) and time.monotonic() < until:
            seen += os.read(ours, 4096).decode(errors="replace")
        child.send_signal(signal.SIGINT)
        try:
            while more := os.read(ours, 4096):
                seen += more.decode(errors="replace")
        except OSError:  # Linux says so when the other end of a terminal has gone
            pass
        out = child.communicate()[0]
    os.close(ours)
    assert (child.returncode, out) == (130, b"")
    assert "Loading" in seen
    assert re.search(r"error: .*stopped after step \d+ of 50, nothing was saved", seen)
    assert "Traceback" not in seen
    assert listing(folder) == []
