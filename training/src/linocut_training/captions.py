"""Words for the pictures: captions, instructions for edits, and the prompts of the evaluation.

Two promises hold for every caption: without a style the picture is `DEFAULT_STYLE`, without a
background it is `DEFAULT_BACKGROUND`. Each function is pure: the same `rng` state, the same words.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from random import Random
from typing import Final, Literal

from .concepts import DEFAULT_BACKGROUND, DEFAULT_STYLE, STYLES, Concept, Style

EditKind = Literal["background", "style", "object"]

SYNONYM_SHARE: Final = 0.4
NAME_DEFAULT_STYLE_SHARE: Final = 0.5
NAME_DEFAULT_BACKGROUND_SHARE: Final = 1 / 3
# Of the instructions: whoever restyles a picture mostly does not say what it shows, and to see it
# is the harder half of the work.
NAME_OBJECT_SHARE: Final[dict[EditKind, float]] = {
    "background": 0.5,
    "style": 0.25,
    "object": 0.5,
}
CAPITAL_SHARE: Final = 0.12
LOWER_SHARE: Final = 0.08
FULL_STOP_SHARE: Final = 0.08

SILENT_H: Final = ("hour",)
VOWELS: Final = tuple("aeiou")
# Words that the rule of vowels gets wrong: plurals and the uncountable have no article ("-").
ARTICLES: Final = dict(
    line.split("\t")
    for line in resources.files(__package__)
    .joinpath("articles.tsv")
    .read_text(encoding="utf-8")
    .splitlines()[1:]
)

# {x} is the caption so far, {c} the colour, {a_c} the colour with its article.
PLAIN_PATTERNS: Final = (
    *("{a}",) * 4,
    *("{n}",) * 2,
    "a picture of {a}",
    "an image of {a}",
    "an icon of {a}",
    "draw {a}",
)
BACKGROUND_PATTERNS: Final = (
    *("{x}, {c} background",) * 3,
    *("{x} on {a_c} background",) * 3,
    "{x} on {c}",
    "{x} with {a_c} background",
    "{x} against {a_c} background",
    "{c} background, {x}",
)
COLOUR_WORDS: Final = {
    "gray": ("gray", "grey"),
    "light blue": ("light blue", "pale blue"),
    "light green": ("light green", "pale green"),
}

# {it} is "it" or the thing, {of} empty or "of the thing", {same} "the same" or with the thing.
BACKGROUND_EDITS: Final[tuple[str, ...]] = (
    "make the background{of} {c}",
    "change the background{of} to {c}",
    "set the background{of} to {c}",
    "put {it} on {a_c} background",
    "{same} on {a_c} background",
)
SHORT_BACKGROUND_EDITS: Final[tuple[str, ...]] = ("{c} background", "on {a_c} background")
# Without its colour a background is what it is where none is asked for.
BACKGROUND_REMOVALS: Final[tuple[str, ...]] = (
    "remove the background{of}",
    "remove the background color{of}",
    "remove the background colour{of}",
    "take the background away",
    "no background",
)
REMOVE_SHARE: Final = 0.5  # of the edits to that background
STYLE_EDITS: Final[tuple[str, ...]] = (
    "turn {it} into {noun}",
    "make {it} {noun}",
    "make {it} {word}",
    "{same} in {word} style",
    "{same} as {noun}",
    "draw {it} in {word} style",
    "change the style{of} to {word}",
)
SHORT_STYLE_EDITS: Final[tuple[str, ...]] = ("{word} style", "as {noun}")
OBJECT_EDITS: Final[tuple[str, ...]] = (
    "turn {it} into {a}",
    "replace {it} with {a}",
    "change {it} to {a}",
    "make {it} {a}",
)
SHORT_OBJECT_EDITS: Final[tuple[str, ...]] = ("{a} instead", "{a}")


def caption(concept: Concept, style: str, background: str, rng: Random) -> str:
    """One way to ask for this picture, in plain English.

    `background` is a name in BACKGROUNDS or a `gradient_name`.
    """
    noun = any_name(concept, rng)
    return _on(background, _fill(rng.choice(_patterns(style, rng)), noun), rng)


def caption_of(phrase: str, style: str, background: str, rng: Random) -> str:
    """One way to ask for a picture of what a phrase says, its articles in it already."""
    patterns = [it for it in _patterns(style, rng) if "{n}" not in it]
    return _on(background, rng.choice(patterns).format(a=phrase), rng)


def _patterns(style: str, rng: Random) -> tuple[str, ...]:
    named = style != DEFAULT_STYLE or rng.random() < NAME_DEFAULT_STYLE_SHARE
    return STYLES[style].patterns if named else PLAIN_PATTERNS


def _on(background: str, words: str, rng: Random) -> str:
    if background != DEFAULT_BACKGROUND or rng.random() < NAME_DEFAULT_BACKGROUND_SHARE:
        colour = _colour(background, rng)
        words = rng.choice(BACKGROUND_PATTERNS).format(x=words, c=colour, a_c=with_article(colour))
    return as_typed(words, rng)


def instruction(
    kind: EditKind, concept: Concept, style: str, background: str, rng: Random, *,
    instead: Concept | None = None,
) -> str:  # fmt: skip
    """One way to ask for this change of a reference picture of `concept`.

    `style`, `background` and `instead`, another thing, are those wanted; only the one that `kind`
    names is spoken of.
    """
    if kind not in NAME_OBJECT_SHARE:
        raise ValueError(f"kind={kind!r}: use {', '.join(NAME_OBJECT_SHARE)}")
    named = rng.random() < NAME_OBJECT_SHARE[kind]
    noun = any_name(concept, rng)
    thing = {
        "it": f"the {noun}" if named else "it",
        "of": f" of the {noun}" if named else "",
        "same": f"the same {noun}" if named else "the same",
    }
    if kind == "background":
        colour = _colour(background, rng)
        patterns = BACKGROUND_EDITS if named else BACKGROUND_EDITS + SHORT_BACKGROUND_EDITS
        if background == DEFAULT_BACKGROUND and rng.random() < REMOVE_SHARE:
            patterns = BACKGROUND_REMOVALS
        words = rng.choice(patterns).format(c=colour, a_c=with_article(colour), **thing)
    elif kind == "style":
        wanted: Style = STYLES[style]
        patterns = STYLE_EDITS if named else STYLE_EDITS + SHORT_STYLE_EDITS
        words = rng.choice(patterns).format(word=wanted.word, noun=wanted.noun, **thing)
    else:
        assert instead is not None
        patterns = OBJECT_EDITS if named else OBJECT_EDITS + SHORT_OBJECT_EDITS
        words = rng.choice(patterns).format(a=with_article(any_name(instead, rng)), **thing)
    return as_typed(words, rng)


def evaluation_prompt(concept: Concept, style: str, background: str) -> str:
    """The fixed prompt by which the trained model is judged: everything is named."""
    return evaluation_caption(with_article(concept.name), style, background)


def evaluation_caption(phrase: str, style: str, background: str) -> str:
    """The same for what a phrase says."""
    return f"{phrase}, {STYLES[style].word} style, {background} background"


def evaluation_instruction(kind: EditKind, style: str, background: str) -> str:
    """The fixed instruction by which edits are judged."""
    if kind == "background":
        return f"make the background {background}"
    return f"turn it into {STYLES[style].noun}"


def gradient_name(top: str, bottom: str) -> str:
    """What captions call a background that runs from one named colour to another."""
    return f"{top} to {bottom} gradient"


def ends(background: str) -> tuple[str, str]:
    """The colours at the top and the bottom of a background: twice the same where it is plain."""
    top, _, bottom = background.removesuffix(" gradient").partition(" to ")
    return top, bottom or top


def with_article(noun: str) -> str:
    """The noun with "a", "an", "the" or, for plurals, nothing before it."""
    return f"{_article(noun)} {noun}".strip()


def _article(noun: str) -> str:
    if noun in ARTICLES:
        return ARTICLES[noun].replace("-", "")
    return "an" if noun.lower().startswith(VOWELS + SILENT_H) else "a"


def _fill(pattern: str, noun: str) -> str:
    # Every adjective in the patterns begins with a consonant.
    article = _article(noun).replace("an", "a")
    return pattern.format(a=with_article(noun), n=noun, article=article).strip()


def any_name(concept: Concept, rng: Random, is_usable: Callable[[str], bool] = bool) -> str:
    """The thing's name, or one of its synonyms; of these only such as are usable."""
    synonyms = [word for word in concept.synonyms if is_usable(word)]
    if synonyms and rng.random() < SYNONYM_SHARE:
        return rng.choice(synonyms)
    return concept.name


def _colour(background: str, rng: Random) -> str:
    return rng.choice(COLOUR_WORDS.get(background, (background,)))


def as_typed(words: str, rng: Random) -> str:
    """The words as people type them: mostly as they are, some capitalised, some all lower."""
    draw = rng.random()
    if draw < CAPITAL_SHARE:
        words = words[0].upper() + words[1:]
    elif draw < CAPITAL_SHARE + LOWER_SHARE:
        words = words.lower()
    return words + "." if rng.random() < FULL_STOP_SHARE else words
