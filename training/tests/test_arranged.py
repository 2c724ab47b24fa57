"""Arranged things are asked for fairly, and found where they have to stand and not elsewhere."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linocut_training import arranged, arrangements, gates, tiles, views
from linocut_training.arranged import Found, Question, judged, questions, real_answer, shares
from linocut_training.arrangements import ARRANGEMENTS
from linocut_training.captions import with_article
from linocut_training.concepts import (
    BACKGROUNDS,
    CONCEPT_OF,
    DEFAULT_STYLE,
    HELD_PAIRS,
    STYLES,
)
from linocut_training.gates import Pixels, Seen

QUESTIONS = questions()
KEYS = list(CONCEPT_OF)


class Reader:
    """In the judge's place: a thing is known by its green and blue, which tell its number."""

    def look(self, pictures: Sequence[Pixels]) -> list[Seen]:
        """What stands in the middle of each."""
        found = []
        for pixels in pictures:
            assert pixels.shape == (128, 128, 3)
            _, low, high = map(int, pixels[64, 64])
            number = low + 256 * high
            found.append(Seen((KEYS[number] if number < len(KEYS) else "nothing",), "", ""))
        return found


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training folder: every thing a square in the colour that `Reader` knows it by."""
    folder = tmp_path_factory.mktemp("work")
    for style in (STYLES[key] for key in tiles.STYLE_KEYS):
        (folder / "cutouts" / style.source).mkdir(parents=True)
        for number, key in enumerate(KEYS):
            image = Image.new("RGBA", (32, 32))
            image.paste((200, number % 256, number // 256, 255), (2, 2, 30, 30))
            image.save(folder / "cutouts" / style.source / f"{key}.png")
    return folder


def picture(*standing: tuple[str, tuple[int, int]], side: int = 100) -> Pixels:
    """Things, by their keys and places, on white."""
    canvas = np.full((256, 256, 3), 255, np.uint8)
    for key, (row, column) in standing:
        top, left = 32 * row + 64 - side // 2, 32 * column + 64 - side // 2
        number = KEYS.index(key)
        canvas[top : top + side, left : left + side] = (200, number % 256, number // 256)
    return canvas


def shares_of(asked: Sequence[Question], drawn: Sequence[Pixels]) -> dict[str, dict[str, float]]:
    """What the judge finds in them."""
    return shares(asked, judged(Reader(), asked, drawn))


def question(arrangement: str, concepts: str) -> Question:
    """One in the default style on white."""
    return Question(1, arrangement, concepts, "3d", "white", 1, "")


def test_the_committed_questions_are_those_that_are_asked() -> None:
    assert gates.read_table(gates.FOLDER / "arranged.tsv", Question) == QUESTIONS


def test_things_styles_and_backgrounds_come_in_turn() -> None:
    assert Counter(it.arrangement for it in QUESTIONS) == {
        "beside": 40, "above": 20, "two": 20, "three": 20, "small": 20
    }  # fmt: skip
    assert [it.number for it in QUESTIONS] == [it.seed for it in QUESTIONS] == [*range(1, 121)]
    styles = Counter(it.style for it in QUESTIONS)
    assert styles.pop(DEFAULT_STYLE) == 60
    assert set(styles) == set(tiles.STYLE_KEYS) - {DEFAULT_STYLE}
    assert max(styles.values()) - min(styles.values()) <= 5
    backgrounds = Counter(it.background for it in QUESTIONS)
    assert set(backgrounds) == set(BACKGROUNDS)
    assert max(backgrounds.values()) - min(backgrounds.values()) <= 1
    assert len({(it.style, it.background) for it in QUESTIONS}) > 50
    keys = [key for it in QUESTIONS for key in it.concepts.split(" ")]
    assert len(set(keys)) == len(keys) == 180


def test_nothing_is_asked_for_that_was_held_out_or_cannot_be_counted() -> None:
    for it in QUESTIONS:
        for key in it.concepts.split(" "):
            assert (KEYS.index(key), it.style) not in HELD_PAIRS
            assert arrangements.can_stand_in(it.arrangement, CONCEPT_OF[key])


def test_every_question_says_its_things_its_style_and_its_background() -> None:
    for it in QUESTIONS:
        phrase, style, background = it.text.rsplit(", ", 2)
        assert style == f"{STYLES[it.style].word} style"
        assert background == f"{it.background} background"
        names = [CONCEPT_OF[key].name for key in it.concepts.split(" ")]
        if it.arrangement in ("beside", "above"):
            first, second = map(with_article, names)
            word = {"beside": "and", "above": "above"}[it.arrangement]
            assert phrase == f"{first} {word} {second}"
        elif it.arrangement != "small":
            assert phrase == f"{it.arrangement} {arrangements.plural(names[0])}"
        else:
            assert phrase in (f"a small {names[0]}", f"small {names[0]}")


@pytest.mark.parametrize(
    ("arrangement", "concepts", "wanted"),
    [
        ("beside", "car owl", ["car", "owl"]),
        ("above", "car owl", ["car", "owl"]),
        ("two", "car", ["car", "car"]),
        ("three", "car", ["car", "car", "car"]),
        ("small", "car", ["car"]),
    ],
)
def test_every_place_has_the_thing_that_is_to_stand_there(arrangement, concepts, wanted) -> None:
    assert question(arrangement, concepts).wanted == wanted


@pytest.mark.parametrize("number", [4, 42, 62, 82, 108])
def test_a_perfect_answer_has_its_things_in_their_places_and_nothing_else(work, number) -> None:
    asked = QUESTIONS[number - 1]
    pixels = real_answer(work, asked)
    assert pixels.shape == (256, 256, 3)
    rest = np.ones((256, 256), bool)
    for (row, column), key in zip(
        ARRANGEMENTS[asked.arrangement].places, asked.wanted, strict=True
    ):
        part = np.s_[32 * row : 32 * row + 128, 32 * column : 32 * column + 128]
        rest[part] = False
        index = KEYS.index(key)
        colour = views.COLOUR_NAMES.index(asked.background)
        tile = tiles.Tile(index, views.STYLE_NAMES.index(asked.style), colour)
        assert np.array_equal(pixels[part], tiles.picture(work, tile)[32:-32, 32:-32])
        assert tuple(pixels[part][64, 64]) == (200, index % 256, index // 256)
    assert (pixels[rest] == BACKGROUNDS[asked.background]).all()
    assert rest.any()


def test_perfect_answers_are_all_found(work) -> None:
    found = shares_of(QUESTIONS, [real_answer(work, it) for it in QUESTIONS])
    counts = {"beside": 40, "above": 20, "two": 20, "three": 20, "small": 20, "two_things": 60}
    assert found == {
        name: {"pictures": many, "found": 1.0, "all_found": 1.0} for name, many in counts.items()
    }


@pytest.mark.parametrize(
    ("arrangement", "places", "found"),
    [
        ("beside", [("car", (2, 0)), ("owl", (2, 4))], (1, 1)),
        ("beside", [("owl", (2, 0)), ("car", (2, 4))], (1, 1)),
        ("beside", [("car", (2, 0)), ("car", (2, 4))], (0.5, 0)),
        ("beside", [("car", (2, 0))], (0.5, 0)),
        ("beside", [("car", (0, 2)), ("owl", (4, 2))], (0, 0)),
        ("beside", [], (0, 0)),
        ("above", [("car", (0, 2)), ("owl", (4, 2))], (1, 1)),
        ("above", [("owl", (0, 2)), ("car", (4, 2))], (0, 0)),
        ("above", [("owl", (0, 2)), ("owl", (4, 2))], (0.5, 0)),
    ],
)
def test_beside_is_in_any_order_and_above_is_not(arrangement, places, found) -> None:
    seen = shares_of([question(arrangement, "car owl")], [picture(*places)])
    assert (seen[arrangement]["found"], seen[arrangement]["all_found"]) == found
    assert seen["two_things"] == seen[arrangement]
    assert seen["two"] == {"pictures": 0, "found": 0, "all_found": 0}


@pytest.mark.parametrize(
    ("arrangement", "places", "found"),
    [
        ("two", [("car", (2, 0)), ("car", (2, 4))], (1, 1)),
        ("two", [("car", (2, 0))], (0.5, 0)),
        ("two", [("car", (2, 2))], (0, 0)),
        ("three", [("car", (0, 2)), ("car", (4, 0)), ("car", (4, 4))], (1, 1)),
        ("three", [("car", (0, 2)), ("car", (4, 0)), ("owl", (4, 4))], (0.6667, 0)),
        ("three", [("car", (2, 0)), ("car", (2, 4))], (0, 0)),
    ],
)
def test_several_are_counted_in_their_places(arrangement, places, found) -> None:
    seen = shares_of([question(arrangement, "car")], [picture(*places)])
    assert (seen[arrangement]["found"], seen[arrangement]["all_found"]) == found
    assert seen["two_things"]["pictures"] == 0


@pytest.mark.parametrize(
    ("key", "side", "found"),
    [("car", 110, (1, 1)), ("car", 40, (1, 1)), ("car", 200, (1, 0)), ("owl", 110, (0, 0))],
)
def test_a_small_thing_has_to_be_small(key, side, found) -> None:
    seen = shares_of([question("small", "car")], [picture((key, (2, 2)), side=side)])
    assert (seen["small"]["found"], seen["small"]["all_found"]) == found


def test_what_is_seen_is_told_place_by_place() -> None:
    asked = [question("above", "car owl"), question("beside", "car owl"), question("small", "car")]
    swapped = picture(("owl", (2, 0)), ("car", (2, 4)))
    drawn = [picture(("car", (0, 2)), ("pizza", (4, 2))), swapped, picture()]
    assert judged(Reader(), asked, drawn) == [
        Found(("car", "pizza"), (True, False), is_right=False),
        Found(("car", "owl"), (True, True), is_right=True),
        Found(("nothing",), (False,), is_right=False),
    ]


def test_shares_are_of_all_pictures_each_judged_by_its_own_question() -> None:
    asked = [
        question("above", "car owl"),
        question("two", "pizza"),
        question("beside", "owl pizza"),
    ]
    drawn = [
        picture(("car", (0, 2)), ("owl", (4, 2))),
        picture(("pizza", (2, 0)), ("pizza", (2, 4))),
        picture(("owl", (2, 0)), ("car", (2, 4))),
    ]
    seen = shares_of(asked, drawn)
    assert seen["above"]["all_found"] == seen["two"]["all_found"] == 1
    assert seen["two_things"] == {"pictures": 2, "found": 0.75, "all_found": 0.5}


def test_pictures_are_asked_for_as_in_the_evaluation(work) -> None:
    asked, how = arranged.requests(QUESTIONS, work), gates.read_rules()["drawing"]
    names = [f"{number:03}" for number in range(1, 121)]
    assert list(asked) == names + [f"joined-{name}" for name in names[:60]]
    for one, request in zip(QUESTIONS, asked.values(), strict=False):
        assert (request.prompt, request.seed) == (one.text, one.seed)
        assert request.references == ()
        assert {name: getattr(request, name) for name in how} == how


def test_two_things_are_asked_for_again_by_pictures_that_the_words_do_not_name(work) -> None:
    asked, how = arranged.requests(QUESTIONS, work), gates.read_rules()["drawing"]
    for one, request in zip(QUESTIONS[:60], [*asked.values()][120:], strict=True):
        place = {"beside": "next to", "above": "above"}[one.arrangement]
        assert (request.prompt, request.seed) == (f"image 1 {place} image 2", one.seed)
        assert {name: getattr(request, name) for name in how} == how
        behind = (BACKGROUNDS[one.background], BACKGROUNDS["white"])
        shown = [
            np.frombuffer(it.rgb, np.uint8).reshape(it.height, it.width, 3)
            for it in request.references
        ]
        assert [tuple(pixels[0, 0]) for pixels in shown] == list(behind)
        seen = [tuple(map(int, pixels[128, 128])) for pixels in shown]
        assert [KEYS[low + 256 * high] for _, low, high in seen] == one.wanted


@pytest.fixture
def drawn(work, tmp_path, monkeypatch) -> Path:
    """A checkpoint's folder: it draws all that is asked for as it should be, but for "two"."""
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "weights.safetensors").write_bytes(b"weights")

    def draw(folder: Path, requests: dict, out: Path, processes: int) -> None:
        assert (folder, processes) == (checkpoint, 3)
        for one in QUESTIONS:
            assert requests[f"{one.number:03}"].prompt == one.text
            if one.arrangement in arranged.JOINED:
                right = picture() if "joined" in failing else real_answer(work, one)
                Image.fromarray(right).save(out / f"joined-{one.number:03}.png")
            pixels = picture() if one.arrangement in failing else real_answer(work, one)
            Image.fromarray(pixels).save(out / f"{one.number:03}.png")

    failing = ["two"]
    monkeypatch.setattr(arranged, "draw_in_processes", draw)
    monkeypatch.setattr(arranged.Judge, "open", lambda of: Reader())
    draw.failing = failing
    return checkpoint


