"""What a checkpoint was taught is found in prompts, and a list that nobody can read is an error."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.catalog import MINI
from linocut.errors import CheckpointInvalid
from linocut.repertoire import (
    MOST_LETTERS,
    MOST_THINGS,
    MOST_WAYS,
    Repertoire,
    Thing,
    read_repertoire,
)
from linocut.workers.frames import read_frame, write_frame
from linocut.workers.protocol import Ready

THINGS = (
    Thing("red apple", "food", ("apple", "apples")),
    Thing("jack-o'-lantern", "faces"),
    Thing("mouse", "animals", ("mice",)),
    Thing("sailboat", "vehicles", ("sailboats",)),
    Thing("speedboat", "vehicles"),
    Thing("elephant", "animals"),
    Thing("four-leaf clover", "nature"),
    Thing("cr\u00eape", "food"),
    Thing("orange", "food"),
    Thing("wooden chair", "household"),
    Thing("loo", "household"),
    Thing("door", "household"),
    Thing("duck", "animals", ("common teal",)),
    Thing("potted plant", "nature"),
    Thing("eggplant", "food"),
)
TAUGHT = Repertoire(THINGS, ("3D", "sticker"), ("white", "teal", "orange"))
SAID: dict[str, Any] = {
    "things": {"food": {"red apple": ["apple"], "pear": []}, "animals": {"fox": ["foxes"]}},
    "styles": ["3D"],
    "backgrounds": ["white"],
}


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("a red apple", ["red apple"]),
        ("Two APPLES, teal background", ["red apple"]),
        ("three mice and an apple", ["red apple", "mouse"]),
        ("a Jack O Lantern", ["jack-o'-lantern"]),
        ("jack\u2010o\u2019\u2010lantern", ["jack-o'-lantern"]),
        ("a crepe", ["cr\u00eape"]),
        ("a CRE\u0302PE", ["cr\u00eape"]),
        ("a pineapple", []),
        ("a red apple-tree", ["red apple"]),
        ("red, apple", ["red apple"]),
        ("", []),
        ("\U0001f34e", []),
        (
            "\U0001d40c\U0001d428\U0001d42e\U0001d42c\U0001d41e",
            ["mouse"],
        ),  # in bold letters of Unicode
        ("mo\u00aduse, mo\u200buse", ["mouse"]),
        ("a boat, orange background", []),
        ("a boat, orange to teal gradient background", []),
        ("a boat, teal to orange background", []),
        ("an orange, orange background", ["orange"]),
        ("x" * 3000 + " mouse", []),
    ],
)
def test_things_are_found_by_whole_words(prompt: str, names: list[str]) -> None:
    assert [thing.name for thing in TAUGHT.named(prompt)] == names


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("a boat on a lake", ("sailboat", "speedboat")),
        ("an elefant", ("elephant",)),
        ("a bridge over a river", ()),
        ("moouse", ("mouse",)),
        ("moose", ()),
        ("a xylophone", ()),
        ("an ant", ()),
        ("word " * 12 + "elefant", ()),
        ("a of in " * 12 + "elefant", ("elephant",)),
        ("a plant", ("potted plant",)),
        ("eggplnt", ("eggplant",)),
    ],
)
def test_what_may_be_meant_ends_so_or_is_nearly_written_so(
    prompt: str, names: tuple[str, ...]
) -> None:
    assert TAUGHT.meant(prompt) == names


@pytest.mark.parametrize(
    "prompt",
    [
        "a company logo", "pink hair", "a doctor", "a bridge, sticker style, teal background",
        "a lock", "a hat", "a coat", "a house", "x" * 5000, "\ufdfa" * 5000,
    ],
)  # fmt: skip
def test_nothing_is_suggested_that_is_only_a_little_alike(prompt: str) -> None:
    assert (TAUGHT.named(prompt), TAUGHT.meant(prompt)) == ((), ())


@given(st.text(max_size=200))
def test_no_prompt_is_too_strange_to_be_looked_at(prompt: str) -> None:
    known = {thing.name for thing in THINGS}
    assert {thing.name for thing in TAUGHT.named(prompt)} <= known
    assert set(TAUGHT.meant(prompt)) <= known


@given(
    st.sampled_from(THINGS),
    st.sampled_from(["a {}", "{}, flat style", "draw ({})!", "\u00ab{}\u00bb"]),
)
def test_whatever_a_thing_is_called_it_is_found(thing: Thing, words: str) -> None:
    for name in (thing.name, *thing.also):
        assert thing in TAUGHT.named(words.format(name.upper()))


def test_groups_keep_their_order() -> None:
    assert list(TAUGHT.by_group) == [
        *("food", "faces", "animals", "vehicles", "nature", "household"),
    ]
    assert TAUGHT.by_group["animals"] == ["mouse", "elephant", "duck"]


def written(folder: Path, **said: object) -> Path:
    text = json.dumps(SAID | said)
    (folder / "repertoire.json").write_text(text, encoding="utf-8")
    return folder


def test_a_folder_without_the_file_was_taught_everything(tmp_path: Path) -> None:
    assert read_repertoire(tmp_path) is None


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    assert read_repertoire(written(tmp_path)) == Repertoire(
        (
            Thing("red apple", "food", ("apple",)),
            Thing("pear", "food"),
            Thing("fox", "animals", ("foxes",)),
        ),
        styles=("3D",),
        backgrounds=("white",),
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("things", {}),
        ("things", {"food": {}}),
        ("things", ["apple"]),
        ("things", {"food": ["apple"]}),
        ("things", {"food": {"apple": "apples"}}),
        ("things", {"food": {"apple": [1]}}),
        ("things", {"food": {"": []}}),
        ("things", {"food": {"...": []}}),
        ("things", {"food": {"ap\x1bple": []}}),
        ("things", {"food": {"apple": ["ap\u202eple"]}}),
        ("things", {"food": {"a" * (MOST_LETTERS + 1): []}}),
        ("things", {"\x1b[2J": {"apple": []}}),
        ("things", {"food": {f"thing {number}": [] for number in range(MOST_THINGS + 1)}}),
        ("things", {"food": {"apple": []}, "fruit": {"Apple!": []}}),
        ("things", {"g": {f"{number} {'x' * 90}": [] for number in range(2200)}}),
        ("backgrounds", ["x" * MOST_LETTERS] * 2000),
        ("styles", "3D"),
        ("styles", None),
        ("styles", ["x"] * (MOST_WAYS + 1)),
        ("things", {"\ud800": {}}),
        ("things", {"g" * 200: []}),
        ("backgrounds", [None]),
        ("backgrounds", ["\ud800"]),
        ("sizes", ["small"]),
    ],
)
def test_a_file_is_held_to_its_types(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(CheckpointInvalid) as caught:
        read_repertoire(written(tmp_path, **{key: value}))
    assert str(tmp_path / "repertoire.json") in str(caught.value)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_plain_file_is_an_error_and_not_waited_for(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "repertoire.json")
    with pytest.raises(CheckpointInvalid, match=r"repertoire\.json is no plain file"):
        read_repertoire(tmp_path)


def test_without_backgrounds_all_words_are_looked_at() -> None:
    plain = Repertoire((Thing("orange", "food"),), (), ())
    assert plain.named("a boat, orange background") == plain.things


def test_whatever_is_read_can_be_sent_by_a_worker(tmp_path: Path) -> None:
    letters = "\U00020000" * 9  # of which JSON makes twelve bytes each
    things = {"g": {f"{number:05}{letters}": [] for number in range(MOST_THINGS)}}
    large = read_repertoire(written(tmp_path, things=things))
    ready = Ready(
        checkpoint="x", demo=True, device="cpu", modes=("exact",), fast=None, config=MINI, rates={},
        repertoire=large,
    )  # fmt: skip
    assert read_frame(io.BytesIO(write_frame(ready))) == ready
