"""The contract's request: what is read, what it means, and what is refused all at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from feature_calls import DATA, KEY, call, order, refusal
from hypothesis import given
from hypothesis import strategies as st

from linocut.errors import InvalidPicture, InvalidRequest, UnsupportedModel
from linocut.jobs.record import Order
from linocut.request import MAX_SEED, ImageRequest
from linocut.server.dialects.features import (
    MODEL,
    PROMPT_FIELDS,
    Reference,
    echoed,
    parse,
)

EXAMPLES = Path(__file__).parents[1] / "routes" / "contract_examples"
# The reference's own table: FLUX.1's public sizes, and their halves.
TABLE = {
    "1:1": ((1024, 1024), (512, 512)),
    "16:9": ((1344, 768), (672, 384)),
    "9:16": ((768, 1344), (384, 672)),
    "3:2": ((1216, 832), (608, 416)),
    "2:3": ((832, 1216), (416, 608)),
    "4:5": ((896, 1088), (448, 544)),
    "5:4": ((1088, 896), (544, 448)),
    "4:3": ((1152, 896), (576, 448)),
    "3:4": ((896, 1152), (448, 576)),
    "21:9": ((1536, 640), (768, 320)),
    "9:21": ((640, 1536), (320, 768)),
}
CONTRACT = {
    "prompt": "A cozy coffee shop interior in the morning, warm light, steam rising from a cup",
    "aspect_ratio": "4:5",
    "num_inference_steps": 28,
    "guidance": 3.5,
    "megapixels": "1",
    "output_format": "webp",
    "output_quality": 85,
}


def test_the_contracts_example_is_the_documented_order() -> None:
    found = call(CONTRACT)
    assert found.order((), seed=5) == Order(
        request=ImageRequest(
            prompt=CONTRACT["prompt"], width=896, height=1088, guidance=3.5, seed=5
        ),
        output_quality=85,
    )
    assert (found.model, found.is_async, found.warnings) == (MODEL, False, ())
    assert found.body["promptObject"] == CONTRACT


def test_defaults_are_the_contracts() -> None:
    assert order() == Order(request=ImageRequest(prompt="a red apple", seed=7))
    request = order().request
    assert (request.num_inference_steps, request.guidance) == (28, 3.0)
    assert (order().output_format, order().output_quality, order().go_fast) == ("webp", 80, False)


@pytest.mark.parametrize("name", [*PROMPT_FIELDS[1:], "format", "image_prompt", "width"])
def test_null_is_absent(name: str) -> None:
    assert order({name: None}) == order()


@pytest.mark.parametrize("aspect", TABLE)
@pytest.mark.parametrize(
    ("megapixels", "column"),
    [("1", 0), (1, 0), (1.0, 0), ("1.0", 0), ("0.25", 1), (0.25, 1), ("0.250", 1)],
)
def test_sizes_are_the_references_table(aspect: str, megapixels: Any, column: int) -> None:
    request = order({"aspect_ratio": aspect, "megapixels": megapixels}).request
    assert (request.width, request.height) == TABLE[aspect][column]


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, {"#/type", "#/model", "#/promptObject"}),
        ({"type": None, "model": 1, "promptObject": None}, {"#/type", "#/model", "#/promptObject"}),
        ({"type": "IMAGE_EDITOR", "model": MODEL, "promptObject": {}},
         {"#/promptObject/prompt", "#/promptObject/imageUrl"}),
        ({"type": "IMAGE_EDITOR", "model": MODEL, "promptObject": []}, {"#/promptObject"}),
    ],
)  # fmt: skip
def test_what_is_required_is_named(body: dict[str, Any], pointers: set[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(body)
    assert {pointer for pointer, _ in caught.value.fields} >= pointers


@pytest.mark.parametrize(
    "name",
    [MODEL, "flux-2-dev", "black-forest-labs/FLUX.2-dev", "FLUX.2-dev", "linocut-mini"],
)
def test_the_model_goes_by_several_names_and_is_repeated_as_sent(name: str) -> None:
    assert call(model=name).model == name


@pytest.mark.parametrize(
    ("top", "said"),
    [
        ({"model": "flux-2-pro"}, "Model flux-2-pro is not supported for feature IMAGE_GENERATOR"),
        ({"model": ""}, "Model  is not supported"),
        ({"kind": "IMAGE_UPSCALER"}, "Unsupported feature type: IMAGE_UPSCALER"),
        ({"kind": "image_generator"}, "Unsupported feature type: image_generator"),
    ],
)
def test_what_is_not_served_is_said_in_the_hosted_words(top: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        call(**top)
    assert said in caught.value.message
    assert caught.value.field in {"#/model", "#/type"}
    assert caught.value.hint


def test_what_has_no_effect_is_told() -> None:
    assert call({"prompt_strength": 0.5}).warnings == (
        "prompt_strength has no effect without a reference picture",
    )
    assert "no effect on png" in call({"output_format": "png", "output_quality": 9}).warnings[0]
    assert "without webhook" in call(webhook_events_filter=["failed"]).warnings[0]
    assert order({"prompt_strength": 0.5}).request.prompt_strength == 1.0


def test_a_custom_size_is_an_extension_of_ours() -> None:
    request = order({"aspect_ratio": "custom", "width": 640, "height": "336"}).request
    assert (request.width, request.height) == (640, 336)
    error = refusal({"aspect_ratio": "custom", "width": 100})
    assert "height is required" in error.message
    error = refusal({"aspect_ratio": "custom", "width": 100, "height": 64})
    assert "width=100: use a multiple of 16" in error.message
    assert "the nearest is 96" in error.message
    error = refusal({"aspect_ratio": "custom", "width": 5000, "height": 64})
    assert "the nearest is 2048" in error.message


def test_the_editor_keeps_the_pictures_shape() -> None:
    editing = order({"imageUrl": KEY}, kind="IMAGE_EDITOR")
    assert (editing.request.width, editing.request.height) == (1216, 848)
    assert (editing.request.prompt_strength, editing.reference_keys) == (0.8, ("k0",))
    small = order({"imageUrl": KEY, "megapixels": "0.25"}, kind="IMAGE_EDITOR").request
    assert (small.width, small.height) == (608, 416)
    square = order({"imageUrl": KEY, "aspect_ratio": "1:1"}, kind="IMAGE_EDITOR").request
    assert (square.width, square.height) == (1024, 1024)


def test_the_generator_honours_a_picture_too() -> None:
    drawn = order({"imageUrl": KEY})
    assert (drawn.request.width, drawn.request.height) == (1024, 1024)
    assert (drawn.request.prompt_strength, drawn.reference_keys) == (0.8, ("k0",))
    matched = order({"imageUrl": KEY, "aspect_ratio": "match_input_image"}).request
    assert (matched.width, matched.height) == (1216, 848)


@pytest.mark.parametrize(("width", "height"), [(63, 300), (300, 63), (900, 100)])
def test_a_reference_of_a_wrong_shape_is_refused_by_its_field(width: int, height: int) -> None:
    found = call({"imageUrl": "a", "additional_images": ["b"]})
    with pytest.raises(InvalidPicture) as caught:
        found.order([Reference("a", 100, 100), Reference("b", width, height)], seed=1)
    assert caught.value.field == "#/promptObject/additional_images/0"
    assert "reference 2" in caught.value.message


def test_the_safety_check_is_left_out_only_where_that_is_allowed() -> None:
    wish = call({"disable_safety_checker": True})
    allowed = wish.order((), seed=1, may_disable_safety=True)
    assert (allowed.check_safety, allowed.warnings) == (False, ())
    refused = wish.order((), seed=1)
    assert refused.check_safety
    assert "disable_safety_checker was not followed" in refused.warnings[-1]
    assert call().order((), seed=1, may_disable_safety=True).check_safety


def test_flags_webhooks_and_previews_are_read() -> None:
    found = call({"go_fast": True}, **{"async": True}, preview=False, webhook="https://x/y")
    assert (found.is_async, found.wants_previews, found.go_fast) == (True, False, True)
    assert (found.webhook, found.webhook_events) == (
        "https://x/y", ("completed", "failed", "canceled"),
    )  # fmt: skip
    assert (call().wants_previews, call().webhook, call().webhook_events) == (None, "", ())
    some = call(webhook="https://x", webhook_events_filter=["canceled", "completed"])
    assert some.webhook_events == ("completed", "canceled")


@pytest.mark.parametrize("events", [[], ["started"], "failed", [1], [[]], {}])
def test_other_webhook_events_are_refused(events: Any) -> None:
    error = refusal(webhook="https://x", webhook_events_filter=events)
    assert "completed, failed, canceled" in error.message


def test_what_is_kept_is_what_was_sent_but_for_pictures_in_it() -> None:
    long = DATA + "A" * 10_000
    sent = {"imageUrl": long, "additional_images": [DATA, long], "extra": {"a": [1, None]}}
    kept = call(sent).body["promptObject"]
    assert kept["imageUrl"].startswith("data:image/png;base64,iVBOR")
    assert len(kept["imageUrl"]) < 100
    assert kept["additional_images"][0] == DATA
    assert kept["extra"] == {"a": [1, None]}
    assert echoed(CONTRACT) == CONTRACT


@given(
    st.fixed_dictionaries(
        {
            "num_inference_steps": st.integers(1, 50),
            "guidance": st.floats(0, 10),
            "output_quality": st.integers(0, 100),
            "seed": st.integers(0, MAX_SEED),
            "aspect_ratio": st.sampled_from(sorted(TABLE)),
            "output_format": st.sampled_from(["webp", "jpg", "png"]),
            "go_fast": st.booleans(),
        }
    )
)
def test_a_valid_request_is_drawn_as_it_says(sent: dict[str, Any]) -> None:
    found = order(sent)
    width, height = TABLE[sent["aspect_ratio"]][0]
    assert found.request == ImageRequest(
        prompt="a red apple",
        width=width,
        height=height,
        num_inference_steps=sent["num_inference_steps"],
        guidance=sent["guidance"],
        seed=sent["seed"],
    )
    assert found.output_format == sent["output_format"]
    assert found.output_quality == sent["output_quality"]
    assert found.go_fast is sent["go_fast"]


@pytest.mark.parametrize("name", ["curl.txt", "playground_curl.txt"])
def test_the_bodies_that_the_contract_prints_are_read(name: str) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    body = json.loads(text[text.index("'{") + 1 : text.rindex("}") + 1])
    assert call(body["promptObject"]).order((), seed=1).request.width == 896
    assert parse(body).feature == "IMAGE_GENERATOR"


@pytest.mark.parametrize("name", ["javascript.txt", "python.txt"])
def test_the_objects_that_the_contracts_programs_send_are_this_one(name: str) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    for field, value in CONTRACT.items():
        assert field in text
        assert str(value) in text
