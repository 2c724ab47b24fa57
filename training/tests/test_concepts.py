"""The table of concepts says what it means, once."""

import hashlib
from collections import Counter
from dataclasses import astuple
from importlib import resources
from itertools import combinations
from typing import Final

import pytest

from linocut_training import concepts, gates
from linocut_training.concepts import (
    BACKGROUNDS,
    BEFORE,
    CONCEPT_OF,
    CONCEPTS,
    DEFAULT_BACKGROUND,
    DEFAULT_STYLE,
    DRAWN,
    DRAWN_SOURCES,
    EDITIONS,
    FIRST,
    GROUPS,
    HELD_PAIRS,
    KNOWN_GROUPS,
    STYLES,
    VOCABULARY,
    BadVocabulary,
    read_vocabulary,
)

HEADER: Final = "\t".join(concepts.COLUMNS)
APPLE: Final = "first\tfood\t1f34e\tred apple\tapple"
FIRST_BY_SHA256: Final = "d871fccf1c3565d3f5edf7e04e77b78eca6576c29c409fb093dc0cda1321279f"
SECOND_BY_SHA256: Final = "9ed53b4c634db30d1aa75c67d09e18cfaca200e9b77dc0517ae929c654f98993"


@pytest.mark.parametrize(
    ("edition", "known_by"),
    [(FIRST, FIRST_BY_SHA256), (BEFORE[len(FIRST) :], SECOND_BY_SHA256)],
)
def test_what_the_checkpoint_knows_is_what_it_was_trained_on(edition, known_by) -> None:
    rows = (repr(_row(concept)) for concept in edition)
    assert hashlib.sha256("\n".join(rows).encode()).hexdigest() == known_by


def test_the_concepts_stand_in_the_order_of_the_committed_prompts() -> None:
    asked = gates.read_table(gates.FOLDER / "prompts.tsv", gates.Prompt)
    assert list(dict.fromkeys(prompt.concept for prompt in asked)) == list(CONCEPT_OF)


def test_the_vocabulary_begins_with_what_is_known_and_has_a_thousand_concepts() -> None:
    assert VOCABULARY[: len(CONCEPTS)] == CONCEPTS
    assert CONCEPTS[: len(BEFORE)] == BEFORE
    assert BEFORE[: len(FIRST)] == FIRST
    assert (len(FIRST), len(BEFORE), len(CONCEPTS)) == (116, 290, 290)
    assert len(VOCABULARY) >= 1000


def test_keys_and_code_points_are_unique() -> None:
    assert len(CONCEPT_OF) == len(CONCEPTS)
    assert len({concept.key for concept in VOCABULARY}) == len(VOCABULARY)
    assert len({concept.codepoint for concept in VOCABULARY}) == len(VOCABULARY)


def test_no_word_means_two_things() -> None:
    words = [word for concept in VOCABULARY for word in (concept.name, *concept.synonyms)]
    assert not [word for word, count in Counter(map(str.casefold, words)).items() if count > 1]


def test_all_that_came_after_the_first_can_be_asked_for_in_other_words() -> None:
    assert all(1 <= len(concept.synonyms) <= 5 for concept in VOCABULARY[len(FIRST) :])


def test_no_word_of_a_style_is_in_a_name() -> None:
    # "a flat shoe" would ask for a style that the picture does not have.
    words = {
        part
        for concept in VOCABULARY
        for word in (concept.name, *concept.synonyms)
        for part in word.replace("-", " ").split()
    }
    assert not words & {style.word.lower() for style in STYLES.values()}


def test_keys_are_fit_for_file_names() -> None:
    keys = [concept.key for concept in VOCABULARY]
    assert all(key.replace("_", "").isalnum() and key.islower() for key in keys)


def test_near_copies_of_a_drawing_are_left_out() -> None:
    tones = {f"{tone:x}" for tone in range(0x1F3FB, 0x1F400)}
    assert not [it.key for it in VOCABULARY if tones & set(it.codepoint.split("-"))]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("first\tfood\t1f34c\tbanana", "4 columns, not 5"),
        (APPLE + "\tmore", "6 columns, not 5"),
        ("", "1 columns, not 5"),
        ("last\tfood\t1f34c\tbanana\t", "edition 'last' is none of first, second, third, next"),
        ("first\tfruit\t1f34c\tbanana\t", "group 'fruit' is none of food, animals"),
        ("first\tfood\t1F34C\tbanana\t", "code point '1F34C' is not lower-case hex"),
        ("first\tfood\t\tbanana\t", "code point '' is not lower-case hex"),
        ("first\tfood\t1f34c\t\t", "'' is not plain lower-case English"),
        ("first\tfood\t1f34c\tBanana\t", "'Banana' is not plain lower-case English"),
        ("first\tfood\t1f34c\tbanana\tone;two", "'one;two' is not plain lower-case English"),
        ("first\tfood\t1f34c\tbanana\tpinata; piñata", "'piñata' is not plain"),
        ("next\tfood\t1f34e\tbanana\t", "code point '1f34e' already belongs to 'red apple'"),
        ("next\tfood\t1f34c\tred apple\t", "word 'red apple' already belongs to 'red apple'"),
        ("next\tfood\t1f34c\tapple\t", "word 'apple' already belongs to 'red apple'"),
        ("next\tfood\t1f34c\tbanana\tapple", "word 'apple' already belongs to 'red apple'"),
        ("next\tfood\t1f34c\tbanana\tbanana", "word 'banana' already belongs to 'banana'"),
        ("next\tfood\t1f34c\tred-apple\t", "key 'red_apple' already belongs to 'red apple'"),
    ],
)
def test_a_row_that_cannot_be_meant_is_refused_by_name(row: str, reason: str) -> None:
    with pytest.raises(BadVocabulary) as refused:
        read_vocabulary(f"{HEADER}\n{APPLE}\n{row}\n")
    assert str(refused.value).startswith(f"vocabulary, line 3, {row!r}: {reason}")


