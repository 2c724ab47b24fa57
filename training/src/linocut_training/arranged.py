"""How well a checkpoint draws two things, several alike, and small ones, as the judge sees them.

`python -m linocut_training.arranged WORK CHECKPOINT`. Every thing is looked at in the part of the
picture where the training puts it; drawn elsewhere it is not found. The questions stand in
training/evaluation/arranged.tsv, committed before the training that they judge. Two things are
asked for once more by a picture of each, which the words do not name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np

from linocut.request import ImageRequest
from linocut_training import arrangements, gates, tiles, views
from linocut_training.arrangements import ARRANGEMENTS
from linocut_training.captions import evaluation_caption
from linocut_training.classifier import Judge, framed
from linocut_training.concepts import (
    BACKGROUNDS,
    BEFORE,
    CONCEPT_OF,
    CONCEPTS,
    DEFAULT_BACKGROUND,
    DEFAULT_STYLE,
    HELD_PAIRS,
    Concept,
)
from linocut_training.drawing import draw_in_processes, fingerprint, read, to_picture
from linocut_training.evaluate import arguments, save_sheet, tile
from linocut_training.gates import COLOURS, SIDE, Pixels
from linocut_training.tiles import Place, Tile

TABLE: Final = "arranged.tsv"
COUNTS: Final = {"beside": 40, "above": 20, "two": 20, "three": 20, "small": 20}
IN_ANY_ORDER: Final = "beside"  # "a cat and a ball" does not say which is where
COLUMNS: Final = 10  # of the sheet
JOINED: Final = {"beside": "image 1 next to image 2", "above": "image 1 above image 2"}
JOINED_COLUMNS: Final = 5
SMALL: Final = 0.62  # of the picture's side, by the frame around all that is in it


@dataclass(frozen=True, slots=True)
class Question:
    """One picture asked for; concepts: a key for each name that is said, joined by spaces."""

    number: int
    arrangement: str
    concepts: str
    style: str
    background: str
    seed: int
    text: str

    @property
    def wanted(self) -> list[str]:
        """The key of the thing in each place."""
        said = self.concepts.split(" ")
        return said * (len(ARRANGEMENTS[self.arrangement].places) // len(said))


def questions() -> list[Question]:
    """Things, backgrounds and styles in turn; every other picture is in the default style.

    Of the things that were known before: the newest are learned whole first.
    """
    asked: list[Question] = []
    others = [key for key in tiles.STYLE_KEYS if key != DEFAULT_STYLE]
    things = (BEFORE[97 * turn % len(BEFORE)] for turn in count())
    for name, many in COUNTS.items():
        for turn in range(many):
            style = others[turn // 2 % len(others)] if turn % 2 else DEFAULT_STYLE
            said = 1 if ARRANGEMENTS[name].is_of_one_kind else 2
            chosen = _able(things, name, style)
            some = [next(chosen) for _ in range(said)]
            # On by one every round, so that the styles' turns do not go with the colours'.
            background = COLOURS[(len(asked) + len(asked) // len(COLOURS)) % len(COLOURS)]
            phrase = arrangements.evaluation_phrase(name, some)
            keys = " ".join(thing.key for thing in some)
            number = len(asked) + 1
            text = evaluation_caption(phrase, style, background)
            asked.append(Question(number, name, keys, style, background, number, text))
    return asked


def _able(things: Iterator[Concept], name: str, style: str) -> Iterator[Concept]:
    for thing in things:
        is_held = (CONCEPTS.index(thing), style) in HELD_PAIRS
        if arrangements.can_stand_in(name, thing) and not is_held:
            yield thing


def real_answer(work: Path, asked: Question) -> Pixels:
    """What a perfect model would draw: tiles of real cut-outs in the places."""
    canvas = np.empty((SIDE, SIDE, 3), np.uint8)
    canvas[:] = BACKGROUNDS[asked.background]
    places = ARRANGEMENTS[asked.arrangement].places
    style, colour = views.STYLE_NAMES.index(asked.style), COLOURS.index(asked.background)
    margin = tiles.MARGIN * views.PIXELS
    for key, place in zip(asked.wanted, places, strict=True):
        tile = Tile(list(CONCEPT_OF).index(key), style, colour)
        _at(canvas, place)[:] = tiles.picture(work, tile)[margin:-margin, margin:-margin]
    return canvas


def _at(picture: Pixels, place: Place) -> Pixels:
    top, left = (start * views.PIXELS for start in place)
    side = tiles.SIDE * views.PIXELS
    return picture[top : top + side, left : left + side]


@dataclass(frozen=True, slots=True)
class Found:
    """What the judge sees in each place, whether that is what is wanted, and whether all is."""

    seen: tuple[str, ...]
    hits: tuple[bool, ...]
    is_right: bool


def judged(judge: Judge, asked: Sequence[Question], drawn: Sequence[Pixels]) -> list[Found]:
    """What each picture is taken for; a small thing has to be small, too."""
    parts = [
        _at(picture, place)
        for one, picture in zip(asked, drawn, strict=True)
        for place in ARRANGEMENTS[one.arrangement].places
    ]
    named = iter([seen.concepts[0] for seen in judge.look(parts)])
    found = []
    for one, picture in zip(asked, drawn, strict=True):
        wanted, seen = one.wanted, [next(named) for _ in one.wanted]
        if one.arrangement == IN_ANY_ORDER and seen[::-1] == wanted:
            seen.reverse()
        hits = tuple(it == key for it, key in zip(seen, wanted, strict=True))
        is_small = one.arrangement != "small" or len(framed(picture)) <= SMALL * SIDE
        found.append(Found(tuple(seen), hits, all(hits) and is_small))
    return found


def shares(asked: Sequence[Question], found: Sequence[Found]) -> dict[str, dict[str, float]]:
    """By arrangement: the shares of things found, and of pictures in which all is right."""

    def of(*names: str) -> dict[str, float]:
        some = [it for one, it in zip(asked, found, strict=True) if one.arrangement in names]
        hits = [hit for it in some for hit in it.hits]
        return {
            "pictures": len(some),
            "found": round(sum(hits) / max(len(hits), 1), 4),
            "all_found": round(sum(it.is_right for it in some) / max(len(some), 1), 4),
        }

    return {name: of(name) for name in COUNTS} | {"two_things": of("beside", "above")}


def joined(asked: Sequence[Question]) -> list[Question]:
    """The questions about two things, asked by pictures: as `given` has them, in this order."""
    return [
        replace(one, text=JOINED[one.arrangement]) for one in asked if one.arrangement in JOINED
    ]


def given(work: Path, one: Question) -> tuple[Pixels, ...]:
    """A real picture of each thing, the first on the background asked for, the others on white."""
    return tuple(
        gates.real_picture(work, f"joined/{one.number}/{turn}", key, one.style, behind)
        for turn, (key, behind) in enumerate(
            zip(one.wanted, (one.background, DEFAULT_BACKGROUND), strict=True)
        )
    )


def requests(asked: Sequence[Question], work: Path) -> dict[str, ImageRequest]:
    """The pictures as any user of the engine would ask for them, by number, and if joined."""
    how = gates.read_rules()["drawing"]
    by_words = {
        f"{one.number:03}": ImageRequest(prompt=one.text, seed=one.seed, **how) for one in asked
    }
    by_pictures = {
        _joined_name(one): ImageRequest(
            prompt=one.text,
            seed=one.seed,
            references=tuple(map(to_picture, given(work, one))),
            **how,
        )
        for one in joined(asked)
    }
    return by_words | by_pictures


def _joined_name(one: Question) -> str:
    return f"joined-{one.number:03}"


def measure(checkpoint: Path, work: Path, *, processes: int = 2) -> dict[str, Any]:
    """What work/evaluation/arranged.json says afterwards; `work` holds the trained classifier."""
    asked = gates.read_table(gates.FOLDER / TABLE, Question)
    folder = work / "evaluation" / "arranged"
    folder.mkdir(parents=True, exist_ok=True)
    draw_in_processes(checkpoint, requests(asked, work), folder, processes)
    judge = Judge.open(work)
    pictures = [read(folder / f"{one.number:03}.png") for one in asked]
    seen = judged(judge, asked, pictures)
    sheet(folder.with_name("sheet-arranged.webp"), asked, pictures, seen)
    drawn = shares(asked, seen) | {"joined": _measure_joined(judge, asked, folder, work)}
    real = shares(asked, judged(judge, asked, [real_answer(work, one) for one in asked]))
    real["joined"] = real["two_things"]
    least = gates.read_rules()["arranged"]["two_things"]
    reached = gates.of_real(drawn["two_things"], real["two_things"])["all_found"]
    found = {
        "weights_sha256": fingerprint(checkpoint),
        "generated": drawn,
        "real": real,
        "two_things_of_real": {"least": least, "reached": reached, "passed": reached >= least},
    }
    folder.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def _measure_joined(
    judge: Judge, asked: Sequence[Question], folder: Path, work: Path
) -> dict[str, float]:
    of_two = joined(asked)
    pictures = [read(folder / f"{_joined_name(one)}.png") for one in of_two]
    seen = judged(judge, of_two, pictures)
    tiles = [
        tile([*given(work, one), pixels], one.text, ", ".join(it.seen), right=it.is_right)
        for one, pixels, it in zip(of_two, pictures, seen, strict=True)
    ]
    save_sheet(folder.with_name("sheet-joined.webp"), tiles, JOINED_COLUMNS)
    return shares(of_two, seen)["two_things"]


def sheet(
    file: Path, asked: Sequence[Question], drawn: Sequence[Pixels], found: Sequence[Found]
) -> None:
    """All pictures with what was asked for, framed green where the judge finds it."""
    tiles = [
        tile([picture], one.text.split(",")[0], ", ".join(it.seen), right=it.is_right)
        for one, picture, it in zip(asked, drawn, found, strict=True)
    ]
    save_sheet(file, tiles, COLUMNS)


def main() -> None:
    """Draw, look, write the shares down, and print them."""
    parser = arguments(__doc__)
    parser.add_argument("--write", action="store_true", help="first the table of questions anew")
    chosen = parser.parse_args()
    if chosen.write:
        gates.write_table(gates.FOLDER / TABLE, questions())
    found = measure(chosen.checkpoint, chosen.work, processes=chosen.processes)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
