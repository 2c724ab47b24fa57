"""What is said of things that are arranged is English, and true of where they stand."""

from collections import Counter
from itertools import combinations, product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut_training import arrangements, views
from linocut_training.arrangements import ARRANGEMENTS, COUNTED
from linocut_training.captions import with_article
from linocut_training.concepts import CONCEPT_OF, CONCEPTS, Concept
from linocut_training.tiles import SIDE

concepts = st.sampled_from(CONCEPTS)
pairs = st.lists(concepts, min_size=2, max_size=2, unique=True)
seeds = st.integers(0, 2**32)
COUNTABLE = [concept for concept in CONCEPTS if arrangements.is_countable(concept.name)]
# What stands between two things, by which of them is at the left, or above: the first that is
# named, the second, or the first where nothing is said of it.
FIRST_IS_LEFT = ("left of", "to the left of", "and", "with", "next to", "beside")
SECOND_IS_LEFT = ("right of", "to the right of")
FIRST_IS_ABOVE = ("above", "over", "on top of")
SECOND_IS_ABOVE = ("below", "under")
NUMBERS = {"two": ("two", "2", "a pair of"), "three": ("three", "3")}


def names(concept: Concept) -> tuple[str, ...]:
    """All that a thing is called."""
    return concept.name, *concept.synonyms


def countable(concept: Concept) -> list[str]:
    """What a thing is called where there are several."""
    return [name for name in names(concept) if arrangements.is_countable(name)]


def test_things_of_an_arrangement_stand_within_the_square_and_apart() -> None:
    for arrangement in ARRANGEMENTS.values():
        for place in arrangement.places:
            assert all(0 <= start <= views.SQUARE[0] - SIDE for start in place)
        for (top, left), (down, right) in combinations(arrangement.places, 2):
            assert abs(top - down) >= SIDE or abs(left - right) >= SIDE


def test_a_window_is_the_least_of_the_square_that_has_all_its_things() -> None:
    windows = {name: arrangement.window for name, arrangement in ARRANGEMENTS.items()}
    middle, whole = slice(2, 6), slice(0, 8)
    assert windows == {
        "beside": (middle, whole), "above": (whole, middle), "two": (middle, whole),
        "three": (whole, whole), "small": (middle, middle),
    }  # fmt: skip


def test_who_is_named_first_stands_at_the_left_or_above() -> None:
    (row, left), (same, right) = ARRANGEMENTS["beside"].places
    assert row == same
    assert left < right
    (above, column), (below, other) = ARRANGEMENTS["above"].places
    assert column == other
    assert above < below


def test_as_many_things_stand_there_as_are_counted() -> None:
    counts = {name: len(arrangement.places) for name, arrangement in ARRANGEMENTS.items()}
    assert counts == {"beside": 2, "above": 2, "two": 2, "three": 3, "small": 1}
    of_one_kind = {name for name, arrangement in ARRANGEMENTS.items() if arrangement.is_of_one_kind}
    assert of_one_kind == set(COUNTED) == {"two", "three", "small"}
    assert {name for name in ARRANGEMENTS if ARRANGEMENTS[name].is_counted} == {"two", "three"}


def test_arrangements_come_in_their_shares() -> None:
    rng = Random(0)
    seen = Counter(arrangements.any_arrangement(rng) for _ in range(10_000))
    assert sum(arrangement.share for arrangement in ARRANGEMENTS.values()) == pytest.approx(1)
    for name, arrangement in ARRANGEMENTS.items():
        assert abs(seen[name] / 10_000 - arrangement.share) < 0.02


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("beside", FIRST_IS_LEFT, SECOND_IS_LEFT),
        ("above", FIRST_IS_ABOVE, SECOND_IS_ABOVE),
    ],
)
@given(things=pairs, seed=seeds)
def test_of_two_things_each_is_said_where_it_stands(name, first, second, things, seed) -> None:
    said = arrangements.phrase(name, things, Random(seed))
    found = set()
    for one, other in product(*map(names, things)):
        a, b = with_article(one), with_article(other)
        found |= {word for word in first if said == f"{a} {word} {b}"}
        found |= {word for word in second if said == f"{b} {word} {a}"}
    assert len(found) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("beside", FIRST_IS_LEFT + SECOND_IS_LEFT),
        ("above", FIRST_IS_ABOVE + SECOND_IS_ABOVE),
    ],
)
def test_all_words_for_where_two_things_stand_are_used(name, words) -> None:
    rng, things = Random(0), (CONCEPT_OF["car"], CONCEPT_OF["house"])
    said = [arrangements.phrase(name, things, rng) for _ in range(300)]
    assert all(any(f" {word} " in one for one in said) for word in words)


@pytest.mark.parametrize("name", NUMBERS)
def test_several_things_are_a_number_and_a_plural(name) -> None:
    for thing in COUNTABLE:
        plurals = [arrangements.plural(noun) for noun in countable(thing)]
        wanted = {f"{number} {noun}" for number in NUMBERS[name] for noun in plurals}
        said = {arrangements.phrase(name, [thing], Random(seed)) for seed in range(30)}
        assert said <= wanted


@given(thing=concepts, seed=seeds)
def test_a_small_thing_has_no_plural_and_no_article_that_it_has_not_else(thing, seed) -> None:
    said = arrangements.phrase("small", [thing], Random(seed))
    words = ("small", "tiny", "little")
    wanted = {f"a {word} {noun}" for word in words for noun in countable(thing)}
    wanted |= {
        f"{word} {noun}" for word in words for noun in set(names(thing)) - set(countable(thing))
    }
    assert said in wanted | {f"small {noun}" for noun in names(thing)}


