"""Steps and guidance are measured with the same prompts, and by the same eyes."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from linocut.request import ImageRequest, Picture
from linocut_training import gates, parameters
from linocut_training.concepts import CONCEPT_OF, CONCEPTS, STYLES
from linocut_training.drawing import draw_share
from linocut_training.gates import Seen

ONE_IN = gates.read_rules()["canvases"]["one_concept_in"]


class Reading:
    """In the judge's place: a picture's first byte says which concept it takes it for."""

    def look(self, pictures: Sequence[np.ndarray]) -> list[Seen]:
        """Named by the number in its corner, in 3D on white."""
        return [Seen((CONCEPTS[int(it[0, 0, 0])].key,) * 5, "3d", "white") for it in pictures]


def drawing(request: ImageRequest) -> Picture:
    """What 28 steps of guidance 3 draw is the first thing, and all else the second."""
    number = int((request.num_inference_steps, request.guidance) != (28, 3.0))
    return Picture(64, 64, bytes([number]) * (3 * 64 * 64))


def test_each_thing_in_so_many_is_asked_for_with_every_seed_in_another_style() -> None:
    asked = parameters.asked()
    assert {prompt.seed for prompt in asked} == set(parameters.SEEDS)
    for seed in parameters.SEEDS:
        concepts = [prompt.concept for prompt in asked if prompt.seed == seed]
        assert concepts == list(CONCEPT_OF)[::ONE_IN]
    assert {prompt.style for prompt in asked} == set(STYLES)
    assert len({(prompt.concept, prompt.style) for prompt in asked}) == len(asked)


def test_requests_differ_in_their_setting_alone() -> None:
    prompts = parameters.asked()[:2]
    asked = parameters.requests(prompts)
    usual = gates.read_rules()["drawing"]["guidance"]
    assert len(asked) == 2 * len(parameters.settings(usual))
    found = [(it.num_inference_steps, it.guidance) for it in asked.values()]
    assert found[::2] == found[1::2] == parameters.settings(usual)
    assert {steps for steps, guidance in found if guidance == usual} == set(parameters.STEPS)
    at_twelve = {guidance for steps, guidance in found if steps == parameters.GUIDANCE_STEPS}
    assert at_twelve == set(parameters.GUIDANCE)
    said = {(it.prompt, it.seed, it.width, it.height) for it in asked.values()}
    assert said == {(prompt.text, prompt.seed, 256, 256) for prompt in prompts}


def test_each_setting_has_the_shares_of_its_own_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, work = tmp_path / "out", tmp_path / "work"
    checkpoint.mkdir()
    (checkpoint / "a.safetensors").write_bytes(b"weights")
    work.mkdir()
    (work / "classifier.json").write_text('{"left_out_source": {"concept": 0.7}}')
    monkeypatch.setattr(parameters.Judge, "open", lambda work: Reading())
    monkeypatch.setattr(
        parameters,
        "draw_in_processes",
        lambda checkpoint, requests, folder, processes: draw_share(drawing, requests, folder),
    )
    found = parameters.measure(checkpoint, work)
    assert json.loads((work / "evaluation" / "parameters.json").read_text()) == found
    assert found["classifier"] == {"left_out_source": {"concept": 0.7}}
    first = sum(prompt.concept == CONCEPTS[0].key for prompt in parameters.asked())
    second = sum(prompt.concept == CONCEPTS[1].key for prompt in parameters.asked())
    assert first > second == 0
    shares = {
        (it["num_inference_steps"], it["guidance"]): it["concept_top1"] for it in found["settings"]
    }
    assert shares.pop((28, 3.0)) == round(first / len(parameters.asked()), 4)
    assert set(shares.values()) == {0.0}
