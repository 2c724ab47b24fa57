"""What a checkpoint was taught is found in prompts, and a list that nobody can read is an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.errors import CheckpointInvalid
from linocut.repertoire import MOST_LETTERS, MOST_THINGS, Repertoire, Thing, read_repertoire

THINGS = (
    Thing("red apple", "food", ("apple", "apples")),
    Thing("jack-o'-lantern", "faces"),
    Thing("mouse", "animals", ("mice",)),
    Thing("sailboat", "vehicles", ("sailboats",)),
    Thing("speedboat", "vehicles"),
    Thing("elephant", "animals"),
    Thing("four-leaf clover", "nature"),
    Thing("cr\u00eape", "food"),
)
TAUGHT = Repertoire(THINGS, ("3D", "flat"), ("white", "teal"))
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
        ("a xylophone", ()),
        ("an ant", ()),
        ("word " * 12 + "elefant", ()),
    ],
)
def test_what_may_be_meant_ends_so_or_is_nearly_written_so(
    prompt: str, names: tuple[str, ...]
) -> None:
    assert TAUGHT.meant(prompt) == names


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
    assert list(TAUGHT.by_group) == ["food", "faces", "animals", "vehicles", "nature"]
    assert TAUGHT.by_group["food"] == ("red apple", "cr\u00eape")


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
        ("styles", "3D"),
        ("styles", None),
        ("backgrounds", [None]),
        ("backgrounds", ["\ud800"]),
        ("sizes", ["small"]),
    ],
)
def test_a_file_is_held_to_its_types(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(CheckpointInvalid) as caught:
        read_repertoire(written(tmp_path, **{key: value}))
    assert str(tmp_path / "repertoire.json") in str(caught.value)
