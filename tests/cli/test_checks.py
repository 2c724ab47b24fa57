"""The safety checks of `linocut generate`: on by default, and nothing is kept after a refusal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import linocut
from linocut.errors import CheckFailed, CheckpointInvalid, ContentRefused
from linocut.request import Picture
from linocut.safety.picture import PictureCheck
from linocut.safety.policy import Finding

Run = Callable[..., Any]
OPEN = PictureCheck.open
SMALL = ("--width", "64", "--height", "64", "--num-inference-steps", "4")
SWITCH = "--disable-safety-checker"
REFUSED = "a naked woman"
MODULE = """
import sys
from linocut.safety.policy import Finding

class Words:
    def check(self, text):
        return Finding("prompt", "house_rules", 1.0) if "castle" in text else None

class Sides:
    def check(self, picture):
        return Finding("picture", "wide", 1.0) if picture.width in (2, 80) else None

class Fails:
    def check(self, given): raise ValueError("the text of the error")

def leaves(): sys.exit(0)
"""


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sexual(_: Picture) -> Finding:
    return Finding("picture", "sexual", 0.97)


def test_a_prompt_is_refused_before_anything_is_loaded(
    linocut: Run, fake: Any, doubts: Any, folder: Path
) -> None:
    done = linocut("generate", REFUSED, *SMALL)
    assert (done.code, done.out) == (ContentRefused.exit_code, b"")
    assert done.err.splitlines() == [
        "error: the safety check stopped this prompt (stage: input, category: sexual); "
        "nothing was kept",
        "hint: change the prompt",
    ]
    assert fake.requests == []
    assert doubts.opened == 0
    assert listing(folder) == []


def test_a_reference_is_refused_before_the_checkpoint_is_loaded(
    linocut: Run, fake: Any, doubts: Any, folder: Path
) -> None:
    Image.new("RGB", (80, 64), "red").save(folder / "a.png")
    doubts.about = lambda picture: sexual(picture) if picture.width == 80 else None
    done = linocut("generate", "make it blue", "--image", "a.png", *SMALL)
    assert (done.code, done.out) == (8, b"")
    assert "stopped a reference picture (stage: input, category: sexual)" in done.err
    assert fake.requests == []
    assert listing(folder) == ["a.png"]


@pytest.mark.parametrize("output", [(), ("-o", "a.png"), ("-o", "-")])
def test_a_drawn_picture_that_is_refused_is_nowhere(
    linocut: Run, fake: Any, doubts: Any, folder: Path, output: tuple[str, ...]
) -> None:
    doubts.about = sexual
    done = linocut("generate", "a red apple", *SMALL, *output)
    assert (done.code, done.out) == (8, b"")
    assert "stopped the drawn picture (stage: output, category: sexual)" in done.err
    assert "draw with another seed" in done.err
    assert len(fake.requests) == 1
    assert not fake.is_open
    assert listing(folder) == []


def test_a_doubtful_preview_is_not_shown_and_the_picture_decides(
    linocut: Run, fake: Any, doubts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("linocut.cli.generate.shows_colours", lambda _: True)
    monkeypatch.setattr(
        "linocut.cli.progress.Display.show", lambda _, event: shown.append(type(event).__name__)
    )
    for about, previews in (
        (lambda p: sexual(p) if p.width == 2 else None, 0),
        (lambda _: None, 4),
    ):
        shown.clear()
        doubts.about = about
        assert linocut("generate", "x", *SMALL, "--preview").code == 0
        assert shown.count("Preview") == previews
        assert shown.count("Step") == 4


def test_a_refused_picture_is_not_left_on_the_terminal(
    linocut: Run, fake: Any, doubts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[Picture] = []
    monkeypatch.setattr("linocut.cli.generate.shows_colours", lambda _: True)
    monkeypatch.setattr(
        "linocut.cli.progress.Display.leave", lambda _, picture: left.append(picture)
    )
    doubts.about = lambda picture: sexual(picture) if picture.width == 64 else None
    assert linocut("generate", "x", *SMALL, "--preview").code == 8
    assert left == []


def test_the_switch_turns_both_checks_off_and_says_so(
    linocut: Run, fake: Any, doubts: Any, folder: Path
) -> None:
    doubts.about = sexual
    done = linocut("generate", REFUSED, *SMALL, SWITCH, "--json", "--seed", "7")
    assert done.code == 0
    assert f"warning: {SWITCH}: neither the prompt nor any picture is checked" in done.err
    assert json.loads(done.out)["safety"] == {"checked": False}
    assert doubts.opened == 0
    assert listing(folder) == ["a-naked-woman-7.webp"]


def test_without_the_switch_the_answer_says_that_it_was_checked(
    linocut: Run, fake: Any, doubts: Any
) -> None:
    done = linocut("generate", "a red apple", *SMALL, "--json")
    assert json.loads(done.out)["safety"] == {"checked": True}
    assert SWITCH not in done.err
    assert doubts.opened == 1


def test_the_network_is_what_checks(
    linocut: Run, fake: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PictureCheck, "open", OPEN)
    seen: list[float] = []
    score = PictureCheck.score

    def noted(check: PictureCheck, picture: Picture) -> float:
        seen.append(score(check, picture))
        return seen[-1]

    monkeypatch.setattr(PictureCheck, "score", noted)
    Image.new("RGB", (80, 64), "red").save(folder / "a.png")
    done = linocut("generate", "a red apple", "--image", "a.png", *SMALL)
    assert (done.code, len(seen)) == (0, 2)
    assert all(0 < value < 0.5 for value in seen)


def test_a_command_that_draws_nothing_imports_no_check() -> None:
    code = (
        "import sys, linocut.cli.main as cli; cli.main(['ls']); "
        "print(sorted({'onnxruntime', 'disarm', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.splitlines()[-1] == "[]"


def test_the_text_encoder_is_asked_where_that_is_wanted(
    linocut: Run, doubts: Any, folder: Path, judging_folder: Path, small: Any
) -> None:
    accepted, refused = small.judged
    flags = (*SMALL, "--checkpoint", judging_folder, "--device", "cpu")
    model = ("--safety-model", "text_encoder")
    done = linocut("generate", refused, *flags, *model)
    assert (done.code, done.out) == (8, b"")
    assert "stopped this prompt (stage: input, category: violence)" in done.err
    assert listing(folder) == []
    assert linocut("generate", accepted, *flags, *model, "-o", "a.png").code == 0
    assert linocut("generate", refused, *flags, "-o", "b.png").code == 0
    assert listing(folder) == ["a.png", "b.png"]


def test_a_checkpoint_that_cannot_be_asked_is_told_before_it_is_loaded(
    linocut: Run, doubts: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linocut.engine.engine.Engine.open", None)
    done = linocut("generate", "a red apple", *SMALL, "--safety-model", "text_encoder")
    assert (done.code, done.out) == (CheckpointInvalid.exit_code, b"")
    assert "linocut-mini has 7 layers and cannot answer questions" in done.err
    assert "safety_model=terms" in done.err
    assert listing(folder) == []


def test_no_check_and_a_stricter_one_contradict_each_other(
    linocut: Run, fake: Any, folder: Path
) -> None:
    done = linocut("generate", "x", *SMALL, SWITCH, "--safety-model", "text_encoder")
    assert done.code == 2
    assert "contradict each other" in done.err
    assert fake.requests == []


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module's name."""
    (tmp_path / "cli_checks.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return "cli_checks"


@pytest.mark.parametrize("by_variable", [False, True])
def test_others_checks_stand_beside_ours(
    linocut: Run, plugged: str, monkeypatch: pytest.MonkeyPatch, fake: Any, by_variable: bool
) -> None:
    flags: tuple[str, ...] = ("--prompt-check", "terms", "--prompt-check", f"{plugged}:Words")
    if by_variable:
        flags = ()
        monkeypatch.setenv("LINOCUT_PROMPT_CHECKS", f"terms,{plugged}:Words")
    for prompt, category in ((REFUSED, "sexual"), ("a castle", "house_rules")):
        done = linocut("generate", prompt, *SMALL, *flags)
        assert (done.code, done.out) == (8, b"")
        assert f"stopped this prompt (stage: input, category: {category})" in done.err
    assert fake.requests == []
    assert linocut("generate", "a red apple", *SMALL, *flags, "-o", "a.png").code == 0
    assert listing(Path()) == ["a.png"]


def test_a_flag_counts_more_than_the_variable_and_ours_may_be_left_out(
    linocut: Run, fake: Any, doubts: Any, plugged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINOCUT_PROMPT_CHECKS", "nowhere_at_all:Mine")
    monkeypatch.setenv("LINOCUT_PICTURE_CHECKS", "nowhere_at_all:Mine")
    flags = ("--prompt-check", f"{plugged}:Words", "--picture-check", f"{plugged}:Sides")
    assert linocut("generate", REFUSED, *SMALL, *flags).code == 0
    assert doubts.opened == 0
    done = linocut("generate", "x", "--width", "80", "--height", "64", *flags)
    assert done.code == 8
    assert "stopped the drawn picture (stage: output, category: wide)" in done.err


def test_a_preview_obeys_them_too(
    linocut: Run, fake: Any, plugged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("linocut.cli.generate.shows_colours", lambda _: True)
    monkeypatch.setattr(
        "linocut.cli.progress.Display.show", lambda _, event: shown.append(type(event).__name__)
    )
    flags = ("--preview", "--picture-check", "opennsfw", "--picture-check", f"{plugged}:Sides")
    assert linocut("generate", "x", *SMALL, *flags).code == 0
    assert shown.count("Step") == 4
    assert "Preview" not in shown


@pytest.mark.usefixtures("plugged")
@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--prompt-check", "term"), 2, "'term' is no prompt check: use terms, or module:factory"),
        (("--picture-check", "terms"), 2, "'terms' is no picture check: use opennsfw, or module"),
        (("--prompt-check", "nowhere:Mine"), 9, "No module named 'nowhere'"),
        (("--picture-check", "nowhere:Mine"), 9, "No module named 'nowhere'"),
        (("--picture-check", "cli_checks:leaves"), 9, "cannot be loaded: SystemExit"),
        (("--prompt-check", "cli_checks:Fails"), 9, "failed: ValueError (cli_checks.py, line 14)"),
    ],
)
def test_a_check_that_does_not_work_is_two_lines_and_nothing_is_loaded(
    linocut: Run, fake: Any, flags: tuple[str, ...], code: int, words: str
) -> None:
    done = linocut("generate", "a red apple", *SMALL, *flags)
    assert (done.code, done.out) == (code, b"")
    assert words in done.err
    assert 1 <= len(done.err.splitlines()) <= 2
    assert "the text of the error" not in done.err
    assert fake.requests == []
    assert listing(Path()) == []


def test_a_check_that_fails_at_the_picture_keeps_nothing(
    linocut: Run, fake: Any, plugged: str, folder: Path
) -> None:
    done = linocut("generate", "x", *SMALL, "--picture-check", f"{plugged}:Fails")
    assert (done.code, done.out) == (CheckFailed.exit_code, b"")
    assert len(fake.requests) == 1
    assert listing(folder) == []


def test_a_variable_that_names_no_check_is_refused(
    linocut: Run, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINOCUT_PICTURE_CHECKS", ",")
    done = linocut("generate", "x", *SMALL)
    assert done.code == 2
    assert "no picture check is named" in done.err
    assert SWITCH in done.err
    assert linocut("generate", "x", *SMALL, SWITCH).code == 0


@pytest.mark.parametrize("flag", ["--prompt-check", "--picture-check"])
def test_no_check_and_a_named_one_contradict_each_other(linocut: Run, fake: Any, flag: str) -> None:
    done = linocut("generate", "x", *SMALL, SWITCH, flag, "my_checks:Mine")
    assert done.code == 2
    assert f"{SWITCH} and {flag} my_checks:Mine contradict each other" in done.err
    assert fake.requests == []


def test_what_checks_pictures_tells_nobody_of_it(tiny_folder: Path, tmp_path: Path) -> None:
    """onnxruntime reports to its makers through a file in the user's cache, unless it may not."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("ORT_", "XDG_", "LINOCUT_"))}  # fmt: skip
    home = {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(Path(linocut.__file__).parents[1])}
    (tmp_path / "home").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "linocut", "generate", "x", "--checkpoint", str(tiny_folder),
         *SMALL, "-o", "x.png", "--json"],
        env=kept | home, cwd=tmp_path, check=True, timeout=600, capture_output=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["safety"]["checked"] is True
    assert list((tmp_path / "home").rglob("*onnx*")) == []
