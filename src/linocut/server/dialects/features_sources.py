"""The reference pictures that a call names: where each comes from, in order, none twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from linocut.errors import InvalidPicture, NotFound
from linocut.images.fetch import MAX_URL, parse_data_uri
from linocut.images.keys import parts_of
from linocut.request import MAX_REFERENCES, MOST_SENT
from linocut.server.dialects.features_fields import Form, shown

Kind = Literal["asset", "url", "data"]

FIRST: Final = ("imageUrl", "image_prompt", "input_image")
LISTS: Final = ("imageUrls", "imageList", "additional_images", "input_images")
NUMBERED: Final = tuple(f"referenceImage{n}" for n in range(1, MAX_REFERENCES + 1)) + tuple(
    f"input_image_{n}" for n in range(2, MAX_REFERENCES + 1)
)
PICTURES: Final = (*FIRST, *LISTS, *NUMBERED)
# Names under which other services take pictures or masks. A warning would not do for them: the
# caller believes that the picture is seen.
NOT_TAKEN: Final = {
    **dict.fromkeys(
        (
            "image", "images", "image_url", "image_urls", "imageURL", "init_image", "attachments",
            "reference_image", "reference_images", "referenceImage", "referenceImages",
            "sourceImageList", "targetImageList", "control_image",
        ),
        "is not read here: send the picture as imageUrl, further ones as additional_images",
    ),
    **dict.fromkeys(
        ("mask", "maskUrl", "mask_url", "mask_image", "maskList"),
        "is not read here: this model draws without masks; say in the prompt what stays as it is",
    ),
}  # fmt: skip
URL: Final = re.compile(r"https?://[^\s\x00-\x1f\x7f]+", re.IGNORECASE)
_DATA: Final = re.compile(r"data:image/(?:png|jpe?g|webp);base64,", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a reference picture comes from: the key of an asset, a URL, or a data URI.

    pointer: the JSON pointer of its field, for errors about it.
    """

    kind: Kind
    text: str
    pointer: str

    def decoded(self, max_bytes: int = MOST_SENT) -> bytes:
        """The bytes of a data URI; InvalidPicture if they are no base64, or too many."""
        try:
            return parse_data_uri(self.text, max_bytes)
        except InvalidPicture as error:
            raise InvalidPicture(error.message, field=self.pointer, hint=error.hint) from error


def sources_in(form: Form) -> tuple[Source, ...]:
    """Every picture in the form; what cannot be one is noted there."""
    for name, reason in NOT_TAKEN.items():
        if form.take(name) is not None:
            form.refuse(name, reason)
    sent = [source for name, value in _sent(form) if (source := _source(form, name, value))]
    found: dict[str, Source] = {}
    for source in sent:
        found.setdefault(source.text, source)
    if len(found) < len(sent):
        form.warnings.append("a picture that is named twice is used once")
    if len(found) > MAX_REFERENCES:
        form.refuse(
            LISTS[2], f"makes {len(found)} pictures in all; at most {MAX_REFERENCES} are read"
        )
    return tuple(found.values())


def _sent(form: Form) -> Iterator[tuple[str, Any]]:
    """(name within the form, value) in their order."""
    for name in FIRST:
        if (value := form.take(name)) is not None:
            yield name, value
    for name in LISTS:
        value = form.take(name)
        if isinstance(value, list):
            yield from ((f"{name}/{number}", each) for number, each in enumerate(value))
        elif value is not None:
            form.refuse(name, f"={shown(value)}: use a list of pictures")
    for name in NUMBERED:
        if (value := form.take(name)) is not None:
            yield name, value


def _source(form: Form, name: str, value: Any) -> Source | None:
    """The picture that a text names, or None and a note of what is wrong with it."""
    if not isinstance(value, str):
        form.refuse(name, f"={shown(value)}: use an asset's key, a URL or a data URI")
        return None
    kind = _kind(value)
    if kind is None:
        form.refuse(name, f"={shown(value)}: {_advice(value)}")
        return None
    return Source(kind=kind, text=value, pointer=f"{form.at}/{name}")


def _kind(text: str) -> Kind | None:
    if _DATA.match(text):
        return "data"
    if URL.fullmatch(text):
        return "url" if len(text) <= MAX_URL else None
    try:
        parts_of(text)
    except NotFound:
        return None
    return "asset"


def _advice(text: str) -> str:
    if text[:5].lower() == "data:":
        return "begin a data URI with data:image/png;base64, or the same with jpeg or webp"
    if len(text) > MAX_URL:
        return f"a URL of {len(text):,} characters; at most {MAX_URL:,} are read"
    if "://" in text:
        return "use an address that begins with https:// or http:// and holds no blanks"
    return "use an asset's key (fileContent.path of POST /api/assets), a URL or a data URI"
