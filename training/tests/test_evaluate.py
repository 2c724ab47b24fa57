"""The questions are fixed and fair, and what comes of them is counted and shown right."""

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from linocut.request import ImageRequest, Picture
from linocut_training import evaluate as evaluation
from linocut_training import gates
from linocut_training.backbone import Backbone
from linocut_training.classifier import Network
from linocut_training.concepts import BACKGROUNDS, CONCEPTS, GROUPS, HELD_PAIRS, STYLES
from linocut_training.drawing import fingerprint, to_picture
from linocut_training.evaluate import evaluate, request_of, save_sheet, table
from linocut_training.gates import Edit, Prompt, Seen

PROMPTS, GRADED, EDITS = gates.prompts(), gates.graded(), gates.edits()
HOW = gates.read_rules()["drawing"]
MINI = Path(__file__).parents[2] / "checkpoints" / "linocut-mini"


def test_the_committed_figures_are_of_the_committed_weights() -> None:
    weights = fingerprint(MINI / "src" / "linocut_mini" / "checkpoint")
    assert f"Weights: `{weights[:16]}`" in (MINI / "evaluation.md").read_text(encoding="utf-8")
    for name in ("results", "ratios", "arranged", "fidelity", "parameters"):
        found = json.loads((gates.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        assert found["weights_sha256"] == weights


def test_the_committed_questions_are_the_ones_that_are_asked() -> None:
    assert gates.read_table(gates.FOLDER / "prompts.tsv", Prompt) == PROMPTS
    assert gates.read_table(gates.FOLDER / "edits.tsv", Edit) == EDITS


def test_every_concept_is_asked_for_with_every_seed_and_in_every_style() -> None:
    asked = {(p.concept, p.seed) for p in PROMPTS}
    assert len(PROMPTS) == len(asked) == len(CONCEPTS) * len(gates.SEEDS)
    assert len({(p.concept, p.style) for p in PROMPTS}) == len(PROMPTS)
    assert {p.seed for p in PROMPTS} == set(gates.read_rules()["seeds"])


def test_styles_backgrounds_and_their_pairs_come_evenly() -> None:
    backgrounds = Counter(p.background for p in PROMPTS)
    pairs = Counter((p.style, p.background) for p in PROMPTS)
    assert set(backgrounds) == set(BACKGROUNDS)
    assert max(backgrounds.values()) - min(backgrounds.values()) <= 1
    assert len(pairs) == len(STYLES) * len(BACKGROUNDS)
    # Even but for the 25 things that were never shown in a style, of which that is asked first.
    assert (min(pairs.values()), max(pairs.values())) == (10, 19)
    assert all(len({p.style for p in PROMPTS if p.concept == c.key}) == 4 for c in CONCEPTS)


def test_the_edits_are_forty_and_each_asks_for_something_else_than_there_is() -> None:
    backgrounds = [edit for edit in EDITS if edit.kind == "background"]
    styles = [edit for edit in EDITS if edit.kind == "style"]
    assert (len(EDITS), len(backgrounds), len(styles)) == (40, 28, 12)
    assert Counter(edit.wanted for edit in backgrounds) == dict.fromkeys(BACKGROUNDS, 2)
    assert len({(edit.style, edit.wanted) for edit in styles}) == 12
    assert all(edit.wanted not in (edit.style, edit.background) for edit in EDITS)
    assert all(edit.wanted in edit.text or edit.kind == "style" for edit in EDITS)
    assert len({edit.concept for edit in EDITS}) == len({edit.seed for edit in EDITS}) == 40


def test_every_question_is_a_valid_request(work) -> None:
    for one in (PROMPTS[0], EDITS[0]):
        request = request_of(one, work, HOW)
        assert (request.prompt, request.seed) == (one.text, one.seed)
        assert len(request.references) == isinstance(one, Edit)


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [((255, 255, 255), (100, 0, 0)), ((255, 0, 0), (53.24, 80.09, 67.20)), ((0, 0, 0), (0, 0, 0))],
)
def test_lab_is_the_published_one(rgb, expected) -> None:
    assert np.allclose(gates.lab(np.array(rgb)), expected, atol=0.02)


@given(st.sampled_from(sorted(BACKGROUNDS)), st.integers(-6, 6), st.integers(16, 90), st.booleans())
def test_a_background_is_recognised_around_whatever_stands_on_it(name, off, side, touches) -> None:
    pixels = np.clip(np.full((side, side + 9, 3), BACKGROUNDS[name]) + off, 0, 255).astype(np.uint8)
    pixels[side // 4 : side * 3 // 4, 0 if touches else 5 : -5] = (1, 2, 240)
    assert gates.background_of(pixels) == name


def test_every_background_is_held_out_from_some_concepts_and_practised_with_most() -> None:
    held = [gates.held_colours(index) for index in range(len(CONCEPTS))]
    counts = Counter(colour for colours in held for colour in colours)
    assert all(len(set(colours)) == gates.HELD_COLOURS for colours in held)
    assert set(counts) == set(range(len(BACKGROUNDS)))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training folder: every concept a disc of a colour of its own, and an untrained judge."""
    folder = tmp_path_factory.mktemp("work")
    for shade, style in enumerate(STYLES.values()):
        (folder / "cutouts" / style.source).mkdir(parents=True)
        for number, concept in enumerate(CONCEPTS):
            image = Image.new("RGBA", (64, 64))
            pen = ImageDraw.Draw(image)
            pen.ellipse((4, 4, 60, 60), (60 * shade, number % 256, number // 256, 255))
            image.save(folder / "cutouts" / style.source / f"{concept.key}.png")
    torch.save(Network(Backbone()).state_dict(), folder / "classifier.pt")
    worth = {"pictures": 9, "concept": 0.9, "top5": 1.0, "style": 0.9, "background": 1.0}
    (folder / "classifier.json").write_text(
        json.dumps({
            "left_out_source": {"source": "emojione", **worth}, "held_out_compositions": worth,
        })
    )  # fmt: skip
    return folder


def test_a_model_that_draws_what_is_asked_reaches_what_the_classifier_can_tell(
    work, tmp_path, monkeypatch
) -> None:
    answers = {
        (one.text, one.seed): gates.real_answer(work, one) for one in (*PROMPTS, *GRADED, *EDITS)
    }

    def draw(request: ImageRequest) -> Picture:
        assert (request.width, request.height) == (256, 256)
        assert request.num_inference_steps == 3
        return to_picture(answers[request.prompt, request.seed])

    results = evaluate(tmp_path, work, tmp_path / "out", seeds=(2,), steps=3, draw=draw)
    assert results["generated"] == results["real"]
    assert results["generated"]["pictures"] == len(CONCEPTS)
    assert results["generated"]["background"] == 1
    assert results["generated"]["gradients"] == 1
    assert results["generated"]["background_edits_obeyed"] == 1
    assert results["gates"]["background"] == {"least": 0.95, "reached": 1, "passed": True}
    assert not results["gates"]["concept_top1"]["passed"]
    assert set(results["gates"]) == set(gates.read_rules()["gates"])
    assert results["of_real"] == gates.of_real(results["generated"], results["real"])
    assert results["gates_of_real"]["background"] == {"least": 0.98, "reached": 1, "passed": True}
    assert set(results["gates_of_real"]) == set(gates.read_rules()["of_real"])
    assert all(gate["passed"] for gate in results["gates_of_real"].values())
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results
    text = (tmp_path / "out" / "table.md").read_text()
    assert "| background | 95% | 100.0% | pass | 100.0% |" in text
    assert "| background | 98% | 100.0% | pass |\n" in text
    assert "**FAIL**" in text
    shown = {file.name for file in (tmp_path / "out").glob("sheet-*.webp")}
    assert shown == {f"sheet-{name}.webp" for name in (*GROUPS, "gradients", "edits")}
    assert all(file.stat().st_size <= 300_000 for file in (tmp_path / "out").glob("sheet-*"))


def test_a_folder_that_is_not_there_is_refused_in_words(work, tmp_path) -> None:
    with pytest.raises(SystemExit, match="no such checkpoint"):
        evaluate(tmp_path / "none", work, tmp_path / "out")


def perfect(asked: Prompt) -> Seen:
    """What a perfect judge sees in a perfect picture."""
    others = [concept.key for concept in CONCEPTS if concept.key != asked.concept][:4]
    return Seen((asked.concept, *others), asked.style, asked.background)


def test_each_share_counts_one_thing() -> None:
    asked = PROMPTS[:4]
    seen = [perfect(one) for one in asked]
    seen[1] = replace(seen[1], concepts=(seen[1].concepts[1], seen[1].concepts[0], "a", "b", "c"))
    seen[2] = replace(seen[2], style="none")
    seen[3] = replace(seen[3], concepts=("crab",) * 5, background="none")
    assert gates.shares(asked, seen) == {
        "pictures": 4,
        "concept_top1": 0.5,
        "concept_top5": 0.75,
        "style": 0.75,
        "background": 0.75,
        "held_out_pairs": 0,
    }
    row = next(row for row in gates.by_concept(asked, seen) if row["concept"] == asked[0].concept)
    assert (row["top1"], row["top5"], row["style"], row["background"]) == (2, 3, 3, 3)
    assert sorted(row["taken_for"]) == sorted([seen[1].concepts[0], "crab"])


def test_what_was_never_shown_in_a_style_is_counted_in_that_style_alone() -> None:
    held = [one for one in PROMPTS if gates.is_held_out(one)]
    keys = [concept.key for concept in CONCEPTS]
    pairs = {(keys.index(one.concept), one.style) for one in held}
    assert pairs == HELD_PAIRS
    assert len(held) == len(HELD_PAIRS)
    # The first is held out of flat, and so of pixel art, which is made of it.
    others = [one for one in PROMPTS if one.concept == held[0].concept and one not in held]
    assert len(others) == 2
    asked = [*held[:4], *others]
    seen = [perfect(one) for one in asked]
    assert gates.shares(asked, seen)["held_out_pairs"] == 1
    seen[1] = replace(seen[1], concepts=("red_apple", *seen[1].concepts[:4]))
    seen[2:4] = [replace(one, style="none") for one in seen[2:4]]
    seen[4:] = [replace(one, concepts=("red_apple",) * 5) for one in seen[4:]]
    assert gates.shares(asked, seen)["held_out_pairs"] == 0.75


@pytest.mark.parametrize("missed", [None, "gates", "gates_of_real"])
def test_the_command_fails_if_a_gate_of_either_kind_is_missed(missed, monkeypatch, capsys) -> None:
    found = {
        kind: {"style": {"least": 0.9, "reached": 0.8, "passed": kind != missed}}
        for kind in ("gates", "gates_of_real")
    }
    monkeypatch.setattr(evaluation, "evaluate", lambda *given, **more: found | {"pictures": []})
    monkeypatch.setattr(sys, "argv", ["evaluate", "checkpoint", "work", "out"])
    with pytest.raises(SystemExit) as ended:
        evaluation.main()
    assert bool(ended.value.code) == (missed is not None)
    assert json.loads(capsys.readouterr().out) == found


def test_an_edit_is_obeyed_without_the_object_and_kept_without_obedience() -> None:
    change, restyle = (next(e for e in EDITS if e.kind == kind) for kind in ("background", "style"))
    seen = [
        Seen(("crab",) * 5, change.style, change.wanted),
        Seen((restyle.concept,) * 5, restyle.style, restyle.background),
    ]
    counted = gates.edit_shares([change, restyle], seen)
    assert counted["edits_obeyed"] == counted["edits_kept"] == 0.5
    assert counted["edits_obeyed_and_kept"] == 0
    assert (counted["background_edits_obeyed"], counted["style_edits_obeyed"]) == (1, 0)
    assert (counted["background_edits_kept"], counted["style_edits_kept"]) == (0, 1)


def test_a_gate_is_passed_from_its_own_value_on() -> None:
    gate, missed = gates.checked({"a": 0.6, "b": 0.6}, {"a": 0.6, "b": 0.5999})
    assert gate.passed
    assert not missed.passed


def test_the_table_names_the_worst_and_is_sorted_by_concept() -> None:
    seen = [perfect(one) for one in PROMPTS]
    for index, one in enumerate(PROMPTS):
        if one.concept == "crab" or (one.concept == "bee" and one.seed > 1):
            seen[index] = replace(seen[index], concepts=("snail",) * 5)
    shares = gates.shares(PROMPTS, seen) | gates.edit_shares([], [])
    worth = {"source": "x", "pictures": 1, "concept": 1, "top5": 1, "style": 1, "background": 1}
    results = {
        "checkpoint": "c", "weights_sha256": "0" * 64, "drawing": HOW, "seeds": [1, 2, 3, 4],
        "generated": shares, "real": shares, "gates": {},
        "gates_of_real": {
            "concept_top1": {"least": 0.8, "reached": 0.8123, "passed": True},
            "style": {"least": 0.95, "reached": 0.9412, "passed": False},
        },
        "classifier": {"left_out_source": worth, "held_out_compositions": worth},
        "concepts": gates.by_concept(PROMPTS, seen),
    }  # fmt: skip
    lines = table(results, []).splitlines()
    assert "| concept_top1 | 80% | 81.2% | pass |" in lines
    assert "| style | 95% | 94.1% | **FAIL** |" in lines
    assert "Never recognised (1): crab." in lines
    assert "Recognised once only (1): bee." in lines
    assert "| crab | animals | 0/4 | 0/4 | 4/4 | 4/4 | snail |" in lines
    named = [line.split("|")[1].strip() for line in lines if line.count("|") == 8][2:]
    assert named == sorted(concept.key for concept in CONCEPTS)


def test_a_sheet_too_detailed_for_its_limit_is_saved_coarser(tmp_path, monkeypatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    tiles = [Image.fromarray(noise)] * 6
    save_sheet(tmp_path / "fine.webp", tiles)
    limit = (tmp_path / "fine.webp").stat().st_size - 1
    monkeypatch.setattr(evaluation, "SHEET_BYTES", limit)
    save_sheet(tmp_path / "coarse.webp", tiles)
    assert (tmp_path / "coarse.webp").stat().st_size <= limit
    monkeypatch.setattr(evaluation, "SHEET_BYTES", 10)
    with pytest.raises(RuntimeError, match="any quality"):
        save_sheet(tmp_path / "never.webp", tiles)
