"""Reference pictures: every name and form, in order, none twice, none dropped in silence."""

from __future__ import annotations

from typing import Any

import pytest
from feature_calls import DATA, KEY, call, order, refusal

from linocut.errors import InvalidPicture
from linocut.server.dialects.features_sources import NOT_TAKEN, PICTURES


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (KEY, "asset"),
        ("development/images/2025_12_04_18_10_29_882_cat.png", "asset"),
        ("https://example.org/a.png?x=1", "url"),
        ("HTTP://example.org/a", "url"),
        (DATA, "data"),
        ("DATA:IMAGE/JPEG;BASE64,AAAA", "data"),
    ],
)
def test_a_picture_is_a_key_an_address_or_its_data(text: str, kind: str) -> None:
    found = call({"imageUrl": text}).sources
    assert [(each.kind, each.text) for each in found] == [(kind, text)]


@pytest.mark.parametrize(
    "text",
    ["", "../../etc/passwd", "/etc/passwd", "a b", "file:///etc/passwd", "ftp://x/y",
     "data:image/png,abc", "data:;base64,AA==", "data:image/gif;base64,AA==",
     "https://", "https://a b", "a\0b", "\ud800", "https://x/" + "y" * 9000,
     7, True, {}, ["images/a.png"]],
)  # fmt: skip
def test_what_is_no_picture_is_refused(text: Any) -> None:
    error = refusal({"imageUrl": text})
    assert [pointer for pointer, _ in error.fields] == ["#/promptObject/imageUrl"]
    assert len(error.message) < 200


def test_every_name_for_pictures_is_read_in_order_and_none_twice() -> None:
    sent = {
        "input_image_3": "i",
        "input_image_2": "h",
        "referenceImage2": "g",
        "referenceImage1": "f",
        "input_images": ["e"],
        "additional_images": ["d", "a", "b"],
        "imageUrl": "a",
        "image_prompt": "b",
        "input_image": "c",
    }
    found = call(sent)
    assert "".join(source.text for source in found.sources) == "abcdefghi"
    assert found.sources[3].pointer == "#/promptObject/additional_images/0"
    assert found.warnings == ("a picture that is named twice is used once",)
    assert len(order(sent).reference_keys) == 9


def test_more_pictures_than_ten_are_refused() -> None:
    keys = [f"k{n}" for n in range(11)]
    assert len(call({"additional_images": keys[:10]}).sources) == 10
    assert "11 pictures in all; at most 10" in refusal({"additional_images": keys}).message


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_a_picture_is_never_dropped_in_silence(name: str) -> None:
    assert name in refusal({name: KEY}).message
    assert name in refusal(**{name: KEY}).message


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_in_the_wrong_place_is_refused(name: str) -> None:
    assert "promptObject.imageUrl" in refusal(**{name: KEY}).message


def test_lists_of_pictures_are_lists_of_texts() -> None:
    assert "use a list" in refusal({"additional_images": KEY}).message
    error = refusal({"additional_images": [KEY, None, 3]})
    assert [pointer[-1] for pointer, _ in error.fields] == ["1", "2"]
    assert "is required" in refusal({"imageList": []}, kind="IMAGE_EDITOR").message


def test_data_is_decoded_or_refused_by_its_field() -> None:
    source = call({"imageUrl": DATA}).sources[0]
    assert source.decoded().startswith(b"\x89PNG")
    for wrong in (DATA + "A", "data:image/png;base64,é", "data:image/png;base64,A A="):
        source = call({"imageUrl": wrong}).sources[0]
        with pytest.raises(InvalidPicture) as caught:
            source.decoded()
        assert caught.value.field == "#/promptObject/imageUrl"
