"""Shapes that are not square are judged by the same eyes."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from linocut.request import ImageRequest, Picture
from linocut.sizes import ASPECT_RATIOS
from linocut_training import gates, ratios
from linocut_training.concepts import CONCEPT_OF, CONCEPTS, GROUPS, STYLES
from linocut_training.drawing import draw_share
from linocut_training.gates import Seen

ONE_IN = gates.read_rules()["canvases"]["one_concept_in"]


class Counting:
    """In the judge's place: it takes everything for an apple in 3D on white."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def look(self, pictures: list[np.ndarray]) -> list[Seen]:
        """The same of each; and notes its shape."""
        self.shapes += [pixels.shape for pixels in pictures]
        return [Seen((CONCEPTS[0].key,) * 5, "3d", "white") for _ in pictures]


def blank(request: ImageRequest) -> Picture:
    """A black picture of the size that is asked for."""
    return Picture(request.width, request.height, bytes(3 * request.width * request.height))


def test_some_things_are_drawn_and_judged_once_in_every_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, judge = ratios.requests(), Counting()
    assert {request.seed for request in asked.values()} == {1}
    for shape in ratios.SHAPES:
        (tmp_path / shape).mkdir()
    draw_share(blank, asked, tmp_path)
    monkeypatch.setattr(ratios.Judge, "open", lambda work: judge)
    found = ratios.judged(Path("unused"), tmp_path)
    assert list(found) == [*(name.replace(":", "-") for name in ASPECT_RATIOS), "2-1", "4-1"]
    count = -(-len(CONCEPTS) // ONE_IN)
    assert len(asked) == len(judge.shapes) == count * len(found)
    assert set(judge.shapes) == {(h, w, 3) for w, h in ratios.SHAPES.values()}
    assert {shares["pictures"] for shares in found.values()} == {count}
    assert {shares["concept_top1"] for shares in found.values()} == {round(1 / count, 4)}


def test_one_thing_in_so_many_is_asked_for_and_all_groups_and_styles_are(monkeypatch) -> None:
    asked = ratios.asked()
    assert [prompt.concept for prompt in asked] == list(CONCEPT_OF)[::ONE_IN]
    assert {CONCEPT_OF[prompt.concept].group for prompt in asked} == set(GROUPS)
    styles = Counter(prompt.style for prompt in asked)
    assert set(styles) == set(STYLES)
    # In turn, but where a thing was never shown in a style: there that style is asked for first.
    turned = [
        prompt.style == list(STYLES)[place * ONE_IN % len(STYLES)]
        for place, prompt in enumerate(asked)
        if not gates.is_held_out(prompt)
    ]
    assert all(turned)
    assert max(styles.values()) - min(styles.values()) <= 2
    rules = {"canvases": {"one_concept_in": 2}}
    monkeypatch.setattr(gates, "read_rules", lambda: rules)
    assert [prompt.concept for prompt in ratios.asked()] == list(CONCEPT_OF)[::2]


def test_only_the_api_s_ratios_have_a_gate_and_those_below_it_are_named() -> None:
    good = {shape: {"concept_top1": 0.95} for shape in ratios.SHAPES}
    assert ratios.below(good | {"4-1": {"concept_top1": 0.1}}) == []
    poor = good | {"9-16": {"concept_top1": 0.4}, "1-1": {"concept_top1": 0.899}}
    assert ratios.below(poor) == ["1-1: concept_top1 0.899 < 0.9", "9-16: concept_top1 0.400 < 0.9"]