def test_two_things_have_to_be_found_half_as_often_as_in_perfect_pictures(work, drawn) -> None:
    found = arranged.measure(drawn, work, processes=3)
    assert found["two_things_of_real"] == {"least": 0.5, "reached": 1.0, "passed": True}
    assert found["generated"]["two"] == {"pictures": 20, "found": 0, "all_found": 0}
    assert found["real"]["two"]["all_found"] == 1
    all_of_two = {"pictures": 60, "found": 1, "all_found": 1}
    assert found["generated"]["joined"] == found["real"]["joined"] == all_of_two
    assert (work / "evaluation" / "sheet-joined.webp").exists()
    assert found["weights_sha256"] == arranged.fingerprint(drawn)
    written = json.loads((work / "evaluation" / "arranged.json").read_text(encoding="utf-8"))
    assert written == found
    with Image.open(work / "evaluation" / "sheet-arranged.webp") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    width, height = pixels.shape[1] // 10, pixels.shape[0] // 12
    for index, one in enumerate(QUESTIONS):
        red, green, _ = pixels[height * (index // 10) + 72, width * (index % 10) + 2]
        assert (red > green) == (one.arrangement == "two")
    arranged.draw_in_processes.failing[:] = ["beside", "joined"]
    found = arranged.measure(drawn, work, processes=3)
    assert found["generated"]["joined"]["found"] == 0
    assert found["two_things_of_real"] == {"least": 0.5, "reached": 0.3333, "passed": False}


def test_the_command_writes_the_questions_anew_where_that_is_asked_for(
    work, drawn, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(gates, "FOLDER", tmp_path)
    rules = {"drawing": {}, "arranged": {"two_things": 0.5}}
    monkeypatch.setattr(gates, "read_rules", lambda: rules)
    said = ["arranged", str(work), str(drawn), "--processes", "3"]
    monkeypatch.setattr(sys, "argv", [*said, "--write"])
    arranged.main()
    assert gates.read_table(tmp_path / "arranged.tsv", Question) == QUESTIONS
    assert json.loads(capsys.readouterr().out)["two_things_of_real"]["passed"]
    (tmp_path / "arranged.tsv").unlink()
    monkeypatch.setattr(sys, "argv", said)
    with pytest.raises(FileNotFoundError):
        arranged.main()
