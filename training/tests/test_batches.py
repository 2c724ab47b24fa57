"""A batch is decided by its step alone, and its words fit its pictures."""

import random
from itertools import product

import pytest
import torch
from torch import Tensor

from linocut_training import batches, captions, edits, views
from linocut_training.batches import Source
from linocut_training.concepts import CONCEPTS, RIVALS
from linocut_training.plans import Plan


@pytest.fixture
def source(training_folder) -> Source:
    """Batches from latents that tell which view they are."""
    return Source(training_folder, Plan())


def numbers(latents_BCHW: Tensor) -> list[int]:
    """Which views these latents are of, by their first channel."""
    assert (latents_BCHW[:, 0] == latents_BCHW[:, :1, :1, 0]).all()
    assert (latents_BCHW[:, 0] >= 0).all()
    return [int(number) for number in latents_BCHW[:, 0, 0, 0]]


def test_a_batch_is_decided_by_its_step_and_rank(source, training_folder) -> None:
    again = Source(training_folder, Plan())
    kinds = set()
    for step in range(12):
        first, same, other = source.batch(step, 0), again.batch(step, 0), again.batch(step, 1)
        assert first.captions == same.captions
        assert torch.equal(first.clean_BCHW, same.clean_BCHW)
        assert first.captions != other.captions
        assert first.clean_BCHW.shape == other.clean_BCHW.shape  # so that both take equally long
        assert len(first.references) == len(other.references)
        kinds.add(tuple(first.clean_BCHW.shape))
    assert len(kinds) > 1


def grids_by_kind(source: Source, steps: range, monkeypatch) -> tuple[list[int], ...]:
    """The grids of edits, of arranged pictures and of the others, at these steps."""
    edited, arranged, drawn = found = [], [], []
    monkeypatch.setattr(source, "_edits", lambda grid, rng: edited.append(grid))
    monkeypatch.setattr(source, "_arranged", lambda grid, rng: arranged.append(grid))
    monkeypatch.setattr(source, "_captioned", lambda grid, *_, **__: drawn.append(grid))
    for step in steps:
        source.batch(step, 0)
    return found


def test_edits_and_other_grids_come_as_often_as_planned(source, monkeypatch) -> None:
    plan, steps = source.plan, source.plan.styled_end
    edited, arranged, drawn = grids_by_kind(source, range(steps), monkeypatch)
    assert plan.edit_share >= 0.15
    assert abs(len(edited) / steps - plan.edit_share) < 0.02
    assert plan.arranged_share >= 0.15
    assert abs(len(arranged) / (steps - len(edited)) - plan.arranged_share) < 0.02
    for some in (edited, arranged):
        assert abs(sum(grid != 0 for grid in some) / len(some) - plan.other_share) < 0.05
    elsewhere = [grid for grid in drawn if grid != 0]
    assert abs(len(elsewhere) / len(drawn) - plan.other_share) < 0.03
    assert set(elsewhere) == set(range(1, len(views.grids())))
    of_ratios = len(views.grids_of_ratios())
    rare = [grid for grid in elsewhere if grid >= of_ratios]
    assert abs(len(rare) / len(elsewhere) - batches.RARE_SHARE) < 0.05
    assert set(edited) == set(arranged) == set(range(of_ratios))
    widths = [max(views.grids()[grid]) for grid in elsewhere if grid < of_ratios]
    how_often = [widths.count(width) / len(widths) for width in sorted(set(widths))]
    assert how_often == sorted(how_often)
    assert how_often[-1] > 4 * how_often[0]
    assert drawn.count(0) > 0.45 * steps


def test_a_caption_asks_for_the_picture_that_comes_with_it(source, monkeypatch) -> None:
    monkeypatch.setattr(captions, "caption", lambda *asked: asked[:3])
    empty = white = graded = seen = 0
    for step in range(15):
        grid = (0, 1, len(views.grids_of_ratios()))[step % 3]
        batch = source._captioned(grid, random.Random(step), None)
        assert not batch.references
        count = len(batch.captions)
        assert batch.clean_BCHW.shape == (count, 8, *views.grids()[grid])
        rows, columns = views.grids()[grid]
        assert 0.8 * Plan().batch * 64 < count * rows * columns <= Plan().batch * 64
        seen += count
        asked_for = zip(batch.captions, batch.others, strict=True)
        for number, (asked, instead) in zip(numbers(batch.clean_BCHW), asked_for, strict=True):
            view = source.views[grid][number]
            assert view.placement < views.ASKED_PLACEMENTS
            style, colour = views.STYLE_NAMES[view.style], views.BACKGROUND_NAMES[view.colour]
            assert asked in ("", (CONCEPTS[view.concept], style, colour))
            empty += asked == ""
            white += view.colour == views.WHITE
            graded += captions.ends(colour)[0] != captions.ends(colour)[1]
            assert grid == 0 or colour in views.COLOUR_NAMES
            if not asked:
                assert instead == ""
                continue
            concept, other, same = instead
            assert (concept, same) == (CONCEPTS[view.concept], colour)
            assert other == RIVALS.get(style, style)
    assert 0.07 < empty / seen < 0.13
    assert 0.28 < white / seen < 0.39
    assert graded > 10


