"""What a stranger meets first: the public names, the README's commands and its five lines."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from PIL import Image

import linocut
from linocut import errors
from linocut.catalog import DEV
from linocut.cli.generate import INTERRUPTED
from linocut.cli.main import app
from linocut.cost import request_cost

ROOT: Final = Path(__file__).parents[1]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES: Final = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], key=lambda path: path.as_posix()
)
HEAVY: Final = ("torch", "transformers", "safetensors", "huggingface_hub", "PIL", "typer", "numpy")


def child(
    *arguments: str, folder: Path = ROOT, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """A Python process of its own, its output as text."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def blocks(language: str) -> list[str]:
    """The README's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands(first: str) -> list[list[str]]:
    """The README's commands that start with a word, split as a shell splits them."""
    lines = [line[2:] for block in blocks("console") for line in block.splitlines()]
    return [words[1:] for words in map(shlex.split, lines) if words[0] == first]


def test_every_public_name_is_there() -> None:
    assert {name: hasattr(linocut, name) for name in linocut.__all__} == dict.fromkeys(
        linocut.__all__, True
    )


def test_nothing_else_is_public() -> None:
    names = {name for name in vars(linocut) if not name.startswith("_")}
    own = {name for name in names if getattr(vars(linocut)[name], "__name__", "")[:8] != "linocut."}
    assert own - {"annotations", "importlib", "TYPE_CHECKING", "Any", "Final"} <= set(
        linocut.__all__
    )


def test_public_names_are_few_and_sorted() -> None:
    assert len(linocut.__all__) <= 20
    assert linocut.__all__ == sorted(linocut.__all__)
    assert set(linocut.__all__) <= set(dir(linocut))


def test_every_error_that_drawing_raises_is_public() -> None:
    served = (errors.ServiceError, errors.InvalidBody)
    checked = (errors.ContentRefused, errors.CheckFailed)  # by whoever wraps checks around it
    tree = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.LinocutError)
        if not issubclass(kind, (*served, *checked, errors.UnsupportedModel))
    }
    assert tree <= set(linocut.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Motor'"):
        linocut.Motor  # noqa: B018


@pytest.mark.parametrize("name", ["", "ImageRequest", "Picture", "LinocutError", "Done"])
def test_importing_the_vocabulary_imports_nothing_heavy(name: str) -> None:
    code = f"import sys, linocut; {name and 'linocut.' + name}\nprint(*sys.modules)"
    done = child("-c", code)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & set(HEAVY)


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom linocut.cli.main import app\n"
        "shown = CliRunner().invoke(app, ['--help'])\n"
        "assert shown.exit_code == 0, shown.output\nprint(*sys.modules)"
    )
    done = child("-c", code)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & {"torch", "transformers"}


def test_the_package_runs_as_a_module() -> None:
    done = child("-m", "linocut", "--help")
    assert done.returncode == 0, done.stderr
    assert "generate" in done.stdout


def test_control_c_while_the_command_is_still_being_imported_is_no_traceback(
    tmp_path: Path,
) -> None:
    (tmp_path / "typer.py").write_text(
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.raise_signal(signal.SIGINT)\n"
    )
    stand_in_first = f"{tmp_path}{os.pathsep}{ROOT / 'src'}"
    done = subprocess.run(
        [sys.executable, "-m", "linocut", "ls"],
        env={**os.environ, "PYTHONPATH": stand_in_first},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_installed_command_starts_where_the_module_does() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"linocut": "linocut.__main__:run"}


def test_the_five_lines_of_the_readme_draw(tmp_path: Path) -> None:
    (code,) = blocks("python")
    assert len([line for line in code.splitlines() if line]) == 5
    done = child("-c", code, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "apple.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == (512, 512)


def test_the_readme_shows_commands_of_two_kinds_only() -> None:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    assert lines
    assert all(line.startswith(("$ make ", "$ linocut ")) for line in lines)


@pytest.mark.parametrize("arguments", commands("make"), ids=shlex.join)
def test_a_make_command_of_the_readme_is_known(arguments: list[str]) -> None:
    done = subprocess.run(
        ["make", "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", commands("linocut"), ids=shlex.join)
def test_a_linocut_command_of_the_readme_parses(arguments: list[str]) -> None:
    known = typer.main.get_group(app).commands
    assert arguments[0] in known
    known[arguments[0]].make_context(arguments[0], arguments[1:])


def test_the_memory_that_the_readme_names_is_that_of_its_command() -> None:
    part = README.split("\n## The real weights\n")[1].split("\n## ")[0]
    request = linocut.ImageRequest(prompt="")
    half, full = (
        round(request_cost(request, DEV, bytes_per_weight=size).memory.total / 1e9)
        for size in (2, 4)
    )
    assert f"In bfloat16 they need about {half} GB of memory" in part
    assert f"{full} GB" in part
    assert re.search(r"^\$ linocut generate .* --dtype bfloat16$", part, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    inside = [link.split("#")[0] for link in links if not link.startswith(("http", "#"))]
    assert [link for link in inside if not (page.parent / link).exists()] == []


def test_the_list_of_decisions_is_complete() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\]\((\d{4}-[^)]+)\)", (folder / "README.md").read_text(encoding="utf-8"))
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))


def commands(group: Any, name: str = "linocut") -> Iterator[tuple[str, Any]]:
    """Every command with its whole name, those of groups too."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def test_the_page_of_commands_tells_every_option_as_the_program_does() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for name, command in commands(typer.main.get_group(app)):
        (told,) = re.findall(rf"(?ms)^#+ `{name}`$(.*?)(?=^#|\Z)", page)
        for parameter in command.params:
            names = [option for option in parameter.opts if option.startswith("-")]
            assert all(option in told for option in names), "run `make docs`"
            assert (getattr(parameter, "help", None) or "") in told, "run `make docs`"


def test_the_page_of_commands_tells_every_exit_code() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"Exit codes: (.*)", page)
    numbers = {int(number) for number in re.findall(r"(\d+) [a-zA-Z]", told)}
    assert numbers == {kind.exit_code for kind in errors.kinds().values()} | {0, INTERRUPTED}


def test_every_setting_that_is_named_anywhere_has_its_line() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    others = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    texts = [path.read_text(encoding="utf-8") for path in others]
    named = {name for text in texts for name in re.findall(r"\bLINOCUT_[A-Z_]*[A-Z]\b", text)}
    assert {name for name in named if f"`{name}`" not in page} == set()


def test_every_dependency_is_argued_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text(encoding="utf-8")
    extras = project["optional-dependencies"].values()
    wanted = {
        re.split(r"[<>=\[; ]", line)[0]
        for group in (project["dependencies"], *extras)
        for line in group
    }
    assert [name for name in sorted(wanted) if f"`{name}`" not in page] == []