@pytest.mark.parametrize(
    ("noun", "is_countable"),
    [("cat", True), ("hourglass", True), ("cup of coffee", True), ("grapes", False),
     ("bread", False), ("moon", False), ("fork and knife", False)],
)  # fmt: skip
def test_what_has_no_article_or_is_two_things_is_not_counted(noun, is_countable) -> None:
    assert arrangements.is_countable(noun) is is_countable


@given(thing=concepts)
def test_what_cannot_be_counted_can_still_stand_beside_another_or_be_small(thing) -> None:
    able = {name for name in ARRANGEMENTS if arrangements.can_stand_in(name, thing)}
    assert able - {"two", "three"} == {"beside", "above", "small"}
    assert ({"two", "three"} <= able) == (thing in COUNTABLE)
    assert len(able) in (3, 5)


IRREGULAR = (
    "mice", "snowmen", "men", "women", "policemen", "policewomen", "firemen", "spacemen", "people",
    "dice", "feet", "teeth",
)  # fmt: skip
ALIKE = ("fish", "sheep", "deer", "reindeer", "trout", "dice")  # one and many


@pytest.mark.parametrize(
    ("noun", "wanted"),
    [
        ("cat", "cats"), ("mouse", "mice"), ("fox", "foxes"), ("knife", "knives"),
        ("strawberry", "strawberries"), ("sheep", "sheep"), ("snowman", "snowmen"),
        ("cup of coffee", "cups of coffee"), ("slice of watermelon", "slices of watermelon"),
        ("racing car", "racing cars"), ("jack-o'-lantern", "jack-o'-lanterns"),
        ("taco", "tacos"), ("beef taco", "beef tacos"), ("burrito", "burritos"),
        ("four by four", "four by fours"), ("dice", "dice"), ("rolling dice", "rolling dice"),
        ("thumb up", "thumbs up"), ("thumbs down", "thumbs down"), ("foot", "feet"),
        ("face sticking out its tongue", "faces sticking out their tongues"),
        ("police officer", "police officers"), ("old woman", "old women"),
    ],
)  # fmt: skip
def test_plurals_are_those_of_a_dictionary(noun, wanted) -> None:
    assert arrangements.plural(noun) == wanted


def test_a_plural_has_the_same_words_and_one_of_them_is_many() -> None:
    def is_of(noun: str, plural: str) -> bool:
        one, many = (
            [word for word in words.split(" ") if word not in ("a", "an")]
            for words in (noun, plural)
        )
        if len(one) != len(many):
            return False
        changed = [(old, new) for old, new in zip(one, many, strict=True) if old != new]
        return all(
            (new[0] == old[0] and (new.endswith("s") or new in IRREGULAR))
            or (old, new) == ("its", "their")
            for old, new in changed
        ) and (changed != [] or one[-1] in ALIKE or noun in ("thumbs up", "thumbs down"))

    nouns = [noun for thing in COUNTABLE for noun in countable(thing)]
    plurals = {noun: arrangements.plural(noun) for noun in nouns}
    assert not {noun: plural for noun, plural in plurals.items() if not is_of(noun, plural)}


def test_an_instruction_asks_for_what_there_is_to_be_and_counts_what_can_be_counted() -> None:
    strange: set[str] = set()
    for thing in CONCEPTS:
        others = set(names(thing)) - set(countable(thing))
        plurals = [arrangements.plural(noun) for noun in countable(thing)]
        small = {"make it smaller", "make it small"}
        small |= {f"make the {noun} smaller" for noun in names(thing)}
        small |= {f"a smaller {noun}" for noun in countable(thing)}
        small |= {f"smaller {noun}" for noun in others}
        for name in (name for name in COUNTED if arrangements.can_stand_in(name, thing)):
            many = {f"{how}{name} of them" for how in ("", "draw ", "now ")} | {f"make it {name}"}
            many |= {f"{how}{name} {noun}" for how in ("", "make it ") for noun in plurals}
            if name == "two":
                many |= {f"add another {noun}" for noun in ("one", *countable(thing))}
            said = {arrangements.instruction(name, thing, Random(seed)) for seed in range(60)}
            plain = {words.lower().removesuffix(".") for words in said}
            strange |= plain - {words.lower() for words in (small if name == "small" else many)}
    assert not strange


@given(things=pairs, seed=seeds)
def test_the_same_seed_says_the_same(things, seed) -> None:
    for name in ARRANGEMENTS:
        first, again = (arrangements.phrase(name, things, Random(seed)) for _ in range(2))
        assert first == again
    for name in COUNTED:
        first, again = (arrangements.instruction(name, things[0], Random(seed)) for _ in range(2))
        assert first == again


def test_what_is_judged_is_asked_for_in_fixed_words() -> None:
    car, mouse, grapes = (CONCEPT_OF[key] for key in ("car", "mouse", "grapes"))
    said = [
        arrangements.evaluation_phrase(name, things)
        for name, things in (
            ("beside", [car, grapes]), ("above", [mouse, car]), ("two", [mouse]),
            ("three", [car]), ("small", [mouse]), ("small", [grapes]),
        )
    ]  # fmt: skip
    assert said == [
        "a car and grapes", "a mouse above a car", "two mice",
        "three cars", "a small mouse", "small grapes",
    ]  # fmt: skip
