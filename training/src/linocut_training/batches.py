"""What a step of the transformer's training learns from: latents, their words, and references."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from linocut_training import arrangements, captions, compositions, views
from linocut_training.arrangements import ARRANGEMENTS
from linocut_training.compositions import Composer, Composition
from linocut_training.concepts import BEFORE, CONCEPTS, DRAWN, RIVALS
from linocut_training.edits import Edits, Shown, is_shown
from linocut_training.plans import Plan
from linocut_training.recognition import UNKNOWN
from linocut_training.tiles import Place
from linocut_training.unsure import unsure

RARE_SHARE = 0.3  # of the batches off the square grid: on grids of no ratio of the API
# In stage four, where the rest is what the checkpoint before teaches anew: it was half forgotten.
NEWEST_WHERE_TAUGHT = 0.4
EMPTY_SHARE = 0.1  # captions left out, so that "no caption" is known too
RIVAL_SHARE = 0.5  # of what is new and taken for another style: led away from that, not from none
SHORT_WORDS = 36  # letters of a window's caption, if one of so many tries has no more
SHORT_TRIES = 6
# What the checkpoint before teaches in stage four, by `Plan.known`.
KNOWN: dict[str, Callable[[views.View], bool]] = {
    "nothing": lambda _: False,
    "things before": lambda it: it.concept < len(BEFORE) and it.colour < len(views.COLOUR_NAMES),
    "drawn styles": lambda it: views.STYLE_NAMES[it.style] in DRAWN,
}
# The things that no teacher is asked about, in pictures of one thing and edits, by
# `Plan.new_things`.
NEW_THINGS: dict[str, Callable[[], frozenset[int]]] = {
    "newest": lambda: frozenset(range(len(BEFORE), len(CONCEPTS))),
    "unsure": unsure,
}
RIVAL = [views.STYLE_NAMES.index(RIVALS.get(style, style)) for style in views.STYLE_NAMES]


@dataclass(frozen=True, slots=True)
class Batch:
    """Clean latents and their captions, or instructions for references on the same grid.

    references: as many latents as `clean_BCHW` has, for each picture of an edit that is given.
    known: whether each shows what the checkpoint before is to teach (`Plan.known`), or of an edit,
    whether a teacher knows the things that it asks for. kinds: of edits. told: captions of their
    wanted pictures. others: what guidance leads away from: the same captions asking for the style
    that theirs is taken for, if it is; of what is new none, or in half of the cases these.
    shown_things: what is to be recognised: of captions what they ask for, of edits what the wanted
    picture shows; given_things: what their only reference shows. UNKNOWN of captions left out and
    of what is put together of tiles; empty where nothing is to be.
    Only captions have the rest. square_BCHW: off the square grid, what stands in the middle.
    is_new: whether no teacher knows what they show, so that pictures alone can teach it. corner:
    where in the square a part of it begins, of which these are the tokens; None where they are
    whole pictures. names: of such parts with things of two names, what each of them may be called;
    tiles: where they stand there.
    """

    clean_BCHW: Tensor
    captions: list[str]
    references: tuple[Tensor, ...] = ()
    kinds: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    known: list[bool] = field(default_factory=list)
    square_BCHW: Tensor | None = None
    is_new: bool = False
    corner: Place | None = None
    names: list[list[tuple[str, ...]]] = field(default_factory=list)
    tiles: list[Place] = field(default_factory=list)
    shown_things: list[int] = field(default_factory=list)
    given_things: list[int] = field(default_factory=list)

    def to(self, device: str) -> Batch:
        """The same on a device."""

        square = self.square_BCHW
        return replace(
            self,
            clean_BCHW=self.clean_BCHW.to(device),
            references=tuple(it.to(device) for it in self.references),
            square_BCHW=None if square is None else square.to(device),
        )

    def chosen(self, some: list[int]) -> Batch:
        """Some of its edits, without their references."""
        return Batch(
            self.clean_BCHW[some],
            [self.captions[index] for index in some],
            told=[self.told[index] for index in some],
            others=[self.others[index] for index in some],
            known=[self.known[index] for index in some],
        )


class Source:
    """Batches of views, by step and rank alone: the same step always gives the same batch."""

    def __init__(self, work: Path, plan: Plan) -> None:
        if views.not_encoded(work):
            raise ValueError(f"{work / 'latents'} has other views' latents: encode the views first")
        self.plan, self.new_things = plan, NEW_THINGS[plan.new_things]()
        self.grids = views.grids()
        self.latents = [np.load(views.latents_file(work, g), mmap_mode="r") for g in self.grids]
        self.views = [list(views.views_on(grid)) for grid in self.grids]
        elsewhere, known = range(1, len(self.grids)), views.grids_of_ratios()
        self.of_ratios = [place for place in elsewhere if self.grids[place] in known]
        self.beside = [max(self.grids[place]) - max(views.SQUARE) for place in self.of_ratios]
        self.rare = [place for place in elsewhere if self.grids[place] not in known]
        self.numbers = [{view: index for index, view in enumerate(of)} for of in self.views]
        self.shown = [[index for index, view in enumerate(of) if is_shown(view)]
                      for of in self.views]  # fmt: skip
        self.composer = Composer(work)
        self.edits = [
            Edits(grid, [of[index] for index in shown], self.composer)
            for grid, of, shown in zip(self.grids, self.views, self.shown, strict=True)
        ]
        self.asked, self.asked_anew = (
            [
                _asked(
                    of,
                    [index for index in shown if self._is_new(of[index]) is is_new],
                    self.new_things,
                )
                for of, shown in zip(self.views, self.shown, strict=True)
            ]
            for is_new in (False, True)
        )

    def batch(self, step: int, rank: int) -> Batch:
        """One process's batch of a step; all processes draw the same kind."""
        kind = random.Random(f"{self.plan.seed}/{step}")
        mine = random.Random(f"{self.plan.seed}/{step}/{rank}")
        plan, is_edit = self.plan, kind.random() < self.plan.edit_share
        what = 1.0 if is_edit else kind.random()
        is_arranged = what < plan.arranged_share
        is_new = what < plan.arranged_share + plan.new_share
        is_taught = not is_edit and not is_new
        off_square = kind.random() < plan.share_off_square(step, is_taught=is_taught)
        grid = self._grid(kind, rare_too=is_taught) if off_square else 0
        if is_edit and kind.random() < plan.together_share:
            return self._together(mine)
        if is_edit:
            return self._edits(grid, mine)
        if is_arranged and kind.random() < plan.window_share:
            is_short = not plan.has_full_text(step)
            return self._window(arrangements.any_arrangement(kind), mine, is_short=is_short)
        if is_arranged:
            return self._arranged(grid, mine)
        if is_new:
            return self._captioned(grid, mine, plan.new_things_share or None, is_new=True)
        most = plan.taught_batch if step >= plan.styled_end else None
        return self._captioned(grid, mine, self._newest_share(step), most=most)

    def _newest_share(self, step: int) -> float | None:
        """Of what captions ask for: the newest things; None where all come alike."""
        if self.plan.newest_share is None or self.plan.steps <= step < self.plan.styled_end:
            return None
        return self.plan.newest_share if step < self.plan.steps else NEWEST_WHERE_TAUGHT

    def _grid(self, rng: random.Random, *, rare_too: bool) -> int:
        """Which grid a batch off the square one is on: of the API's ratios, or a rare one.

        Of the ratios the wider and taller come oftener, and their batches are of fewer pictures.
        """
        if rare_too and self.rare and rng.random() < RARE_SHARE:
            return rng.choice(self.rare)
        return rng.choices(self.of_ratios, self.beside)[0] if self.of_ratios else 0

    def _size(self, grid: int, most: int, *, of_each: int = 1) -> int:
        """Pictures of a batch, or pairs: as many tokens as `most` squares have, or fewer."""
        rows, columns = self.grids[grid]
        return max(1, min(most // of_each, most * 64 // (of_each * rows * columns)))

    def _captioned(
        self, grid: int, rng: random.Random, newest_share: float | None, *,
        is_new: bool = False, most: int | None = None,
    ) -> Batch:  # fmt: skip
        """Pictures of one thing each; is_new: of things or in styles that no teacher knows."""
        everything, known, newest = (self.asked_anew if is_new else self.asked)[grid]
        chosen, asked = [], []
        for _ in range(self._size(grid, most or self.plan.batch)):
            among = everything
            if newest_share is not None:
                among = newest if rng.random() < newest_share else known
            index = among.any(rng)
            chosen.append(index)
            asked.append(_words(self.views[grid][index], rng))
        asked = [_beside_none(it, rng) if is_new else _or_empty(it, rng) for it in asked]
        words, others = _two_lists(asked)
        return Batch(
            self._take(grid, chosen),
            words,
            others=others,
            known=self._known(grid, chosen),
            square_BCHW=self._square(grid, chosen),
            is_new=is_new,
            shown_things=[
                self.views[grid][index].concept if said else UNKNOWN
                for index, said in zip(chosen, words, strict=True)
            ],
        )

    def _window(self, name: str, rng: random.Random, *, is_short: bool = True) -> Batch:
        """Of pictures in one arrangement: the part that its things stand in, for more of them.

        is_short: in few words, where the longest of a batch decides what all cost.
        """
        say = _short_words if is_short else _any_words
        one = ARRANGEMENTS[name]
        down, right = one.window
        area = (down.stop - down.start) * (right.stop - right.start)
        shown = [self.composer.any(rng, name) for _ in range(self.plan.batch * 64 // area)]
        names = [[CONCEPTS[thing].names for thing in it.concepts] for it in shown]
        return Batch(
            self._stacked(0, shown)[:, :, down, right], [say(it, rng) for it in shown],
            is_new=self.plan.arranged_is_new, corner=(down.start, right.start),
            names=[] if one.is_of_one_kind else names,
            tiles=[(row - down.start, column - right.start) for row, column in one.places],
        )  # fmt: skip

    def _arranged(self, grid: int, rng: random.Random) -> Batch:
        """Pictures of several things, or of small ones."""
        is_new = self.plan.arranged_is_new
        shown = [self.composer.any(rng) for _ in range(self._size(grid, self.plan.batch))]
        asked = [_words(it, rng) for it in shown]
        words, others = _two_lists([_beside_none(it, rng) for it in asked] if is_new else asked)
        clean, square = (self._stacked(place, shown) for place in (grid, 0))
        return Batch(
            clean, words, others=others, known=[False] * len(shown),
            square_BCHW=square if grid else None, is_new=is_new,
        )  # fmt: skip

    def _edits(self, grid: int, rng: random.Random) -> Batch:
        """Wanted pictures beside what they are made from; without words that is left as it is."""
        chosen = [
            self.edits[grid].any(rng) for _ in range(self._size(grid, self.plan.batch, of_each=2))
        ]
        is_empty = [rng.random() < EMPTY_SHARE for _ in chosen]
        given = [edit.given[0] for edit in chosen]
        pairs = list(zip(chosen, is_empty, strict=True))
        return self._of_edits(
            grid,
            [it.given[0] if empty else it.wanted for it, empty in pairs],
            ["" if empty else it.words for it, empty in pairs],
            given=(given,), kinds=[it.kind for it in chosen], rng=rng,
        )  # fmt: skip

    def _together(self, rng: random.Random) -> Batch:
        """Two things in a picture, beside pictures of each."""
        count = self._size(0, self.plan.batch, of_each=3)
        chosen = [self.edits[0].together(rng) for _ in range(count)]
        return self._of_edits(
            0,
            [edit.wanted for edit in chosen],
            [edit.words for edit in chosen],
            given=tuple(zip(*(edit.given for edit in chosen), strict=True)),
            kinds=[edit.kind for edit in chosen], rng=rng,
        )  # fmt: skip

    def _of_edits(
        self, grid: int, wanted: list[Shown], words: list[str], *,
        given: Sequence[Sequence[Shown]], kinds: list[str], rng: random.Random,
    ) -> Batch:  # fmt: skip
        known = [not self._has_new_things(it) for it in wanted]
        asked = [_words(it, rng) for it in wanted]
        told, others = _two_lists([
            each if is_known else _beside_none(each, rng)
            for each, is_known in zip(asked, known, strict=True)
        ])  # fmt: skip
        return Batch(
            self._stacked(grid, wanted), words,
            references=tuple(self._stacked(grid, some) for some in given),
            kinds=kinds, told=told, others=others, known=known,
            shown_things=[_thing(it) for it in wanted],
            given_things=[_thing(it) for it in given[0]] if len(given) == 1 else [],
        )  # fmt: skip

    def _is_new(self, shown: Shown) -> bool:
        """Whether no teacher knows this kind of picture."""
        if not isinstance(shown, views.View):
            return self.plan.arranged_is_new
        in_new_style = views.STYLE_NAMES[shown.style] in self.plan.new_styles
        return in_new_style or self._has_new_things(shown)

    def _has_new_things(self, shown: Shown) -> bool:
        """Whether it shows things that no teacher knows."""
        things = (shown.concept,) if isinstance(shown, views.View) else shown.concepts
        return self.plan.new_things_share > 0 and not self.new_things.isdisjoint(things)

    def _take(self, grid: int, indices: list[int]) -> Tensor:
        return torch.from_numpy(self.latents[grid][indices].astype(np.float32))

    def _stacked(self, grid: int, shown: Sequence[Shown]) -> Tensor:
        """Their latents on a grid, of views and compositions alike. [B, C, H, W]"""
        latents = [
            self.latents[grid][self.numbers[grid][it]].astype(np.float32)
            if isinstance(it, views.View)
            else self.composer.latents(self.grids[grid], it)
            for it in shown
        ]
        return torch.from_numpy(np.stack(latents))

    def _known(self, grid: int, indices: list[int]) -> list[bool]:
        return [KNOWN[self.plan.known](self.views[grid][index]) for index in indices]

    def _square(self, grid: int, indices: list[int]) -> Tensor | None:
        """The same views on the square grid, if that is what stands in the middle of this one."""
        if grid == 0 or min(self.grids[grid]) != min(views.SQUARE):
            return None
        return self._take(0, [self.numbers[0][self.views[grid][index]] for index in indices])


@dataclass(frozen=True, slots=True)
class _Some:
    """Some of a grid's views, by their indices: those on white, and those on a colour."""

    white: list[int]
    coloured: list[int]

    def any(self, rng: random.Random) -> int:
        """One of them, those on white in their share of all."""
        return views.any_of(self.white, self.coloured, rng)


def _asked(
    of: list[views.View], shown: list[int], new_things: frozenset[int]
) -> tuple[_Some, _Some, _Some]:
    """Of the views that captions ask for: all, those of known things, and those of new ones."""
    here = [index for index in shown if of[index].placement < views.ASKED_PLACEMENTS]
    known = [index for index in here if of[index].concept not in new_things]
    newest = [index for index in here if of[index].concept in new_things]
    everything = _split(of, here)
    return (
        everything,
        _split(of, known) if known else everything,
        _split(of, newest) if newest else everything,
    )


def _split(of: list[views.View], some: list[int]) -> _Some:
    return _Some(
        [index for index in some if of[index].colour == views.WHITE],
        [index for index in some if of[index].colour != views.WHITE],
    )


def _thing(shown: Shown) -> int:
    return shown.concept if isinstance(shown, views.View) else UNKNOWN


def _in_two_styles(
    say: Callable[[str, str, random.Random], str], style: int, colour: int, rng: random.Random
) -> tuple[str, str]:
    """Words for a picture, and the same in the style that it is taken for, as far as they say."""
    seed, behind = rng.random(), views.BACKGROUND_NAMES[colour]
    asked, instead = (
        say(views.STYLE_NAMES[it], behind, random.Random(seed)) for it in (style, RIVAL[style])
    )
    return asked, instead


def _words(shown: Shown, rng: random.Random) -> tuple[str, str]:
    say = (
        partial(captions.caption, CONCEPTS[shown.concept])
        if isinstance(shown, views.View)
        else partial(compositions.say, shown)
    )
    return _in_two_styles(say, shown.style, shown.colour, rng)


def _any_words(shown: Composition, rng: random.Random) -> str:
    return _words(shown, rng)[0]


def _short_words(shown: Composition, rng: random.Random) -> str:
    """Words of few letters, where that can be."""
    said = [_any_words(shown, rng) for _ in range(SHORT_TRIES)]
    return next((words for words in said if len(words) <= SHORT_WORDS), min(said, key=len))


def _or_empty(asked: tuple[str, str], rng: random.Random) -> tuple[str, str]:
    return ("", "") if rng.random() < EMPTY_SHARE else asked


def _beside_none(asked: tuple[str, str], rng: random.Random) -> tuple[str, str]:
    """What is asked for beside none, or beside the style that it is taken for, if it is."""
    words, other = asked
    return words, other if words != other and rng.random() < RIVAL_SHARE else ""


def _two_lists(asked: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [words for words, _ in asked], [other for _, other in asked]
