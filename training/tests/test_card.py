"""The model card says what was measured, and nothing else."""

import ast
import inspect
import json
import re

import pytest
from diffusers import Flux2Pipeline

from linocut.catalog import MINI
from linocut_training import card, fetch, gates
from linocut_training.concepts import BACKGROUNDS, CONCEPTS, DRAWN_SOURCES, STYLES
from linocut_training.practice import LEFT_OUT

NUMBERS = {
    "concept_top1": (0.6123, 0.9417), "concept_top5": (0.8341, 0.9888), "style": (0.9129, 0.9962),
    "background": (0.9784, 0.9993), "gradients": (0.8214, 0.9642),
    "held_out_pairs": (0.5678, 0.9583), "edits_obeyed": (0.7254, 0.9751),
    "edits_kept": (0.4316, 0.9251), "background_edits_obeyed": (0.9512, 0.9913),
    "background_edits_kept": (0.8814, 0.9815), "style_edits_obeyed": (0.6617, 0.9718),
    "style_edits_kept": (0.2219, 0.9621),
}  # fmt: skip

FIDELITY = {
    "weights_sha256": "abc", "side": 512, "pictures": 97, "psnr": 32.46, "least": 30, "passed": True
}  # fmt: skip

PARAMETERS = {
    "weights_sha256": "abc",
    "settings": [
        {"num_inference_steps": 6, "guidance": 3.0, "pictures": 115, "concept_top1": 0.7121,
         "concept_top5": 0.8222, "style": 0.7323},
        {"num_inference_steps": 9, "guidance": 1.5, "pictures": 115, "concept_top1": 0.7424,
         "concept_top5": 0.8525, "style": 0.7626},
    ],
    "classifier": {"left_out_source": {"source": "emojione", "concept": 0.7727}},
}  # fmt: skip

SEVERAL = {
    "beside": (0.4561, 0.2143, 0.9321, 0.8765), "above": (0.4462, 0.1984, 0.9222, 0.8543),
    "two": (0.5353, 0.4131, 0.9431, 0.9123), "three": (0.5244, 0.3329, 0.9542, 0.9034),
    "small": (0.6135, 0.6026, 0.9617, 0.9508), "joined": (0.3211, 0.1122, 0.9233, 0.8344),
}  # fmt: skip


def of_several(*places: int) -> dict:
    """The shares of each arrangement that stand in these places."""
    return {
        name: {"pictures": 20, **dict(zip(("found", "all_found"), shares, strict=True))}
        for name, of in SEVERAL.items()
        if (shares := [of[place] for place in places])
    }


ARRANGED = {
    "weights_sha256": "abc", "generated": of_several(0, 1), "real": of_several(2, 3),
    "two_things_of_real": {"least": 0.5, "reached": 0.6, "passed": True},
}  # fmt: skip


def pictured(name: str, style: str, seed: int) -> dict:
    """A row of one: the thing is right but for the first seed, the style for the last alone."""
    seen_style = style if seed == 2 else "another"
    seen = ["crab" if seed else "house", "tree"]
    return {
        "name": name, "concept": "crab", "style": style, "seen": seen, "seen_style": seen_style
    }  # fmt: skip


@pytest.fixture
def results() -> dict:
    """As evaluate.py writes them, with numbers that occur nowhere else."""
    rows = [{"concept": it.key, "pictures": 4, "top1": 4, "top5": 4} for it in CONCEPTS]
    for row in rows:
        if row["concept"] in ("crab", "greek_temple", "jack_o_lantern"):
            row["top1"] = 0
    rows[-1] |= {"top1": 3}
    return {
        "generated": {name: ours for name, (ours, _) in NUMBERS.items()} | {"pictures": 464},
        "real": {name: real for name, (_, real) in NUMBERS.items()} | {"pictures": 464},
        "classifier": {
            "left_out_source": {"source": "emojione", "concept": 0.8637},
            "held_out_compositions": {"concept": 0.9472},
        },
        "concepts": rows,
        "pictures": [
            *(pictured(f"crab-{seed}", style, seed) for style in STYLES for seed in range(3)),
            pictured("edit-07", "3d", 0),
            pictured("graded-03", "3d", 0),
        ],
        "gates": {
            "style": {"least": 0.9, "reached": 0.9129, "passed": True},
            "background": {"least": 0.98, "reached": 0.9784, "passed": False},
        },
        "gates_of_real": {
            "concept_top1": {"least": 0.8, "reached": 0.6502, "passed": False},
            "style": {"least": 0.95, "reached": 0.9164, "passed": True},
        },
    }


