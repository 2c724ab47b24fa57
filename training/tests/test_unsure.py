"""What is to be practised more is what the edition before was told to draw badly."""

import json

import pytest

from linocut_training.concepts import CONCEPTS
from linocut_training.gates import FOLDER
from linocut_training.unsure import unsure


def row(index: int, right: int, pictures: int = 4) -> dict:
    return {"concept": CONCEPTS[index].key, "top1": right, "pictures": pictures}


def test_a_thing_that_is_right_in_half_of_its_pictures_or_fewer_is_unsure(tmp_path) -> None:
    rows = [row(3, 0), row(5, 2), row(7, 3), row(9, 4), row(11, 1, 2), row(13, 2, 3)]
    (tmp_path / "results.json").write_text(json.dumps({"concepts": rows}))
    assert unsure(tmp_path) == {3, 5, 11}


def test_it_reads_the_table_that_the_shipped_checkpoint_came_with() -> None:
    table = (FOLDER.parents[1] / "checkpoints/linocut-mini/evaluation.md").read_text()
    line = next(it for it in table.splitlines() if it.startswith("Never recognised"))
    never = line.split(": ")[1].rstrip(".").split(", ")
    assert never
    assert {CONCEPTS[index].key for index in unsure()} >= set(never)


def test_without_an_evaluation_there_is_nothing_to_go_by(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"results\.json"):
        unsure(tmp_path)
