"""Captions keep their two promises and read as English."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut_training.captions import (
    ARTICLES,
    COLOUR_WORDS,
    NAME_OBJECT_SHARE,
    SILENT_H,
    SYNONYM_SHARE,
    VOWELS,
    any_name,
    as_typed,
    caption,
    caption_of,
    evaluation_caption,
    evaluation_prompt,
    instruction,
    with_article,
)
from linocut_training.concepts import (
    BACKGROUNDS,
    CONCEPT_OF,
    CONCEPTS,
    DEFAULT_BACKGROUND,
    DEFAULT_STYLE,
    STYLES,
    VOCABULARY,
)

concepts = st.sampled_from(CONCEPTS)
styles = st.sampled_from(sorted(STYLES))
backgrounds = st.sampled_from(sorted(BACKGROUNDS))
seeds = st.integers(0, 2**32)
OTHER_WORDS = {"pixel": ("pixelated",), "grayscale": ("grayscale",)}


@given(concepts, styles, backgrounds, seeds)
def test_the_same_seed_gives_the_same_caption(concept, style, background, seed) -> None:
    first, second = (caption(concept, style, background, Random(seed)) for _ in range(2))
    assert first == second


@given(concepts, styles, backgrounds, seeds)
def test_what_is_not_the_default_is_always_named(concept, style, background, seed) -> None:
    words = caption(concept, style, background, Random(seed)).lower()
    if style != DEFAULT_STYLE:
        names = (STYLES[style].word.lower(), *OTHER_WORDS.get(style, ()))
        assert any(name in words for name in names)
    if background != DEFAULT_BACKGROUND:
        assert any(word in words for word in COLOUR_WORDS.get(background, (background,)))


@given(concepts, backgrounds, seeds)
def test_a_caption_never_names_another_style(concept, background, seed) -> None:
    words = caption(concept, DEFAULT_STYLE, background, Random(seed)).lower().split()
    assert not {"flat", "cartoon", "sticker", "pixel", "pixelated", "grayscale"} & set(words)


@given(concepts, styles, backgrounds, seeds)
def test_a_caption_says_what_is_in_the_picture(concept, style, background, seed) -> None:
    words = caption(concept, style, background, Random(seed)).lower()
    assert any(name.lower() in words for name in (concept.name, *concept.synonyms))
    assert "  " not in words
    assert not {"{", "}"} & set(words)


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("red apple", "a red apple"),
        ("apple", "an apple"),
        ("hourglass", "an hourglass"),
        ("house", "a house"),
        ("scissors", "scissors"),
        ("sun", "the sun"),
        ("orange", "an orange"),
        ("unicorn", "a unicorn"),
        ("x-ray", "an x-ray"),
        ("blue jeans", "blue jeans"),
        ("bread", "bread"),
        ("santa claus", "santa claus"),
        ("milky way", "the milky way"),
    ],
)
def test_articles(noun, expected) -> None:
    assert with_article(noun) == expected


def test_the_table_of_articles_holds_exceptions_and_no_strays() -> None:
    words = {word for it in VOCABULARY for word in (it.name, *it.synonyms)}
    assert not ARTICLES.keys() - words
    assert set(ARTICLES.values()) == {"-", "the", "a", "an"}
    usual = {word: "an" if word.startswith((*VOWELS, *SILENT_H)) else "a" for word in words}
    assert not [word for word, article in ARTICLES.items() if article == usual[word]]


def test_defaults_are_named_about_as_often_as_promised() -> None:
    rng = Random(0)
    words = [caption(CONCEPT_OF["car"], "3d", "white", rng).lower() for _ in range(2000)]
    assert 0.45 < sum("3d" in text for text in words) / 2000 < 0.55
    assert 0.28 < sum("white" in text for text in words) / 2000 < 0.39


@given(concepts, styles, backgrounds, seeds)
def test_an_instruction_names_what_is_wanted_and_nothing_else(
    concept, style, background, seed
) -> None:
    to_style = instruction("style", concept, style, background, Random(seed)).lower()
    assert STYLES[style].word.lower() in to_style
    assert "background" not in to_style
    to_background = instruction("background", concept, style, background, Random(seed)).lower()
    named = any(word in to_background for word in COLOUR_WORDS.get(background, (background,)))
    removed = any(word in to_background for word in ("remove", "away", "no background"))
    assert named != removed
    assert background == "white" or named
    assert "style" not in to_background


def test_a_background_is_removed_in_plain_words_and_style_mostly_asked_without_a_name() -> None:
    rng, cat = Random(0), CONCEPT_OF["cat_face"]
    removed = [instruction("background", cat, "3d", "white", rng).lower() for _ in range(2000)]
    assert 0.45 < sum("white" not in text for text in removed) / 2000 < 0.55
    assert {"remove the background", "remove the background color"} <= set(removed)
    named = [instruction("style", cat, "flat", "white", rng).lower() for _ in range(2000)]
    words = (cat.name, *cat.synonyms)
    share = sum(any(word in text for word in words) for text in named) / 2000
    assert abs(share - NAME_OBJECT_SHARE["style"]) < 0.04


@given(concepts, concepts, styles, backgrounds, seeds)
def test_another_thing_is_asked_for_by_its_name(concept, instead, style, background, seed) -> None:
    words = instruction("object", concept, style, background, Random(seed), instead=instead)
    assert any(name in words.lower() for name in (instead.name, *instead.synonyms))
    assert "style" not in words
    assert "background" not in words


@given(styles, backgrounds, seeds)
def test_a_phrase_is_said_as_it_is_with_its_style_and_background(style, background, seed) -> None:
    phrase = "zwei Katzen and a Ball"
    words = caption_of(phrase, style, background, Random(seed))
    assert words == caption_of(phrase, style, background, Random(seed))
    assert words.lower().count(phrase.lower()) == 1
    assert not any(f"{article} {phrase.lower()}" in words.lower() for article in ("a", "an"))
    if style != DEFAULT_STYLE:
        names = (STYLES[style].word.lower(), *OTHER_WORDS.get(style, ()))
        assert any(name in words.lower() for name in names)
    if background != DEFAULT_BACKGROUND:
        names = COLOUR_WORDS.get(background, (background,))
        assert any(name in words.lower() for name in names)
    assert "  " not in words
    assert not {"{", "}"} & set(words)


def test_defaults_of_a_phrase_are_named_about_as_often_as_promised() -> None:
    rng = Random(0)
    words = [caption_of("two cats", "3d", "white", rng).lower() for _ in range(2000)]
    assert 0.45 < sum("3d" in text for text in words) / 2000 < 0.55
    assert 0.28 < sum("white" in text for text in words) / 2000 < 0.39


@given(concepts, seeds)
def test_a_thing_is_called_by_its_name_or_by_a_synonym_that_is_usable(concept, seed) -> None:
    assert any_name(concept, Random(seed)) in (concept.name, *concept.synonyms)
    short = [word for word in concept.synonyms if " " not in word]
    found = any_name(concept, Random(seed), lambda word: " " not in word)
    assert found in (concept.name, *short)
    assert any_name(concept, Random(seed), lambda _: False) == concept.name


def test_synonyms_come_in_their_share_and_all_of_them() -> None:
    cat, rng = CONCEPT_OF["cat_face"], Random(0)
    found = [any_name(cat, rng) for _ in range(2000)]
    assert set(found) == {cat.name, *cat.synonyms}
    assert abs(found.count(cat.name) / 2000 - (1 - SYNONYM_SHARE)) < 0.04


def test_words_are_typed_mostly_as_they_are() -> None:
    rng, words = Random(0), "draw a T-rex in 3D"
    found = [as_typed(words, rng) for _ in range(4000)]
    kinds = {"Draw a T-rex in 3D": 0.12, "draw a t-rex in 3d": 0.08, words: 0.8}
    assert {text.removesuffix(".") for text in found} == set(kinds)
    for kind, share in kinds.items():
        count = sum(text.removesuffix(".") == kind for text in found)
        assert abs(count / 4000 - share) < 0.02
    assert abs(sum(text.endswith(".") for text in found) / 4000 - 0.08) < 0.02


def test_an_unknown_kind_of_edit_is_refused() -> None:
    with pytest.raises(ValueError, match="background"):
        instruction("shape", CONCEPTS[0], "flat", "blue", Random(0))  # type: ignore[arg-type]


def test_the_evaluation_prompt_is_fixed() -> None:
    prompt = evaluation_prompt(CONCEPT_OF["red_apple"], "flat", "blue")
    assert prompt == "a red apple, flat style, blue background"


@given(concepts, styles, backgrounds)
def test_what_a_phrase_says_is_judged_in_the_same_words(concept, style, background) -> None:
    said = evaluation_caption(with_article(concept.name), style, background)
    assert said == evaluation_prompt(concept, style, background)
    assert evaluation_caption("two cats", "flat", "blue") == "two cats, flat style, blue background"
