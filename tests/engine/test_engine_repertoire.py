"""Whoever asks a checkpoint for what it was never taught is told so."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from linocut.engine import Engine
from linocut.request import ImageRequest

REQUEST = ImageRequest(prompt="", width=64, height=64, num_inference_steps=1, seed=0)


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("an Owl in a tree", ()),
        ("", ()),
        (" ", ()),
        ("a bridge", ("none of the 2 things that toy was taught (see GET /models); it",)),
        ("a yacht, a sailboatt", ("the 2 things that toy was taught", "did you mean sailboat?")),
    ],
)
def test_a_prompt_for_nothing_that_was_taught_is_told(
    tiny_folder: Path, tmp_path: Path, small: SimpleNamespace, prompt: str, told: tuple[str, ...]
) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "toy")
    things = {"animals": {"owl": ["owls"]}, "vehicles": {"sailboat": ["boat"]}}
    said = {"things": things, "styles": [], "backgrounds": []}
    (folder / "repertoire.json").write_text(json.dumps(said), encoding="utf-8")
    with Engine.open(folder, device="cpu") as engine:
        warnings = engine.draw(replace(REQUEST, prompt=prompt)).warnings
        assert len(warnings) == len(told)
        assert all(part in whole for part, whole in zip(told, warnings, strict=True))
        # Who changes a picture need not say what it shows.
        edit = replace(REQUEST, prompt=prompt, references=(small.random_picture(64, 64, 1),))
        assert engine.draw(edit).warnings == ()


def test_of_a_known_checkpoint_the_command_that_lists_its_things_is_told() -> None:
    with Engine.open("linocut-mini", device="cpu") as engine:
        (_, told) = engine.plan(replace(REQUEST, prompt="a bridge")).warnings
    assert "of the 290 things" in told
    assert "`linocut info linocut-mini --things` lists them" in told
