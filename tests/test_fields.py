"""JSON files of strangers: broken, giant, or with a field that is something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from linocut.errors import CheckpointInvalid
from linocut.fields import Fields, read_fields


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", '{"a": 1,}', "[" * 100_000, "\udcff", '{"a": ' + "9" * 5000 + "}"],
    ids=lambda text: text[:8],
)
def test_broken_json_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointInvalid, match=str(file)):
        read_fields(file)


def test_a_giant_json_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.json").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(CheckpointInvalid, match="larger than 16 MB"):
        read_fields(tmp_path / "x.json")


FIELDS = Fields(
    Path("x.json"),
    {
        "n": 3,
        "list": [1, 2],
        "half": 0.5,
        "yes": True,
        "text": "a",
        "none": None,
        "half a pair": "\ud83c",
    },
)


def test_fields_have_their_types() -> None:
    assert FIELDS.whole("n") == 3
    assert FIELDS.wholes("list") == (1, 2)
    assert (FIELDS.number("half"), FIELDS.number("n")) == (0.5, 3.0)
    assert FIELDS.flag("yes")
    assert FIELDS.text("text") == "a"
    assert FIELDS.words("text") == ("a",)
    assert FIELDS.words("absent") == ()


def test_an_absent_field_and_null_have_the_default() -> None:
    for key in ("absent", "none"):
        assert FIELDS.whole(key, 7) == 7
        assert FIELDS.wholes(key, (7,)) == (7,)
        assert FIELDS.number(key, 7.0) == 7.0
        assert FIELDS.text(key, "seven") == "seven"
        assert not FIELDS.flag(key, default=False)


@pytest.mark.parametrize(
    "read",
    [
        lambda: FIELDS.whole("absent"),
        lambda: FIELDS.whole("yes"),
        lambda: FIELDS.whole("half"),
        lambda: FIELDS.whole("n", most=2),
        lambda: FIELDS.whole("n", least=4),
        lambda: FIELDS.wholes("n"),
        lambda: FIELDS.wholes("list", least=2),
        lambda: FIELDS.number("yes"),
        lambda: FIELDS.number("text"),
        lambda: FIELDS.flag("n"),
        lambda: FIELDS.text("n"),
        lambda: FIELDS.text("half a pair"),
        lambda: FIELDS.texts("n"),
        lambda: FIELDS.texts("list"),
        lambda: FIELDS.texts("text"),
        lambda: FIELDS.texts("absent"),
        lambda: FIELDS.known("n"),
        lambda: FIELDS.inner("n"),
        lambda: FIELDS.inner("absent"),
        lambda: FIELDS.only("text", "b"),
        lambda: FIELDS.only("n"),
    ],
)
def test_anything_else_is_refused_with_the_file_and_the_field(read: Callable[[], object]) -> None:
    with pytest.raises(CheckpointInvalid, match=r"^x\.json"):
        read()


def test_a_long_value_is_not_printed_whole() -> None:
    with pytest.raises(CheckpointInvalid) as caught:
        Fields(Path("x.json"), {"n": "9" * 10_000}).whole("n")
    assert len(caught.value.message) < 200
