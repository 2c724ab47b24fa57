"""Two pictures become one: its things, its words, and where its references stand."""

from random import Random

import pytest
import torch

from linocut_training import arrangements, batches, compositions, edits, transformer, views
from linocut_training.batches import Source
from linocut_training.concepts import CONCEPTS
from linocut_training.plans import Plan
from linocut_training.state import Stretch
from linocut_training.tokens import Tokens


@pytest.fixture
def source(training_folder) -> Source:
    """Batches from latents that tell what they show."""
    return Source(training_folder, Plan(together_share=0.5))


def test_what_two_pictures_show_stands_in_one_on_the_background_of_the_first(
    source, which, monkeypatch
) -> None:
    monkeypatch.setattr(compositions, "say", lambda shown, *how: (shown.concepts, *how[:2]))
    arranged, colours = set(), set()
    for seed in range(3):
        batch = source._together(Random(seed))
        assert set(batch.kinds) == {"together"}
        assert all(batch.known)
        assert all(batch.captions)
        assert len(batch.references) == 2
        assert len(batch.clean_BCHW) == Plan().batch // 3
        for clean, told, *given in zip(
            batch.clean_BCHW, batch.told, *batch.references, strict=True
        ):
            colour, found = which(clean)
            first, second = (source.views[0][which(latents)] for latents in given)
            things = list(found.values())
            assert [tile.concept for tile in things] == [first.concept, second.concept]
            assert {tile.style for tile in things} == {first.style} == {second.style}
            style, behind = views.STYLE_NAMES[first.style], views.BACKGROUND_NAMES[colour]
            assert told == ((first.concept, second.concept), style, behind)
            assert first.colour == colour
            arranged.add(tuple(found))
            colours.add((first.colour == second.colour, colour == views.WHITE))
    assert arranged == {arrangements.ARRANGEMENTS[name].places for name in ("beside", "above")}
    assert {(False, False), (False, True), (True, True)} <= colours


def test_two_pictures_one_of_which_shows_a_new_thing_are_new_together(
    training_folder, monkeypatch
) -> None:
    monkeypatch.setattr(batches, "BEFORE", CONCEPTS[:1])
    source = Source(training_folder, Plan(new_things_share=0.5))
    assert not any(source._together(Random(0)).known)


def test_the_words_for_two_pictures_say_where_what_each_shows_is_to_be() -> None:
    things = [next(it for it in CONCEPTS if it.key == key) for key in ("lion", "house")]
    rng, said = Random(0), {}
    for name in arrangements.OF_TWO:
        said[name] = {arrangements.joining(name, things, rng).lower() for _ in range(800)}
    assert "image 1 next to image 2" in said["beside"]
    assert "the lion above the house" in said["above"]
    assert not said["beside"] & said["above"]
    assert not any("{" in words or "house above" in words for words in said["above"])
    assert set(said) == {"beside", "above"}


def test_edits_of_two_pictures_come_in_their_share(training_folder) -> None:
    plan = Plan(edit_share=0.5, together_share=0.4, other_share=0.5, batch=6)
    source, counts = Source(training_folder, plan), [0, 0, 0]
    for step in range(300):
        batch = source.batch(step, 0)
        counts[len(batch.references)] += 1
        if len(batch.references) == 2:
            assert batch.clean_BCHW.shape[-2:] == views.SQUARE
            assert len(source.batch(step, 1).references) == 2  # all processes the same
    assert abs(counts[2] / (counts[1] + counts[2]) - 0.4) < 0.1
    assert abs(counts[0] / 300 - 0.5) < 0.1


@pytest.mark.parametrize("grid", [0, 1])
def test_an_edit_of_pixel_art_asks_for_the_one_place_that_it_may_show(source, grid) -> None:
    pixel, seen = views.STYLE_NAMES.index("pixel"), 0
    for seed in range(200):
        edit = source.edits[grid].any(Random(seed))
        if edit.kind == "style" and edit.given[0].style == pixel:
            assert (edit.wanted.placement, edit.given[0].placement) == (0, 0)
            seen += 1
    assert seen > 10


def test_where_the_background_is_none_of_the_firsts_it_is_white(source, monkeypatch) -> None:
    monkeypatch.setattr(edits.Edits, "_colours", lambda self, view: {views.WHITE})
    for seed in range(20):
        edit = source.edits[0].together(Random(seed))
        assert {edit.wanted.colour, *(view.colour for view in edit.given)} == {views.WHITE}


def test_two_pictures_are_learned_from_where_they_are_put_together(training_folder, alone) -> None:
    batch = Source(training_folder, Plan())._together(Random(0))
    training = transformer.begin(training_folder, Plan(), Stretch())
    tokens = Tokens(training_folder)
    errors = transformer._errors(training, batch, tokens, 24, torch.Generator().manual_seed(0))
    assert errors.redrawn == 0  # neither is to be redrawn where it stands
    errors.to_mend.backward()
    assert training.network.transformer.final_layer.linear.weight.grad.abs().max() > 0
