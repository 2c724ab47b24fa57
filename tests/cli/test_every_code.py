"""The codes that commands meet and no request does: real trouble, in real processes.

A command tells a person a sentence and a shell an exit code; with LINOCUT_DEBUG it names the error.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import linocut
from linocut.errors import CheckpointNotFound, DownloadRefused, LinocutError, OutputError

SOURCES = Path(linocut.__file__).parents[1]
Run = Callable[..., Any]


def check(kind: type[LinocutError], code: int, said: str) -> None:
    """It ended as this error."""
    assert code == kind.exit_code, said
    assert f"linocut.errors.{kind.__name__}: " in said
    assert "\nerror: " in said


def command(folder: Path, *arguments: str, **more: str) -> tuple[int, str]:
    """The exit code of a process, and what it said."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("LINOCUT_", "HF_"))}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "linocut", "--debug", *arguments],
        env={**kept, "HOME": str(folder), "PYTHONPATH": str(SOURCES), **more},
        cwd=folder, capture_output=True, text=True, timeout=2000, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def test_a_server_without_its_checkpoint(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path / "data"), "--port", "0")
    check(CheckpointNotFound, *command(tmp_path, "serve", *where, "--checkpoint", "nowhere"))
    assert not (tmp_path / "data").exists()


def test_a_server_that_may_write_nowhere(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    where = ("--data-dir", str(tmp_path / "file" / "data"), "--port", "0")
    check(OutputError, *command(tmp_path, "serve", *where, LINOCUT_WORKER="fake"))


class Licensed(BaseHTTPRequestHandler):
    """A hub whose repositories nobody may read before a licence is accepted."""

    def do_HEAD(self) -> None:
        """Refused."""
        self.send_response(403)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_hub_that_gives_nothing(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Licensed) as hub:
        Thread(target=hub.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{hub.server_port}"
        about = {"HF_ENDPOINT": here, "HF_TOKEN": "hf_good", "LINOCUT_HOME": str(tmp_path / "w")}
        code, said = command(tmp_path, "pull", "flux-2-dev", **about)
        hub.shutdown()
    check(DownloadRefused, code, said)
    assert "licence" in said


def test_a_disk_with_no_room_for_the_picture(
    linocut: Run, fake: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is a small one, the file system's refusal is its own."""
    monkeypatch.setenv("LINOCUT_DEBUG", "1")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        done = linocut("generate", "x", "--width", "64", "--height", "64", "-o", "a.webp")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    check(OutputError, done.code, done.err)
    assert list(folder.iterdir()) == []