@pytest.fixture
def canvases() -> dict:
    """As ratios.py writes them, with shares that occur nowhere else."""
    shapes = {"16-9": {"concept_top1": 0.8765}, "21-9": {"concept_top1": 0.7654}}
    return {
        "weights_sha256": "abc", "num_inference_steps": 13, "shapes": shapes, "below_the_gate": []
    }  # fmt: skip


def joined(text: str) -> str:
    """The text without its line breaks."""
    return " ".join(text.split())


def test_every_number_is_the_measured_one(results, canvases, monkeypatch) -> None:
    rules = {
        "canvases": {"one_concept_in": 7, "gates": {"concept_top1": 0.9}},
        "classifier": {"least_concept_accuracy": 0.85},
    }
    monkeypatch.setattr(gates, "read_rules", lambda: rules)
    monkeypatch.setattr(card, "BEFORE", CONCEPTS[:-80])
    text = card.card(results, canvases, ARRANGED, FIDELITY, PARAMETERS, cost="an hour")
    table = text.split("## How well")[1].split("## Limits")[0]
    for name, words in card.MEASURES.items():
        ours, real = NUMBERS[name]
        assert f"| {words} | {100 * ours:.1f}% | {100 * real:.1f}% |" in table
    measured = [number for pair in NUMBERS.values() for number in pair] + [0.8637, 0.9472]
    for name, words in card.ARRANGED.items():
        found, every, real, all_real = (f"{100 * share:.1f}%" for share in SEVERAL[name])
        assert f"| {words} | 20 | {found} | {every} | {real}, {all_real} |" in table
        measured += SEVERAL[name]
    assert "| 6 | 3 | 71.2% | 82.2% | 73.2% |" in table
    assert "| 9 | 1.5 | 74.2% | 85.2% | 76.3% |" in table
    assert "of 115 pictures each" in joined(table)
    assert "that is 77.3% right on the source it never saw:" in joined(table)
    measured += [0.7121, 0.8222, 0.7323, 0.7424, 0.8525, 0.7626, 0.7727]
    # Three older things are never named, one newest in three of its four pictures.
    older, newest = 100 * (1 - 3 / len(CONCEPTS[:-80])), 100 * (1 - 1 / 4 / 80)
    assert f"was named in {newest:.1f}% of the pictures of the 80 things" in joined(table)
    assert f"in {older:.1f}% of those of the others" in joined(table)
    for style in STYLES.values():
        assert f"| {style.word} | 3 | 66.7% | 33.3% |" in table
    by_style = [200 / 3, 100 / 3] * len(STYLES)
    shares = [*(100 * number for number in measured), older, newest, *by_style]
    expected = sorted([*(f"{share:.1f}" for share in shares), "88", "77"])
    assert "16:9 88%, 21:9 77%." in text
    assert "Of one thing in 7, each once with seed 1 and 13 steps" in joined(text)
    assert sorted(re.findall(r"[\d.]+(?=%)", text)) == expected
    assert "97 pictures of 512 x 512 pixels" in joined(table)
    assert "32.46 dB" in table
    assert "`emojione`" in table
    assert "fixed: an hour." in joined(text)


