"""The benchmark of README's two ways: a Makefile of its own stands in for the long install."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
MAKEFILE = f"""
image:
\t@test -n "$(PROMPT)" && cp picture.png "$(PROMPT).png" && echo "$(PROMPT).png"
serve:
\t@exec {sys.executable} serve.py $(ARGS)
"""
SERVE = """
import json, os, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

class Answers(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = self.rfile.read(int(self.headers["content-length"]))
        assert json.loads(asked) == {"steps": 1}, asked
        link = f"http://127.0.0.1:{self.server.server_port}/picture"
        self.say(json.dumps({"aiRecord": {"temporaryUrl": link}}).encode())

    def do_GET(self):
        self.say(Path("picture.png").read_bytes())

    def say(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

def leave(*_):
    with open(os.environ["STOPPED"], "a") as file:
        print("stopped", file=file)
    sys.exit()

signal.signal(signal.SIGTERM, leave)
with HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Answers) as server:
    os.mkdir(sys.argv[sys.argv.index("--data-dir") + 1])
    print("Draw from another terminal:", "", sep="\\n")
    print(f"curl --location 'http://127.0.0.1:{server.server_port}/' \\\\")
    print("--data '{", '  "steps": 1', "}'", "", "Loading", sep="\\n")
    print("Ready after 1 s", flush=True)
    server.serve_forever(0.01)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A repository whose `make image` and `make serve` have a picture at once."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "Makefile").write_text(MAKEFILE)
    (folder / "serve.py").write_text(SERVE)
    Image.new("RGB", (24, 16), "red").save(folder / "picture.png")
    git = ("git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run((*git, "init", "--quiet"), check=True)
    subprocess.run((*git, "add", "."), check=True)
    subprocess.run((*git, "commit", "--quiet", "-m", "a picture"), check=True)
    return folder


def changed(source: Path, name: str, text: str) -> None:
    """The repository has another text in that file."""
    (source / name).write_text(text)
    git = ("git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run((*git, "commit", "--quiet", "-am", "changed"), check=True)


def bench(source: Path, runs: int = 1) -> subprocess.CompletedProcess[str]:
    """The benchmark as a person starts it; its servers leave a note when they are stopped."""
    program = ROOT / "benchmarks" / "bench_first_picture.py"
    return subprocess.run(
        [sys.executable, program, "--runs", str(runs), "--source", source],
        capture_output=True, text=True, check=False,
        env=os.environ | {"STOPPED": str(source.parent / "stopped")},
    )  # fmt: skip


def test_it_draws_once_with_the_install_and_then_again(source: Path) -> None:
    ran = bench(source, runs=2)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout.splitlines()[-1])
    assert report["command"] == "make --no-print-directory image PROMPT=a red apple"
    assert report["size"] == [24, 16]
    assert len(report["after_install"]) == 2
    assert min(report["after_install"]) > 0
    assert report["with_install"] > 0
    assert list((source).glob("a red apple*")) == []


def test_it_runs_the_call_that_a_server_prints_and_opens_the_picture(source: Path) -> None:
    ran = bench(source, runs=2)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout.splitlines()[-1])
    assert len(report["server"]) == 2
    for served in report["server"]:
        assert served["size"] == [24, 16]
        assert 0 < served["printed"] <= served["ready"] <= served["picture"]
    assert (source.parent / "stopped").read_text().split() == ["stopped", "stopped"]


def test_a_picture_that_could_not_be_drawn_is_no_measurement(source: Path) -> None:
    changed(source, "Makefile", "image:\n\t@echo no room >&2; exit 3\n")
    ran = bench(source)
    assert ran.returncode == 1
    assert "no room" in ran.stderr
    assert not ran.stdout


@pytest.mark.parametrize(
    ("line", "instead", "why"),
    [
        ('"aiRecord": {"temporaryUrl": link}', '"code": "unavailable"', "unavailable"),
        ("os.mkdir", "os.rmdir", "FileNotFoundError"),
        ('print("Ready', 'sys.exit("no checkpoint") #', "no checkpoint"),
    ],
)
def test_a_server_that_gives_no_picture_is_no_measurement(
    source: Path, line: str, instead: str, why: str
) -> None:
    changed(source, "serve.py", SERVE.replace(line, instead))
    ran = bench(source)
    assert ran.returncode == 1
    assert why in ran.stderr
    assert not ran.stdout