@pytest.mark.parametrize("grid", [0, 1])
def test_an_edit_differs_from_its_reference_in_what_it_asks_for_alone(
    source, monkeypatch, grid
) -> None:
    monkeypatch.setattr(captions, "instruction", lambda *asked, instead: (*asked[:4], instead))
    monkeypatch.setattr(edits, "NUMBER_SHARE", 0)
    kinds, on_white, empty = [], [], 0
    for step in range(20 + 20 * grid):
        batch = source._edits(grid, random.Random(step))
        tokens = batch.clean_BCHW[:, 0].numel() + batch.references[0][:, 0].numel()
        assert 0.8 * Plan().batch * 64 < tokens <= Plan().batch * 64
        assert batch.known == [True] * len(batch.captions)
        assert batch.square_BCHW is None
        pairs = zip(numbers(batch.clean_BCHW), numbers(batch.references[0]), strict=True)
        for (wanted, given), asked, kind in zip(pairs, batch.captions, batch.kinds, strict=True):
            target, reference = source.views[grid][wanted], source.views[grid][given]
            on_white.append(reference.colour == views.WHITE)
            if not asked:
                assert target == reference
                empty += 1
                continue
            assert kind == asked[0]
            kinds.append(kind)
            stays = {
                "background": ("concept", "style", "placement"),
                "style": ("concept", "colour", "placement"),
                "object": ("style", "colour"),
            }[asked[0]]
            assert all(getattr(target, name) == getattr(reference, name) for name in stays)
            assert target != reference or asked[0] == "object"
            concept, colour = CONCEPTS[reference.concept], views.BACKGROUND_NAMES[target.colour]
            assert asked[1:4] == (concept, views.STYLE_NAMES[target.style], colour)
            assert asked[4] == (CONCEPTS[target.concept] if asked[0] == "object" else None)
            if asked[0] == "object" and target != reference:  # the only one on its background
                assert target.placement < views.ASKED_PLACEMENTS
    assert abs(empty / len(on_white) - batches.EMPTY_SHARE) < 0.05
    for kind, share in edits.EDIT_SHARES.items():
        assert abs(kinds.count(kind) / len(kinds) - share) < 0.05
    # Beside white there is one background on the other grids: two thirds of the edits of it begin
    # there, and all those of style, but between two that have the same other one.
    least, most = ((0.2, 0.4), (0.7, 0.9))[grid]
    assert least < on_white.count(True) / len(on_white) < most


def test_an_edit_comes_with_words_for_what_is_wanted_in_two_styles(source, monkeypatch) -> None:
    monkeypatch.setattr(captions, "caption", lambda *asked: asked[:3])
    monkeypatch.setattr(edits, "NUMBER_SHARE", 0)
    rivalled = 0
    for step in range(4):
        batch = source._edits(0, random.Random(step))
        wanted = [source.views[0][number] for number in numbers(batch.clean_BCHW)]
        for view, told, other in zip(wanted, batch.told, batch.others, strict=True):
            concept, style = CONCEPTS[view.concept], views.STYLE_NAMES[view.style]
            behind = views.BACKGROUND_NAMES[view.colour]
            assert told == (concept, style, behind)
            assert other == (concept, RIVALS.get(style, style), behind)
            rivalled += other != told
    assert rivalled


def share_of_the_second(source: Source, steps: range) -> float:
    """Of the pictures of these steps: those of the toy's second concept."""
    grids = {grid: place for place, grid in enumerate(source.grids)}
    seen = []
    for step in steps:
        clean_BCHW = source.batch(step, 0).clean_BCHW
        there = source.views[grids[tuple(clean_BCHW.shape[-2:])]]
        seen += [there[number].concept for number in numbers(clean_BCHW)]
    assert len(seen) > 30 * len(steps)
    return seen.count(1) / len(seen)


def test_the_newest_are_asked_for_more_often_in_the_first_stage(
    training_folder, monkeypatch
) -> None:
    monkeypatch.setattr(batches, "BEFORE", CONCEPTS[:1])
    source = Source(
        training_folder, Plan(steps=60, edit_share=0, arranged_share=0, newest_share=0.85)
    )
    assert abs(share_of_the_second(source, range(60)) - 0.85) < 0.03
    assert abs(share_of_the_second(source, range(60, 120)) - 0.5) < 0.04
    all_alike = Source(training_folder, Plan(steps=60, edit_share=0, arranged_share=0))
    assert abs(share_of_the_second(all_alike, range(60)) - 0.5) < 0.04


