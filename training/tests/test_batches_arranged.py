"""Batches of arranged things, of new styles, and of edits to several are what their words say."""

from dataclasses import replace
from random import Random

import pytest
import torch

from linocut_training import arrangements, batches, compositions, edits, views
from linocut_training.arrangements import ARRANGEMENTS
from linocut_training.batches import Batch, Source
from linocut_training.captions import COLOUR_WORDS
from linocut_training.compositions import Composition
from linocut_training.concepts import CONCEPTS, DRAWN, RIVALS, STYLES
from linocut_training.plans import ENRICHING, PLANS, WIDENING, Plan
from linocut_training.tiles import Tile

OF_RATIOS = range(len(views.grids_of_ratios()))
PIXEL = views.STYLE_NAMES.index("pixel")
NEW_STYLES = {views.STYLE_NAMES.index(style) for style in ENRICHING.new_styles}
OTHER_WORDS = {"grayscale": ("grayscale", "black and white")}


@pytest.fixture
def source(training_folder) -> Source:
    """Batches from latents that tell what they show."""
    return Source(training_folder, Plan())


def standing(shown: Composition) -> dict[tuple[int, int], Tile]:
    """Which tile has to stand where; the first thing is said first, a single one fills all."""
    places, concepts = ARRANGEMENTS[shown.arrangement].places, shown.concepts
    return {
        place: Tile(concepts[min(turn, len(concepts) - 1)], shown.style, shown.colour)
        for turn, place in enumerate(places)
    }


@pytest.mark.parametrize("grid", OF_RATIOS)
def test_arranged_things_stand_where_the_words_put_them(source, which, monkeypatch, grid) -> None:
    monkeypatch.setattr(compositions, "say", lambda shown, *words: (shown, *words[:2]))
    rows, columns = views.grids()[grid]
    down, right = (rows - 8) // 2, (columns - 8) // 2
    for seed in range(2):
        batch = source._arranged(grid, Random(seed))
        assert 0.8 * Plan().batch * 64 < batch.clean_BCHW[:, 0].numel() <= Plan().batch * 64
        assert not batch.references
        assert batch.known == [False] * len(batch.captions)
        assert (batch.square_BCHW is None) == (grid == 0)
        squares = batch.clean_BCHW if grid == 0 else batch.square_BCHW
        assert squares.shape[-2:] == views.SQUARE
        pictures = zip(batch.clean_BCHW, squares, batch.captions, batch.others, strict=True)
        for clean, square, (shown, style, background), (same, other, behind) in pictures:
            colour, found = which(clean)
            wanted = standing(shown)
            assert found == {(y + down, x + right): tile for (y, x), tile in wanted.items()}
            assert which(square) == (colour, wanted)
            assert shown == same
            assert (views.STYLE_NAMES[shown.style], views.COLOUR_NAMES[colour]) == (
                style, background
            )  # fmt: skip
            assert (other, behind) == (RIVALS.get(style, style), background)


@pytest.mark.parametrize("is_arranged", [True, False])
def test_what_is_new_stands_beside_no_words_or_half_the_time_its_rivals(
    training_folder, monkeypatch, is_arranged
) -> None:
    monkeypatch.setattr(batches, "_in_two_styles", lambda say, style, colour, rng: (style, -style))
    plan = Plan(arranged_is_new=True, new_styles=tuple(STYLES), new_things_share=0.5)
    source, pairs = Source(training_folder, plan), []
    monkeypatch.setattr(batches, "_words", lambda shown, rng: (shown.style, -shown.style))
    for seed in range(6):
        batch = (
            source._arranged(0, Random(seed))
            if is_arranged
            else source._captioned(0, Random(seed), None, is_new=True)
        )
        pairs += zip(batch.captions, batch.others, strict=True)
    rivalled = [(words, other) for words, other in pairs if words]
    assert {other for words, other in pairs if not words} == {""}  # the style 0 has no rival here
    assert {other in ("", -words) for words, other in rivalled} == {True}
    assert abs(sum(other == "" for _, other in rivalled) / len(rivalled) - 0.5) < 0.1


def test_captions_of_arranged_things_say_them_their_style_and_their_colour(source, which) -> None:
    arranged = set()
    for seed in range(6):
        batch = source._arranged(0, Random(seed))
        for clean, caption in zip(batch.clean_BCHW, batch.captions, strict=True):
            colour, found = which(clean)
            words, (tile, *_) = caption.lower(), found.values()
            for concept in {tile.concept for tile in found.values()}:
                assert ("apple", "banana")[concept] in words
            style, background = views.STYLE_NAMES[tile.style], views.COLOUR_NAMES[colour]
            names = OTHER_WORDS.get(style, (STYLES[style].word.lower(),))
            assert style == "3d" or any(name in words for name in names)
            names = COLOUR_WORDS.get(background, (background,))
            assert background == "white" or any(name in words for name in names)
            arranged.add((frozenset(found), len({tile.concept for tile in found.values()})))
    assert len(arranged) == len(ARRANGEMENTS)


