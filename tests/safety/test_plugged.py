"""Checks by name: ours and others', asked in turn, and whatever goes wrong with them, in words."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from linocut.errors import CheckFailed, ContentRefused, InvalidRequest
from linocut.request import ImageRequest, Picture
from linocut.safety.checks import admitted, drawn
from linocut.safety.picture import PictureCheck
from linocut.safety.plugged import picture_checks, prompt_checks
from linocut.safety.policy import PICTURE_CHECKS, PROMPT_CHECKS, Finding

PAGE = Path(__file__).parents[2] / "docs" / "safety.md"
BLACK, GREY = (Picture(64, 64, level * (3 * 64 * 64)) for level in (b"\0", b"\x80"))
RUDE = "a naked woman"  # which the terms refuse
MODULE = """
from linocut.safety.policy import Finding

asked = []

class Says:
    def __init__(self, answer=None): self.answer = answer
    def check(self, given):
        asked.append(given)
        if isinstance(self.answer, BaseException): raise self.answer
        return self.answer

class Reader(Says):
    def check(self, text):
        asked.append("Reader")
        return Finding("prompt", "house_rules", 1.0) if "castle" in text else None

Later = lambda: Says(Finding("prompt", "later", 0.5))
looks = lambda: Says(Finding("picture", "looks_odd", 0.5))
"""
Plug = Callable[[str], str]


@pytest.fixture
def plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plug]:
    """Makes a module of these lines that can be imported for this test; its name."""
    monkeypatch.syspath_prepend(tmp_path)
    made: list[str] = []

    def write(text: str) -> str:
        made.append(f"plugged_{len(made)}")
        (tmp_path / f"{made[-1]}.py").write_text(text, encoding="utf-8")
        return made[-1]

    yield write
    for name in made:
        sys.modules.pop(name, None)


def test_ours_are_found_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prompt_checks(PROMPT_CHECKS).check(RUDE) == Finding("prompt", "sexual", 1.0)
    assert prompt_checks(PROMPT_CHECKS).check("a red apple") is None
    assert picture_checks(PICTURE_CHECKS).check(GREY) is None
    monkeypatch.setattr(PictureCheck, "score", lambda _, picture: len(picture.rgb) / 1e5)
    assert picture_checks(PICTURE_CHECKS).check(GREY) is None
    wide = Picture(1024, 64, bytes(3 * 64 * 1024))
    assert picture_checks(PICTURE_CHECKS).check(wide) == Finding("picture", "sexual", 1.96608)


def test_our_network_gets_the_threads_that_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    opened = PictureCheck.open
    monkeypatch.setattr(
        PictureCheck, "open", lambda *, threads: (seen.append(threads), opened(threads=threads))[1]
    )
    picture_checks(PICTURE_CHECKS, threads=3).check(GREY)
    assert seen == [3]


def test_one_stands_beside_ours_and_both_refuse(plug: Plug) -> None:
    check = prompt_checks(("terms", f"{plug(MODULE)}:Reader"))
    assert check.check(RUDE) == Finding("prompt", "sexual", 1.0)
    assert check.check("a castle") == Finding("prompt", "house_rules", 1.0)
    assert check.check("a red apple") is None


def test_one_in_the_place_of_ours_leaves_ours_out(plug: Plug) -> None:
    check = prompt_checks((f"{plug(MODULE)}:Reader",))
    assert check.check(RUDE) is None
    assert check.check("a castle") is not None


def test_the_first_finding_ends_it(plug: Plug) -> None:
    name = plug(MODULE)
    check = prompt_checks((f"{name}:Later", f"{name}:Reader"))
    assert check.check("a castle") == Finding("prompt", "later", 0.5)
    assert sys.modules[name].asked == ["a castle"]
    check = prompt_checks((f"{name}:Reader", f"{name}:Later"))
    assert check.check("a castle") == Finding("prompt", "house_rules", 1.0)


def test_what_it_finds_is_refused_with_its_category_and_stage(plug: Plug) -> None:
    name = plug(MODULE)
    words, pictures = prompt_checks((f"{name}:Reader",)), picture_checks((f"{name}:looks",))
    with pytest.raises(ContentRefused) as caught:
        admitted(ImageRequest(prompt="a castle"), words, lambda: pictures)
    assert (caught.value.stage, caught.value.category) == ("input", "house_rules")
    with pytest.raises(ContentRefused) as caught:
        drawn(GREY, pictures)
    assert (caught.value.stage, caught.value.category) == ("output", "looks_odd")


def test_it_is_made_once_however_often_it_is_asked(plug: Plug) -> None:
    name = plug("made = []\nclass One:\n def __init__(s): made.append(s)\n def check(s, t): pass")
    check = prompt_checks((f"{name}:One",))
    assert [check.check("a"), check.check("b")] == [None, None]
    assert len(sys.modules[name].made) == 1


def test_a_factory_may_be_a_method(plug: Plug) -> None:
    name = plug(MODULE + "class Box:\n    make = staticmethod(Reader)\n")
    assert prompt_checks((f"{name}:Box.make",)).check("a castle") is not None


@pytest.mark.parametrize("names", [(), ("opennsfw",), ("terms", "my_checks")])
def test_a_wrong_name_loads_nothing(names: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest):
        prompt_checks(names)
    with pytest.raises(InvalidRequest):
        picture_checks(("terms",))


@pytest.mark.parametrize(
    ("text", "factory", "words"),
    [
        ("import nowhere_at_all", "Mine", r"ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def f(:", "Mine", r"SyntaxError: .*\(plugged_0\.py, line 1\)"),
        ("x = 1\nraise OSError('no disk')", "Mine", r"OSError: no disk \(plugged_0\.py, line 2\)"),
        ("import sys\nsys.exit(0)", "Mine", r"SystemExit: 0 \(plugged_0\.py, line 2\)"),
        ("", "Mine", r"AttributeError: module 'plugged_0' has no attribute 'Mine'"),
        ("Mine = 3", "Mine", r"TypeError: 'int' object is not callable"),
        ("def Mine(path): ...", "Mine", r"TypeError: .*missing 1 required positional argument"),
        ("def Mine():\n raise KeyError('k')", "Mine", r"KeyError: 'k' \(plugged_0\.py, line 2\)"),
        ("def Mine():\n raise MemoryError", "Mine", r"MemoryError \(plugged_0\.py, line 2\)"),
        ("def Mine(): ...", "Mine", r"NoneType has no method check\(picture\)"),
        ("class Mine:\n check = 'no'", "Mine", r"Mine has no method check\(picture\)"),
        ("def Mine():\n raise OSError('\\udcff' + 'x' * 999)", "Mine", r"OSError: \?x{200,300} \("),
    ],
)
def test_one_that_cannot_be_loaded_is_told_with_what_to_do(
    plug: Plug, text: str, factory: str, words: str
) -> None:
    name = f"{plug(text)}:{factory}"
    with pytest.raises(CheckFailed, match=words) as caught:
        picture_checks(("opennsfw", name))
    assert caught.value.message.startswith(f"the picture check {name} cannot be ")
    assert "PYTHONPATH" in caught.value.hint
    assert "check(picture)" in caught.value.hint
    assert (caught.value.code, caught.value.exit_code) == ("check_failed", 9)
    caught.value.message.encode()


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(CheckFailed, match="No module named 'nowhere_at_all'") as caught:
        prompt_checks(("nowhere_at_all:Mine",))
    assert "the prompt check nowhere_at_all:Mine cannot be loaded" in caught.value.message
    assert "check(text)" in caught.value.hint


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("ValueError('a castle')", r"failed: ValueError \(plugged_0\.py, line 10\)$"),
        ("StopIteration('a castle')", r"failed: StopIteration \(plugged_0\.py, line 10\)$"),
        ("SystemExit(0)", r"failed: SystemExit \(plugged_0\.py, line 10\)$"),
        ("MemoryError()", r"failed: MemoryError"),
        ("__import__('linocut').errors.ContentRefused('x', stage='a', category='a castle')",
         r"failed: ContentRefused"),
        ("False", "answered bool, and a check answers None or a Finding"),
        ("0", "answered int"),
        ("''", "answered str"),
        ("('prompt', 'rude', 1.0)", "answered tuple"),
        ("Finding('picture', 'rude', 1.0)", "not about a prompt: use Finding\\('prompt'"),
        ("Finding('prompt', '', 1.0)", "no plain word: use 1 to 40 letters from a to z and _"),
        ("Finding('prompt', 'a castle', 1.0)", "no plain word"),
        ("Finding('prompt', 'Rude', 1.0)", "no plain word"),
        ("Finding('prompt', 'rude\\n', 1.0)", "no plain word"),
        ("Finding('prompt', 'a' * 41, 1.0)", "no plain word"),
        ("Finding('prompt', None, 1.0)", "no plain word"),
    ],
)  # fmt: skip
def test_one_that_fails_lets_nothing_pass_and_quotes_nothing(
    plug: Plug, answer: str, words: str
) -> None:
    name = f"{plug(MODULE + f'Mine = lambda: Says({answer})')}:Mine"
    check = prompt_checks(("terms", name))
    with pytest.raises(CheckFailed, match=words) as caught:
        admitted(ImageRequest(prompt="a castle"), check, lambda: picture_checks(PICTURE_CHECKS))
    assert caught.value.message.startswith(f"the prompt check {name} failed: ")
    assert "castle" not in caught.value.message + caught.value.hint
    assert "has to mend it" in caught.value.hint
    assert check.check(RUDE) is not None  # the terms come first


def test_the_longest_category_is_told_as_it_is(plug: Plug) -> None:
    name = plug(MODULE + f"Mine = lambda: Says(Finding('prompt', '{'a_' * 20}', 1.0))")
    found = prompt_checks((f"{name}:Mine",)).check("x")
    assert found is not None
    assert found.category == "a_" * 20


def test_who_presses_ctrl_c_is_obeyed(plug: Plug) -> None:
    name = plug(MODULE + "Mine = lambda: Says(KeyboardInterrupt())")
    check = prompt_checks((f"{name}:Mine",))
    with pytest.raises(KeyboardInterrupt):
        check.check("x")


def test_the_page_s_own_module_does_what_it_says(plug: Plug) -> None:
    text = PAGE.read_text(encoding="utf-8").split("## Checks of your own")[1]
    (module,) = re.findall(r"(?ms)^```python\n(.*?)^```$", text.split("\n## ")[0])
    name = plug(module)
    words = prompt_checks(("terms", f"{name}:Names"))
    assert words.check("a portrait of Ada Lovelace") == Finding("prompt", "names", 1.0)
    assert words.check(RUDE) == Finding("prompt", "sexual", 1.0)
    assert words.check("a red apple") is None
    pictures = picture_checks(("opennsfw", f"{name}:Blank"))
    assert pictures.check(BLACK) == Finding("picture", "blank", 1.0)
    assert pictures.check(Picture(64, 64, BLACK.rgb[:-1] + b"\1")) is None


@pytest.mark.parametrize(
    ("call", "loaded"),
    [
        ("", []),
        ("prompt_checks(['terms'])", ["disarm"]),
        ("picture_checks(['decimal:Decimal'])", []),
    ],
)
def test_what_is_not_named_is_not_imported(call: str, loaded: list[str]) -> None:
    code = (
        "import sys; from linocut.safety.plugged import *; from linocut.errors import CheckFailed\n"
        f"try: {call or None}\nexcept CheckFailed: pass\n"
        "print(sorted({'onnxruntime', 'numpy', 'disarm', 'torch'} & set(sys.modules)))"
    )
    ran: Any = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == str(loaded)