@pytest.mark.parametrize("newest", [0, 2])
def test_where_all_are_known_or_all_are_new_they_come_alike(
    newest, training_folder, monkeypatch
) -> None:
    monkeypatch.setattr(batches, "BEFORE", CONCEPTS[newest:2])
    source = Source(
        training_folder, Plan(steps=60, edit_share=0, arranged_share=0, newest_share=0.85)
    )
    assert abs(share_of_the_second(source, range(60)) - 0.5) < 0.04


def test_a_style_that_a_thing_is_held_out_of_is_never_shown(
    training_folder, which, monkeypatch
) -> None:
    held = {(0, "sticker"), (1, "cartoon")}
    monkeypatch.setattr(edits, "HELD_PAIRS", held)
    source = Source(training_folder, Plan())
    asked_for: set[tuple[int, str]] = set()
    restyled: set[tuple[int, str, str]] = set()

    def shown(grid: int, latents_BCHW: Tensor) -> list[tuple[int, str]]:
        told = [which(latents_CHW) for latents_CHW in latents_BCHW]
        seen = (
            source.views[grid][it] if isinstance(it, int) else next(iter(it[1].values()))
            for it in told
        )
        return [(thing.concept, views.STYLE_NAMES[thing.style]) for thing in seen]

    for step in range(60):
        grid = (0, 1, len(views.grids_of_ratios()))[step % 3]
        for share in (None, 0.5):
            drawn = source._captioned(grid, random.Random(step), share)
            asked_for.update(shown(grid, drawn.clean_BCHW))
        if grid > 1:
            continue
        edited = source._edits(grid, random.Random(step))
        targets, references = (
            shown(grid, some) for some in (edited.clean_BCHW, *edited.references)
        )
        for (concept, wanted), (_, given) in zip(targets, references, strict=True):
            restyled.add((concept, given, wanted))
    known = {(concept, style) for concept in range(2) for style in views.STYLE_NAMES} - held
    assert asked_for == known
    assert restyled == {
        (concept, given, wanted)
        for (concept, given), (other, wanted) in product(known, repeat=2)
        if concept == other
    }


def test_what_the_first_editions_knew_is_told_from_the_rest(training_folder, monkeypatch) -> None:
    monkeypatch.setattr(batches, "BEFORE", CONCEPTS[:1])
    source, found = Source(training_folder, Plan(known="things before")), set()
    for step in range(6):
        batch = source._captioned(0, random.Random(step), None)
        for number, known in zip(numbers(batch.clean_BCHW), batch.known, strict=True):
            view = source.views[0][number]
            is_graded = " to " in views.BACKGROUND_NAMES[view.colour]
            assert known == (view.concept == 0 and not is_graded)
            found.add((view.concept, is_graded))
    assert len(found) == 4


def test_what_was_known_comes_more_often_again_in_the_fourth_stage(
    training_folder, monkeypatch
) -> None:
    monkeypatch.setattr(batches, "BEFORE", CONCEPTS[:1])
    plan = Plan(
        steps=0, guided_steps=0, styled_steps=60, edit_share=0, arranged_share=0, newest_share=0.85
    )
    source = Source(training_folder, plan)
    assert abs(share_of_the_second(source, range(60)) - 0.5) < 0.04
    share = batches.NEWEST_WHERE_TAUGHT
    assert abs(share_of_the_second(source, range(60, 120)) - share) < 0.04


def test_canvases_come_more_often_once_they_are_taught(source, monkeypatch) -> None:
    plan, steps = source.plan, range(source.plan.styled_end, source.plan.styled_end + 8000)
    edited, arranged, drawn = grids_by_kind(source, steps, monkeypatch)
    of_pictures = plan.other_share
    for grids, share in (
        (drawn, plan.shaped_share),
        (edited, of_pictures),
        (arranged, of_pictures),
    ):
        assert abs(sum(grid != 0 for grid in grids) / len(grids) - share) < 0.03


@pytest.mark.parametrize("grid", range(len(views.grids())))
def test_the_square_view_in_the_middle_of_a_canvas_comes_with_it(source, grid) -> None:
    batch = source._captioned(grid, random.Random(grid), None)
    if grid == 0 or views.grids()[grid] in views.SMALLER:
        assert batch.square_BCHW is None
        return
    assert batch.square_BCHW.shape[-2:] == views.SQUARE
    pairs = zip(numbers(batch.clean_BCHW), numbers(batch.square_BCHW), strict=True)
    for number, in_the_middle in pairs:
        assert source.views[0][in_the_middle] == source.views[grid][number]


def test_latents_of_other_views_are_refused(training_folder, monkeypatch) -> None:
    monkeypatch.setattr(views, "COLOURS_OF_RATIOS", 3)
    with pytest.raises(ValueError, match=r"latents.*encode the views first"):
        Source(training_folder, Plan())