@pytest.mark.parametrize("name", sorted(ARRANGEMENTS))
def test_a_window_has_the_things_of_one_arrangement_and_their_words(
    source, which, monkeypatch, name
) -> None:
    monkeypatch.setattr(compositions, "say", lambda shown, *words: (shown, *words[:2]))
    batch = source._window(name, Random(0))
    down, right = ARRANGEMENTS[name].window
    top, left = batch.corner
    assert (top, left) == (down.start, right.start)
    assert batch.clean_BCHW.shape[-2:] == (down.stop - top, right.stop - left)
    assert batch.clean_BCHW[:, 0].numel() == Plan().batch * 64  # as many tokens as squares have
    assert not batch.references
    assert batch.square_BCHW is None
    for clean, (shown, style, background) in zip(batch.clean_BCHW, batch.captions, strict=True):
        colour, found = which(clean)
        assert shown.arrangement == name
        assert {(y + top, x + left): tile for (y, x), tile in found.items()} == standing(shown)
        assert (views.STYLE_NAMES[shown.style], views.COLOUR_NAMES[colour]) == (style, background)
    assert batch.tiles == [(y - top, x - left) for y, x in ARRANGEMENTS[name].places]
    shown = [] if ARRANGEMENTS[name].is_of_one_kind else [it for it, *_ in batch.captions]
    assert batch.names == [[CONCEPTS[thing].names for thing in it.concepts] for it in shown]


@pytest.mark.parametrize("name", sorted(ARRANGEMENTS))
def test_captions_of_windows_are_short_where_they_can_be(source, monkeypatch, name) -> None:
    seen, words_of, tries = [], batches._words, batches.SHORT_TRIES

    def noted(shown: Composition, rng: Random) -> tuple[str, str]:
        said = words_of(shown, rng)
        seen.append(said[0])
        return said

    monkeypatch.setattr(batches, "_words", noted)
    batch = source._window(name, Random(0))
    for first, words in zip(range(0, len(seen), tries), batch.captions, strict=True):
        mine = seen[first : first + tries]
        short = [it for it in mine if len(it) <= batches.SHORT_WORDS]
        assert words == (short[0] if short else min(mine, key=len))
    assert sum(map(len, batch.captions)) * tries < 0.95 * sum(map(len, seen))


def test_windows_come_in_their_share_and_in_every_arrangement(training_folder) -> None:
    plan = Plan(arranged_share=1, window_share=0.6, edit_share=0, batch=4)
    source, corners, steps = Source(training_folder, plan), [], 200
    for step in range(steps):
        batch = source.batch(step, 0)
        if batch.corner is not None:
            corners.append((batch.corner, tuple(batch.clean_BCHW.shape[-2:])))
            assert source.batch(step, 1).corner == batch.corner  # all processes the same
    assert abs(len(corners) / steps - 0.6) < 0.1
    assert set(corners) == {
        ((2, 0), (4, 8)), ((0, 2), (8, 4)), ((0, 0), (8, 8)), ((2, 2), (4, 4))
    }  # fmt: skip


@pytest.mark.parametrize("is_new", [True, False])
def test_whether_teachers_know_arranged_things_is_the_plans_to_say(
    is_new, training_folder, which
) -> None:
    plan = Plan(arranged_is_new=is_new, arranged_share=0.5, edit_share=0)
    source, seen = Source(training_folder, plan), set()
    for step in range(20):
        batch = source.batch(step, 0)
        is_arranged = not isinstance(which(batch.clean_BCHW[0]), int)
        assert batch.is_new == (is_arranged and is_new)
        seen.add(is_arranged)
    assert len(seen) == 2


def kind_of(batch: Batch, source: Source, which) -> str:
    """Which of the kinds of an enriching plan a batch is, by what it shows."""
    if batch.references:
        return "edits"
    told = [which(latents) for latents in batch.clean_BCHW]
    if not any(isinstance(it, int) for it in told):
        return "arranged"
    grid = source.grids.index(tuple(batch.clean_BCHW.shape[-2:]))
    styles = {source.views[grid][number].style for number in told}
    assert styles <= NEW_STYLES or not styles & NEW_STYLES
    return "new styles" if styles <= NEW_STYLES else "taught"


