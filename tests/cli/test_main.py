"""The command as a process: exit codes, two-line errors, and what it does not load."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linocut.errors import LinocutError

Run = Callable[..., Any]
SOURCES = Path(__file__).parents[2] / "src"


def child(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own that finds linocut."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCES), **environ},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["generate", "--help"], ["ls"], ["info", "missing"],
     ["generate", "x", "--seed", "-2"], ["generate", "x", "--image", "missing.png"],
     ["serve", "--help"], ["keys", "add", "--help"]],
)  # fmt: skip
def test_torch_is_not_loaded_before_something_is_drawn(arguments: list[str]) -> None:
    code = (
        "import sys; from linocut.cli.main import main\n"
        f"main({arguments!r})\n"
        "heavy = {'torch', 'transformers', 'diffusers', 'huggingface_hub', 'httpx2', 'numpy'}\n"
        "heavy |= {'fastapi', 'sqlalchemy', 'structlog', 'uvicorn'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    assert "LOADED []" in child("-c", code).stdout


def test_help_names_every_verb(linocut: Run) -> None:
    done = linocut("--help")
    assert (done.code, done.err) == (0, "")
    verbs = ("generate", "serve", "info", "pull", "ls", "config", "backup", "restore", "keys",
             "webhooks")  # fmt: skip
    for verb in verbs:
        assert f"\n  {verb} " in done.out.decode()


def test_no_verb_at_all_is_help_too(linocut: Run) -> None:
    assert linocut().out == linocut("--help").out


def test_the_version_is_one_line(linocut: Run) -> None:
    done = linocut("--version")
    assert (done.code, len(done.lines)) == (0, 1)
    assert done.lines[0].startswith("linocut ")


def test_an_unknown_verb_is_two_lines(linocut: Run) -> None:
    done = linocut("draw")
    assert (done.code, done.out) == (2, b"")
    assert done.err.startswith("error: No such command 'draw'")
    assert done.err.splitlines()[1] == "hint: linocut --help"


def test_a_word_that_is_not_among_the_choices_is_told_without_the_librarys_own(
    linocut: Run,
) -> None:
    done = linocut("generate", "a cat", "--output-format", "gif")
    assert done.code == 2
    assert "'--output-format': 'gif' is not one of 'webp', 'jpg', 'png'" in done.err


def test_every_error_has_an_exit_code_of_its_kind() -> None:
    kinds, codes = [LinocutError], set()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        codes.add(kind.exit_code)
    assert codes == set(range(1, 10))


def test_an_error_ends_the_process_with_its_code() -> None:
    done = child("-m", "linocut", "generate", "x", "--seed", "-2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: seed=-2: use a whole number from 0 to 9007199254740991\n"


@pytest.mark.parametrize(
    "arguments", [["pull", "flux-2-dev"], ["generate", "x"], ["serve", "--port", "0"]]
)
@pytest.mark.parametrize("address", ["http://127.0.0.1:99999", "http://[::1"])
def test_a_hub_at_no_address_is_told_before_a_library_breaks_over_it(
    tmp_path: Path, arguments: list[str], address: str
) -> None:
    environ = {"HF_ENDPOINT": address, "HOME": str(tmp_path)}
    done = child("-m", "linocut", *arguments, **environ)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: HF_ENDPOINT={address!r}: use an address like https://")
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    "arguments",
    [["ls"], ["pull", "flux-2-dev"], ["generate", "x", "--checkpoint", "flux-2-dev"],
     ["info", "flux-2-dev"], ["serve", "--port", "0"]],
)  # fmt: skip
def test_a_home_below_nobody_s_is_told(
    linocut: Run, doubts: Any, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("LINOCUT_HOME", "~nosuchuser/x")
    done = linocut(*arguments)
    assert (done.code, done.out) == (2, b"")
    assert done.err == (
        "error: LINOCUT_HOME='~nosuchuser/x': there is no such home folder\n"
        "hint: write the path from / on, without ~\n"
    )


@pytest.mark.parametrize("arguments", [["--debug"], []])
def test_debugging_shows_where(arguments: list[str]) -> None:
    environ = {} if arguments else {"LINOCUT_DEBUG": "1"}
    done = child("-m", "linocut", *arguments, "generate", "x", "--seed", "-2", **environ)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: seed=-2")


UNEXPECTED = (
    "import linocut.cli.generate as command; from linocut.cli.main import run\n"
    "import sys; sys.argv = ['linocut', 'generate', 'x']\n"
    "def broken(_): raise {error}\n"
    "command.open_engine = broken\nrun()\n"
)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("AssertionError('three is not four')", "AssertionError: three is not four"),
        ("ZeroDivisionError()", "this should not have happened: ZeroDivisionError"),
        ("MemoryError()", "there is not enough memory"),
    ],
)
def test_what_should_not_have_happened_is_two_lines_too(error: str, words: str) -> None:
    done = child("-c", UNEXPECTED.format(error=error))
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: ")
    assert words in lines[0]
    assert lines[1].startswith("hint: ")


def test_debugging_shows_where_it_should_not_have_happened() -> None:
    shown = child("-c", UNEXPECTED.format(error="KeyError('x')"), LINOCUT_DEBUG="1")
    assert shown.returncode == 1
    assert "Traceback" in shown.stderr
    assert "error: this should not have happened: KeyError: 'x'" in shown.stderr
