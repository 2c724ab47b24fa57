"""Who wants to make the checkpoint again finds what it was made with, and how it went."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from linocut_training import evaluate, fetch, record
from linocut_training.plans import WIDENING


def test_a_record_says_what_it_was_made_with_and_how_each_part_went(exported, tmp_path) -> None:
    work, checkpoint = tmp_path / "logs", exported(3)
    work.mkdir()
    steps = {"transformer": [0, 10], "classifier": [0]}
    for part, its in steps.items():
        lines = [json.dumps({"seconds": 1.5, "step": step, "loss": 0.25}) for step in its]
        (work / f"{part}.log").write_text("\n".join(lines) + "\n")
    plan = replace(WIDENING, seed=5, shaped_steps=20)
    record.write(work, plan, checkpoint, tmp_path)
    first, *others = map(json.loads, (tmp_path / record.FILE).read_text().splitlines())
    assert others == [
        {"part": part, "seconds": 1.5, "step": step, "loss": 0.25}
        for part, its in steps.items()
        for step in its
    ]
    assert (first["plan"]["seed"], first["plan"]["shaped_steps"]) == (5, 20)
    assert first["plan"]["new_styles"] == list(plan.new_styles)
    found = {"torch": torch, "numpy": np, "Pillow": Image}
    assert {name: first["versions"][name] for name in found} == {
        name: module.__version__ for name, module in found.items()
    }
    assert set(first["drawings"].values()) == {it.sha256 for it in fetch.PACKAGES.values()}
    vocabulary = Path(record.__file__).with_name("vocabulary.tsv").read_bytes()
    assert first["vocabulary_sha256"] == hashlib.sha256(vocabulary).hexdigest()
    assert first["weights_sha256"] == evaluate.fingerprint(checkpoint)
    assert evaluate.fingerprint(exported(4)) != first["weights_sha256"]