@pytest.mark.parametrize(("earlier", "later"), list(combinations(EDITIONS, 2)))
def test_an_edition_stands_in_one_piece(earlier, later) -> None:
    rows = (HEADER, APPLE.replace("first", later), f"{earlier}\tfood\t1f34c\tbanana\t")
    with pytest.raises(
        BadVocabulary, match=rf"line 3.*edition '{earlier}' stands after a later one"
    ):
        read_vocabulary("\n".join(rows))


@pytest.mark.parametrize("text", ["", APPLE, HEADER.replace("name", "title") + "\n" + APPLE])
def test_a_vocabulary_without_its_columns_is_refused(text: str) -> None:
    with pytest.raises(BadVocabulary, match=r"the first line is .*, not the columns edition"):
        read_vocabulary(text)


def test_a_row_becomes_a_concept() -> None:
    row = "next\tobjects\t2693-200d-1f525\tship's big-anchor\tanchor; iron anchor"
    read = read_vocabulary(f"{HEADER}\n{APPLE}\n{row}\n")
    assert {edition: [astuple(it) for it in found] for edition, found in read.items()} == {
        "first": [("red_apple", "red apple", ("apple",), "food", "1f34e")],
        "second": [],
        "third": [],
        "next": [
            (
                "ships_big_anchor",
                "ship's big-anchor",
                ("anchor", "iron anchor"),
                "objects",
                "2693-200d-1f525",
            )
        ],
    }


def test_the_vocabulary_that_ships_is_the_one_that_is_read() -> None:
    shipped = resources.files("linocut_training").joinpath("vocabulary.tsv")
    read = read_vocabulary(shipped.read_text(encoding="utf-8"))
    assert (*read["first"], *read["second"], *read["third"], *read["next"]) == VOCABULARY
    assert (*read["first"], *read["second"], *read["third"]) == CONCEPTS


def test_every_known_group_is_used_and_todays_come_first() -> None:
    assert KNOWN_GROUPS[: len(GROUPS)] == GROUPS
    assert {concept.group for concept in VOCABULARY} == set(KNOWN_GROUPS)


def test_every_group_has_its_share() -> None:
    sizes = {group: sum(concept.group == group for concept in CONCEPTS) for group in GROUPS}
    assert min(sizes.values()) >= 8
    assert len(GROUPS) == 8


def test_one_in_seven_of_the_newest_is_held_out_of_one_style_that_has_to_be_named() -> None:
    drawn = {(index, style) for index, style in HELD_PAIRS if style in DRAWN}
    held = Counter(index for index, _ in drawn)
    newest = range(len(FIRST), len(CONCEPTS))
    assert set(held) <= set(newest)
    assert set(held.values()) == {1}  # it is known from the other styles
    assert abs(len(held) / len(newest) - 1 / 7) < 0.01
    assert {CONCEPTS[index].group for index in held} == {CONCEPTS[index].group for index in newest}
    styles = Counter(style for _, style in drawn)
    assert set(styles) == set(DRAWN) - {DEFAULT_STYLE}
    assert max(styles.values()) - min(styles.values()) <= 1


def test_what_is_made_of_a_style_is_held_out_with_it_and_of_no_other() -> None:
    maker = {key: style.made_from for key, style in STYLES.items() if style.made_from is not None}
    assert set(maker.values()) <= set(DRAWN_SOURCES)
    held = {(index, key) for index, key in HELD_PAIRS if key in maker}
    assert held == {
        (index, key)
        for index, drawn in HELD_PAIRS
        for key, source in maker.items()
        if STYLES[drawn].source == source
    }
    assert held


def test_what_the_checkpoint_was_never_shown_stays_so() -> None:
    # Held out before there were more styles: a pair that was once shown tells nothing.
    drawn = ("3d", "flat", "cartoon", "sticker")
    assert drawn == DRAWN
    assert {pair for pair in HELD_PAIRS if pair[1] in DRAWN} == {
        (116 + 7 * turn, drawn[1 + turn % 3]) for turn in range(25)
    }


def test_the_defaults_exist() -> None:
    assert DEFAULT_STYLE in STYLES
    assert DEFAULT_BACKGROUND in BACKGROUNDS


def test_backgrounds_can_be_told_apart() -> None:
    for (_, one), (_, other) in combinations(BACKGROUNDS.items(), 2):
        assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 > 45


def _row(concept: concepts.Concept) -> tuple[str, str, tuple[str, ...], str, str]:
    return concept.key, concept.name, concept.synonyms, concept.group, concept.codepoint