def test_new_styles_have_batches_of_their_own_and_no_teacher_is_asked(
    training_folder, which
) -> None:
    plan = replace(ENRICHING, batch=4, taught_batch=4)
    source, steps = Source(training_folder, plan), 1200
    found: dict[str, list[Batch]] = {}
    for step in range(steps):
        batch = source.batch(step, 0)
        kind = kind_of(batch, source, which)
        assert batch.is_new == (kind in ("arranged", "new styles"))
        found.setdefault(kind, []).append(batch)
    others = steps - len(found["edits"])
    assert abs(len(found["edits"]) / steps - plan.edit_share) < 0.06
    for kind, share in (("arranged", plan.arranged_share), ("new styles", plan.new_share)):
        assert abs(len(found[kind]) / others - share) < 0.06
        assert all(words for batch in found[kind] for words in batch.captions)
        grids = {tuple(it.clean_BCHW.shape[-2:]) for it in found[kind] if it.corner is None}
        assert {views.SQUARE} < grids <= set(views.grids_of_ratios())
    assert any("" in batch.captions for batch in found["taught"])
    rare = {tuple(batch.clean_BCHW.shape[-2:]) for batch in found["taught"]}
    assert rare - set(views.grids_of_ratios())


def test_every_plan_says_which_things_are_new_in_words_that_are_known() -> None:
    assert {plan.new_things for plan in PLANS.values()} == set(batches.NEW_THINGS)
    assert PLANS["practising"].new_things == "unsure"


@pytest.mark.parametrize("new_things", ["newest", "unsure"])
def test_new_things_have_their_share_of_what_is_new_and_no_teacher_is_asked(
    training_folder, which, monkeypatch, new_things
) -> None:
    if new_things == "newest":
        monkeypatch.setattr(batches, "BEFORE", CONCEPTS[:1])
    else:
        monkeypatch.setitem(batches.NEW_THINGS, "unsure", lambda: frozenset({1}))
    plan = replace(
        WIDENING, batch=8, taught_batch=8, arranged_share=0, edit_share=0, new_things=new_things
    )
    source, new, taught = Source(training_folder, plan), [], []
    for step in range(300):
        batch = source.batch(step, 0)
        grid = source.grids.index(tuple(batch.clean_BCHW.shape[-2:]))
        some = new if batch.is_new else taught
        some += [source.views[grid][which(latents)] for latents in batch.clean_BCHW]
    newest = [view for view in new if view.concept == 1]
    assert abs(len(newest) / len(new) - plan.new_things_share) < 0.05
    assert {view.style for view in newest} == set(range(len(STYLES)))
    assert {view.style for view in new if view.concept == 0} == {
        views.STYLE_NAMES.index(style) for style in plan.new_styles
    }
    assert {view.concept for view in taught} == {0}
    assert {view.style for view in taught} == set(range(len(STYLES))) - {
        views.STYLE_NAMES.index(style) for style in plan.new_styles
    }


def test_where_all_text_rows_are_there_parts_of_pictures_are_asked_for_in_any_words(
    source, monkeypatch
) -> None:
    monkeypatch.setattr(batches, "_words", lambda shown, rng: ("x" * rng.randrange(20, 80), ""))
    short, long = (source._window("beside", Random(0), is_short=it) for it in (True, False))
    are_short = [[len(it) <= batches.SHORT_WORDS for it in some.captions] for some in (short, long)]
    assert are_short[0].count(True) > 0.7 * len(are_short[0])
    assert are_short[1].count(True) < 0.4 * len(are_short[1])
    plan = replace(ENRICHING, arranged_share=1, edit_share=0, window_share=1)
    asked: list[bool] = []
    monkeypatch.setattr(source, "plan", plan)
    monkeypatch.setattr(source, "_window", lambda *_, is_short: asked.append(is_short))
    for step in range(32):
        source.batch(step, 0)
    assert asked == [not plan.has_full_text(step) for step in range(32)]
    assert asked.count(False) == 2


def test_where_no_style_is_new_all_styles_are_taught(source) -> None:
    styles = {
        source.views[0][int(latents[0, 0, 0])].style
        for step in range(6)
        for latents in source._captioned(0, Random(step), None).clean_BCHW
    }
    assert styles == set(range(len(STYLES)))


def test_what_a_teacher_teaches_comes_in_batches_of_its_own_size_in_stage_four(
    training_folder, which
) -> None:
    plan = replace(
        ENRICHING, steps=20, batch=12, taught_batch=5, other_share=0, shaped_share=0,
        window_share=0,
    )  # fmt: skip
    source, sizes = Source(training_folder, plan), {}
    for step in range(60):
        batch, stage = source.batch(step, 0), 4 if step >= plan.styled_end else 1
        kind = kind_of(batch, source, which)
        sizes.setdefault((kind, stage), set()).add(len(batch.captions))
    assert sizes.pop(("taught", 4)) == {5}
    assert sizes.pop(("edits", 4)) == sizes.pop(("edits", 1)) == {6}
    assert set(map(tuple, sizes.values())) == {(12,)}
    assert ("arranged", 4) in sizes


