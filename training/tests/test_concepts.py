"""The table of concepts says what it means, once."""

from itertools import combinations

from linocut_training.concepts import (
    BACKGROUNDS,
    CONCEPT_OF,
    CONCEPTS,
    DEFAULT_BACKGROUND,
    DEFAULT_STYLE,
    GROUPS,
    STYLES,
)


def test_keys_and_code_points_are_unique() -> None:
    assert len(CONCEPT_OF) == len(CONCEPTS)
    assert len({concept.codepoint for concept in CONCEPTS}) == len(CONCEPTS)


def test_no_word_means_two_things() -> None:
    words = [word for concept in CONCEPTS for word in (concept.name, *concept.synonyms)]
    assert sorted(words) == sorted(set(words))


def test_keys_are_fit_for_file_names() -> None:
    assert all(key.replace("_", "").isalnum() and key.islower() for key in CONCEPT_OF)


def test_every_group_has_its_share() -> None:
    sizes = {group: sum(concept.group == group for concept in CONCEPTS) for group in GROUPS}
    assert min(sizes.values()) >= 8
    assert len(GROUPS) == 7


def test_the_defaults_exist() -> None:
    assert DEFAULT_STYLE in STYLES
    assert DEFAULT_BACKGROUND in BACKGROUNDS


def test_backgrounds_can_be_told_apart() -> None:
    for (_, one), (_, other) in combinations(BACKGROUNDS.items(), 2):
        assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 > 45