def test_what_was_missed_is_said(results, canvases, monkeypatch) -> None:
    behind = "right background (98 %)"
    of_real = "right thing (top-1), as a share of what the source drawings reach (80 %)"

    def missed() -> str:
        (said,) = re.findall(
            r"shares that were set beforehand, (.*?)\. Read",
            joined(card.card(results, canvases, ARRANGED, FIDELITY, PARAMETERS, cost="")),
        )
        return str(said)

    assert missed() == f"these are missed: {behind}, {of_real}"
    results["gates"]["background"]["passed"] = True
    assert missed() == f"these are missed: {of_real}"
    results["gates_of_real"]["concept_top1"]["passed"] = True
    assert missed() == "all are reached"
    results["gates"]["background"]["passed"] = False
    assert missed() == f"these are missed: {behind}"
    canvases["below_the_gate"] = ["16-9: concept_top1 0.552 < 0.9", "3-4: concept_top1 0.8 < 0.9"]
    assert missed() == f"these are missed: {behind}, right thing in 16:9, 3:4 (90 %)"
    monkeypatch.setitem(FIDELITY, "passed", False)
    assert missed().endswith("(90 %), the autoencoder (30 dB)")
    monkeypatch.setitem(ARRANGED["two_things_of_real"], "passed", False)
    assert missed().endswith("(90 %), both of two things (50 %), the autoencoder (30 dB)")
    results["classifier"]["left_out_source"]["concept"] = 0.8499
    assert missed().endswith("dB), the judge's own, of the source it never saw (85 %)")


def test_where_nothing_is_new_nothing_is_told_of_it(results, canvases, monkeypatch) -> None:
    monkeypatch.setattr(card, "BEFORE", CONCEPTS[:-80])
    assert "was the first to learn" in card.card(
        results, canvases, ARRANGED, FIDELITY, PARAMETERS, cost=""
    )
    monkeypatch.setattr(card, "BEFORE", CONCEPTS)
    assert "was the first to learn" not in card.card(
        results, canvases, ARRANGED, FIDELITY, PARAMETERS, cost=""
    )


def test_everything_that_has_a_gate_has_words() -> None:
    rules = gates.read_rules()
    assert {*rules["gates"], *rules["of_real"]} <= set(card.MEASURES)


def test_what_was_not_measured_is_not_in_the_table(results, canvases) -> None:
    for measured in (results["generated"], results["real"]):
        for name in ("edits_obeyed", "edits_kept"):
            del measured[name]
    text = card.card(results, canvases, ARRANGED, FIDELITY, PARAMETERS, cost="an hour")
    assert card.MEASURES["edits_obeyed"] not in text
    assert card.MEASURES["style"] in text


def test_the_least_recognised_come_first(results, canvases) -> None:
    (worst,) = re.findall(
        r"Least recognised: (.*)\.",
        card.card(results, canvases, ARRANGED, FIDELITY, PARAMETERS, cost=""),
    )
    names = worst.split(", ")
    assert set(names[:3]) == {"crab", "greek temple", "jack o lantern"}
    assert names[3:] == [CONCEPTS[-1].key.replace("_", " ")]


def test_what_was_always_recognised_is_not_called_least(results, canvases) -> None:
    for row in results["concepts"]:
        row["top1"] = 4
    assert "Least recognised: none was missed." in card.card(
        results, canvases, ARRANGED, FIDELITY, PARAMETERS, cost=""
    )
    for row in results["concepts"]:
        row["top1"] = 3
    (worst,) = re.findall(
        r"Least recognised: (.*)\.",
        card.card(results, canvases, ARRANGED, FIDELITY, PARAMETERS, cost=""),
    )
    assert len(worst.split(", ")) == card.NUM_WORST == 50


def test_everything_it_knows_is_named_and_nothing_is_left_to_fill_in(results, canvases) -> None:
    text = card.card(results, canvases, ARRANGED, FIDELITY, PARAMETERS, cost="an hour")
    assert "$" not in text
    for words in (*(concept.name for concept in CONCEPTS), *BACKGROUNDS):
        assert words in text
    assert f"{len(CONCEPTS)} things in {len(STYLES)} styles" in text
    for package in fetch.PACKAGES.values():
        assert f"| {package.name} | {package.version} | {package.licence} |" in text
    learners = dict(re.findall(r"^\| (\S+) \| @\S+ \| \S+ \| \S+ \| (.*) \|$", text, re.MULTILINE))
    assert learners.keys() == fetch.PACKAGES.keys()
    assert {source for source in learners if "checkpoint" in learners[source]} == set(DRAWN_SOURCES)
    assert [source for source in learners if "nobody" in learners[source]] == [LEFT_OUT]
    shape = MINI.transformer
    assert f"{shape.num_double_blocks} + {shape.num_single_blocks} blocks" in text