@pytest.mark.parametrize(("known", "styles"), [("nothing", ()), ("drawn styles", DRAWN)])
def test_what_the_checkpoint_before_teaches_is_the_plans_to_say(
    known, styles, training_folder
) -> None:
    source, seen = Source(training_folder, Plan(known=known)), set()
    for step in range(4):
        batch = source._captioned(0, Random(step), None)
        for latents, is_known in zip(batch.clean_BCHW, batch.known, strict=True):
            style = views.STYLE_NAMES[source.views[0][int(latents[0, 0, 0])].style]
            assert is_known == (style in styles)
            seen.add(style)
    assert seen == set(STYLES)


@pytest.mark.parametrize("plan", [Plan(), ENRICHING, WIDENING])
def test_teachers_know_the_edits_of_all_things_but_the_newest(
    plan, training_folder, which, monkeypatch
) -> None:
    monkeypatch.setattr(batches, "BEFORE", CONCEPTS[:1])
    source, found = Source(training_folder, replace(plan, batch=60)), set()
    for seed in range(6):
        batch = source._edits(0, Random(seed))
        for clean, words, is_known, said in zip(
            batch.clean_BCHW, batch.captions, batch.known, batch.kinds, strict=True
        ):
            told = which(clean)
            assert not words or (said == "number") == (not isinstance(told, int))
            is_one = isinstance(told, int)
            thing = source.views[0][told] if is_one else next(iter(told[1].values()))
            assert is_known == (plan is not WIDENING or thing.concept == 0)
            found.add((thing.concept, is_one))
    assert len(found) == 4


def test_of_the_newest_things_guidance_leads_away_from_no_words(
    training_folder, which, monkeypatch
) -> None:
    monkeypatch.setattr(batches, "BEFORE", CONCEPTS[:1])
    source, others = Source(training_folder, replace(WIDENING, batch=60)), set()
    for seed in range(3):
        batch = source._edits(0, Random(seed))
        pairs = zip(batch.told, batch.others, batch.known, strict=True)
        others |= {(is_known, other == "", other == told) for told, other, is_known in pairs}
    assert {(True, False, True), (False, True, False)} <= others
    assert (False, False, True) not in others
    assert not any(is_empty for is_known, is_empty, _ in others if is_known)


@pytest.mark.parametrize("grid", [0, 1, 2])
def test_an_edit_to_several_keeps_the_thing_its_style_and_its_background(
    source, which, monkeypatch, grid
) -> None:
    monkeypatch.setattr(edits, "NUMBER_SHARE", 1)
    monkeypatch.setattr(arrangements, "instruction", lambda name, thing, rng: (name, thing))
    rows, columns = views.grids()[grid]
    down, right = (rows - 8) // 2, (columns - 8) // 2
    asked_for, empty, seen = [], 0, 0
    for seed in range(12):
        batch = source._edits(grid, Random(seed))
        references = [source.views[grid][which(latents)] for latents in batch.references[0]]
        for clean, view, asked in zip(batch.clean_BCHW, references, batch.captions, strict=True):
            seen += 1
            if not asked:
                assert source.views[grid][which(clean)] == view
                empty += 1
                continue
            if isinstance(asked, str):  # another edit: there are no tiles of what was to be many
                assert isinstance(which(clean), int)
                continue
            name, thing = asked
            assert thing == CONCEPTS[view.concept]
            tile = Tile(view.concept, view.style, view.colour)
            assert which(clean) == (
                view.colour,
                {(y + down, x + right): tile for y, x in ARRANGEMENTS[name].places},
            )
            asked_for.append((name, view.style))
    assert abs(empty / seen - batches.EMPTY_SHARE) < 0.06
    assert {name for name, _ in asked_for} == {"two", "three", "small"}
    assert {style for _, style in asked_for} == set(range(len(STYLES))) - {PIXEL}
    assert len(asked_for) > 0.75 * (seen - empty)


def test_edits_to_several_come_in_their_share(source, which) -> None:
    several = seen = 0
    for seed in range(60):
        batch = source._edits(0, Random(seed))
        for clean, asked in zip(batch.clean_BCHW, batch.captions, strict=True):
            seen += asked != ""
            several += not isinstance(which(clean), int)
    styles = (len(STYLES) - 1) / len(STYLES)  # pixel art has no tiles, all others white ones
    assert abs(several / seen - edits.NUMBER_SHARE * styles) < 0.03


def test_a_batch_goes_to_a_device_with_all_that_is_in_it() -> None:
    latents = torch.ones(1, 2, 3, 4)
    there = Batch(latents, [""], (latents, latents), square_BCHW=latents, is_new=True).to("meta")
    assert {it.device.type for it in (there.clean_BCHW, *there.references, there.square_BCHW)} == {
        "meta"
    }
    assert there.is_new
