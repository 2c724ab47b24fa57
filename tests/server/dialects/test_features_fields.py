"""Fields: numbers in quotes, nothing turned in silence, everything wrong told at once."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from feature_calls import DATA, KEY, call, order, refusal
from hypothesis import given
from hypothesis import strategies as st

from linocut.errors import InvalidRequest
from linocut.request import MAX_SEED
from linocut.server.dialects.features import (
    PROMPT_FIELDS,
    TOP_FIELDS,
    Reference,
    parse,
)
from linocut.server.dialects.features_sources import PICTURES


@pytest.mark.parametrize(
    ("field", "sent", "read"),
    [
        ("num_inference_steps", 28.0, 28),
        ("num_inference_steps", "28", 28),
        ("num_inference_steps", "28.0", 28),
        ("num_inference_steps", 1, 1),
        ("num_inference_steps", 50, 50),
        ("guidance", "3.5", 3.5),
        ("guidance", 0, 0.0),
        ("guidance", 10, 10.0),
        ("seed", 0, 0),
        ("seed", "0", 0),
        ("seed", MAX_SEED, MAX_SEED),
        ("seed", str(MAX_SEED), MAX_SEED),
        ("seed", -1, 7),
        ("seed", "-1", 7),
        ("seed", -1.0, 7),
    ],
)
def test_numbers_may_be_quoted_and_whole_ones_may_have_a_point(
    field: str, sent: Any, read: Any
) -> None:
    found = order({field: sent})
    value = getattr(found.request, field)
    assert (value, type(value)) == (read, type(read))
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("sent", "read", "is_told"), [(0, 0, False), (100, 100, False), ("85", 85, False),
                                  (84.6, 85, True), ("84.4", 84, True)]
)  # fmt: skip
def test_quality_is_rounded_and_that_is_told(sent: Any, read: int, is_told: bool) -> None:
    found = order({"output_quality": sent})
    assert found.output_quality == read
    assert bool(found.warnings) is is_told


@pytest.mark.parametrize(
    ("field", "sent", "said"),
    [
        ("prompt", 5, "prompt=5: use a text"),
        ("prompt", None, "prompt is required"),
        ("prompt", " \n", "prompt is empty"),
        ("prompt", "x" * 20_001, "20,001 characters"),
        ("prompt", "a\0b", "U+0000 at character 2"),
        ("prompt", "\ud800", "U+D800 at character 1"),
        ("num_inference_steps", 80, "whole number from 1 to 50; the nearest is 50"),
        ("num_inference_steps", 0, "the nearest is 1"),
        ("num_inference_steps", 28.5, "whole number"),
        ("num_inference_steps", True, "num_inference_steps=true: use a whole number"),
        ("num_inference_steps", "twenty", "whole number"),
        ("num_inference_steps", "0x10", "whole number"),
        ("num_inference_steps", "1_0", "whole number"),
        ("num_inference_steps", " 28", "whole number"),
        ("num_inference_steps", "28\n", "whole number"),
        ("num_inference_steps", "١٢", "whole number"),
        ("num_inference_steps", [28], "num_inference_steps=[…]"),
        ("num_inference_steps", {}, "num_inference_steps={…}"),
        ("guidance", 10.5, "from 0 to 10; the nearest is 10"),
        ("guidance", -0.1, "the nearest is 0"),
        ("guidance", math.nan, "from 0 to 10"),
        ("guidance", math.inf, "from 0 to 10"),
        ("guidance", "Infinity", "from 0 to 10"),
        ("guidance", 10**5000, "about 5,000 digits"),
        ("guidance", False, "guidance=false"),
        ("prompt_strength", 1.01, "from 0 to 1; the nearest is 1"),
        ("seed", -2, "the nearest is 0"),
        ("seed", 2**53, f"the nearest is {MAX_SEED}"),
        ("seed", 1.5, "whole number"),
        ("seed", True, "seed=true"),
        ("output_quality", 101, "the nearest is 100"),
        ("output_quality", 100.4, "the nearest is 100"),
        ("output_format", "gif", "use one of webp, jpg, png"),
        ("output_format", "PNG", "did you mean png?"),
        ("output_format", 1, "use one of webp"),
        ("format", "tiff", "format="),
        ("aspect_ratio", "21:10", "did you mean 21:9?"),
        ("aspect_ratio", "1:10", "did you mean 9:21?"),
        ("aspect_ratio", "square", "use one of 1:1"),
        ("aspect_ratio", 1, "use one of 1:1"),
        ("aspect_ratio", "match_input_image", "no picture to match"),
        ("megapixels", "2", "use one of 0.25, 1; the nearest is 1"),
        ("megapixels", 0.3, "the nearest is 0.25"),
        ("megapixels", 10**400, "the nearest is 1"),
        ("megapixels", True, "use one of 0.25, 1"),
        ("megapixels", "one", "use one of 0.25, 1"),
        ("go_fast", 1, "use true or false, without quotes"),
        ("go_fast", "true", "use true or false, without quotes"),
        ("disable_safety_checker", "no", "use true or false"),
    ],
    ids=lambda value: ascii(value)[:30] if isinstance(value, str) else type(value).__name__,
)
def test_a_wrong_value_is_refused_with_what_is_allowed(field: str, sent: Any, said: str) -> None:
    error = refusal({field: sent})
    assert said in error.message
    assert len(error.message) < 400
    assert [pointer for pointer, _ in error.fields] == [f"#/promptObject/{field}"]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    wrong = {"prompt": 5, "seed": -5, "guidance": "x", "go_fast": 0, "megapixels": 9,
             "aspect_ratio": "x", "output_format": "x", "imageUrl": 1}  # fmt: skip
    error = refusal(wrong, **{"async": 1, "webhook": "nowhere"})
    pointers = {pointer for pointer, _ in error.fields}
    assert pointers == {f"#/promptObject/{name}" for name in wrong} | {"#/async", "#/webhook"}
    assert error.message.startswith("10 fields are wrong: ")


def test_unknown_fields_are_named_in_warnings_with_what_was_meant() -> None:
    sent = {"guidence": 3, "steps": 5, "n": 2, "width": 512, "xyzzy": 1, "negative_prompt": "x"}
    warnings = call(sent, conversationId="c", webhok="x", seed=3).warnings
    told = " | ".join(warnings)
    for said in (
        '"guidence" was ignored: did you mean guidance?',
        '"steps" was ignored: did you mean num_inference_steps?',
        '"n" was ignored: a request draws one picture',
        '"width" was ignored: it counts with',
        '"xyzzy" was ignored: it is not known here',
        '"negative_prompt" was ignored',
        '"conversationId" was ignored: it has no effect on pictures',
        '"webhok" was ignored: did you mean webhook?',
        '"seed" was ignored: it belongs into promptObject',
    ):
        assert said in told
    assert len(warnings) == 9


def test_a_thousand_unknown_fields_are_few_warnings() -> None:
    warnings = call({f"unknown{n}" * 20: n for n in range(1000)}).warnings
    assert len(warnings) == 17
    assert "984 more" in warnings[-1]
    assert max(map(len, warnings)) < 120


@pytest.mark.parametrize(("sent", "read"), [("jpg", "jpg"), ("jpeg", "jpg"), ("png", "png")])
@pytest.mark.parametrize("name", ["output_format", "format"])
def test_the_format_has_two_names_and_jpg_too(name: str, sent: str, read: str) -> None:
    assert order({name: sent}).output_format == read


def test_two_names_for_one_thing_must_agree() -> None:
    assert order({"output_format": "png", "format": "png"}).output_format == "png"
    assert "says something else" in refusal({"output_format": "png", "format": "jpg"}).message


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**4000)
    | st.floats()
    | st.text(max_size=20)
    | st.text(st.characters(categories=["Cs"]), min_size=1, max_size=2)
    | st.sampled_from(["1:1", "custom", "match_input_image", "0.25", "png", "-1", DATA, KEY, ""]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip


NAMES = st.sampled_from([*PROMPT_FIELDS, *PICTURES, "format", "width", "height", "mask"]) | st.text(
    max_size=9
)


@given(
    st.sampled_from(["IMAGE_GENERATOR", "IMAGE_EDITOR"]),
    st.dictionaries(NAMES, VALUES, max_size=5),
    st.dictionaries(st.sampled_from(TOP_FIELDS[3:]) | st.text(max_size=9), VALUES, max_size=2),
)
def test_any_value_in_any_field_is_an_order_or_a_refusal(
    kind: str, prompt: dict[str, Any], top: dict[str, Any]
) -> None:
    try:
        found = call(prompt, **{**top, "kind": kind})
        drawn = found.order([Reference("k", 640, 480) for _ in found.sources], seed=1)
    except InvalidRequest as error:
        error.message.encode()
        return
    assert drawn.warnings == found.warnings or drawn.check_safety
    json.dumps(drawn.warnings, ensure_ascii=False).encode()


@given(VALUES, VALUES, VALUES)
def test_parsing_is_total(kind: Any, model: Any, prompt: Any) -> None:
    with pytest.raises(InvalidRequest):
        parse({"type": kind, "model": model, "promptObject": prompt})