def test_its_python_compiles_and_asks_for_what_the_checkpoint_is(results, canvases) -> None:
    (snippet,) = re.findall(
        r"```python\n(.*?)```",
        card.card(results, canvases, ARRANGED, FIDELITY, PARAMETERS, cost=""),
        re.DOTALL,
    )
    compile(snippet, "card", "exec")
    (call,) = [
        node
        for node in ast.walk(ast.parse(snippet))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "pipeline"
    ]
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    assert given.keys() <= inspect.signature(Flux2Pipeline.__call__).parameters.keys()
    assert ast.literal_eval(given["max_sequence_length"]) == MINI.conditioning.max_tokens
    assert ast.literal_eval(given["text_encoder_out_layers"]) == MINI.conditioning.layers


def test_the_cost_adds_up_every_run(tmp_path) -> None:
    runs = {
        "autoencoder": [[4.0, 600.0, 1200.0]],
        "text_encoder": [[1.0, 60.0]],
        "transformer": [[5.0, 1800.0], [3.0, 2400.0], [7.0, 600.0]],
    }
    for name, seconds in runs.items():
        lines = [json.dumps({"seconds": now, "step": 1}) for run in seconds for now in run]
        (tmp_path / f"{name}.log").write_text("\n".join(lines) + "\n")
    assert card.training_cost(tmp_path) == (
        "autoencoder 20 minutes, text encoder 1 minutes, transformer 80 minutes of wall time, "
        "the machine shared with other work"
    )
    (tmp_path / "text_encoder.log").unlink()  # as where it came from a finished checkpoint
    assert card.training_cost(tmp_path).startswith("autoencoder 20 minutes, transformer 80 minutes")


def test_the_card_comes_with_its_table_and_its_credits(results, canvases, tmp_path) -> None:
    work, folder = tmp_path / "work", tmp_path / "card"
    (work / "evaluation").mkdir(parents=True)
    of = {"weights_sha256": "abc"}
    (work / "evaluation" / "results.json").write_text(json.dumps(results | of))
    (work / "evaluation" / "ratios.json").write_text(json.dumps(canvases))
    (work / "evaluation" / "arranged.json").write_text(json.dumps(ARRANGED))
    (work / "evaluation" / "fidelity.json").write_text(json.dumps(FIDELITY))
    (work / "evaluation" / "parameters.json").write_text(json.dumps(PARAMETERS))
    for name in card.SHEETS:
        (work / "evaluation" / name).write_text(name)
    (work / "evaluation" / "table.md").write_text("# What it draws\n")
    for name in ("autoencoder", "text_encoder", "transformer"):
        (work / f"{name}.log").write_text('{"seconds": 120.0}\n')
    card.write(work, folder)
    written = {"README.md", "NOTICE", "evaluation.md", "sheets"}
    assert {file.name for file in folder.iterdir()} == written
    assert {file.name: file.read_text() for file in (folder / "sheets").iterdir()} == {
        name: name for name in card.SHEETS
    }
    text = (folder / "README.md").read_text()
    assert text == card.card(
        results, canvases, ARRANGED, FIDELITY, PARAMETERS, cost=card.training_cost(work)
    )
    assert set(re.findall(r"\(sheets/(.+?)\)", text)) == set(card.SHEETS)
    assert text.startswith("---\nlicense: apache-2.0\n")
    assert (folder / "evaluation.md").read_text() == "# What it draws\n"
    notice = (folder / "NOTICE").read_text()
    assert all(package.credit in notice for package in fetch.PACKAGES.values())


@pytest.mark.parametrize("other", card.MEASURED)
def test_figures_of_two_checkpoints_make_no_card(results, canvases, tmp_path, other) -> None:
    (tmp_path / "evaluation").mkdir()
    measured = (results, canvases, ARRANGED, FIDELITY, PARAMETERS)
    for name, found in zip(card.MEASURED, measured, strict=True):
        of = {"weights_sha256": "another" if name == other else "abc"}
        (tmp_path / "evaluation" / name).write_text(json.dumps(found | of))
    with pytest.raises(ValueError, match="are of several checkpoints: measure all anew"):
        card.write(tmp_path, tmp_path / "card")
