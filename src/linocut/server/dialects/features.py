"""The contract's `POST /api/features`: from the wire to a call, from a call to an order.

Everything that is wrong with a request is told at once; what is ignored or done differently is
told in the answer's `warnings`. Nothing here reads a file, an address or a clock.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

from linocut.errors import InvalidPicture, InvalidRequest, UnsupportedModel
from linocut.jobs.record import ENDINGS, Order
from linocut.request import (
    MATCH,
    MAX_GUIDANCE,
    MAX_SEED,
    MAX_SIDE,
    MAX_STEPS,
    MIN_SIDE,
    ImageRequest,
    Picture,
    check_reference,
    matched_size,
)
from linocut.server.body import JsonObject
from linocut.server.dialects.features_fields import Form, number_of, shown
from linocut.server.dialects.features_sources import NOT_TAKEN, PICTURES, URL, Source, sources_in
from linocut.sizes import ASPECT_RATIOS, size_of

__all__ = ["FeatureCall", "Reference", "Source", "parse"]

GENERATOR: Final = "IMAGE_GENERATOR"
EDITOR: Final = "IMAGE_EDITOR"
FEATURES: Final = (GENERATOR, EDITOR)
MODEL: Final = "black-forest-labs/flux-2-dev"
MODELS: Final = (MODEL, "flux-2-dev", "linocut-mini")
CUSTOM: Final = "custom"
FORMATS: Final = {"webp": "webp", "jpg": "jpg", "png": "png", "jpeg": "jpg"}
MEGAPIXELS: Final = {"0.25": 0.25, "1": 1.0}
ENDED: Final = tuple(ENDINGS.values())
DEFAULT_STRENGTH: Final = 0.8
MAX_WEBHOOK: Final = 2048
MAX_ECHOED: Final = 256
MAX_TOLD: Final = 8
QUOTE: Final = '"'
TOP_FIELDS: Final = (
    "type", "model", "promptObject", "async", "preview", "webhook", "webhook_events_filter",
)  # fmt: skip
PROMPT_FIELDS: Final = (
    "prompt", "imageUrl", "additional_images", "aspect_ratio", "output_format", "output_quality",
    "num_inference_steps", "guidance", "prompt_strength", "go_fast", "megapixels",
    "disable_safety_checker", "seed",
)  # fmt: skip

_RATIO: Final = re.compile(r"([1-9][0-9]{0,3}):([1-9][0-9]{0,3})", re.ASCII)
_REASONS: Final = {
    "steps": "did you mean num_inference_steps?",
    "guidance_scale": "did you mean guidance?",
    "cfg_scale": "did you mean guidance?",
    "strength": "did you mean prompt_strength?",
    "quality": "did you mean output_quality?",
    "size": "did you mean aspect_ratio and megapixels?",
    "width": 'it counts with "aspect_ratio": "custom"',
    "height": 'it counts with "aspect_ratio": "custom"',
    "negative_prompt": "this model has none; say in the prompt what you want instead",
    **dict.fromkeys(("n", "num_outputs", "num_images", "samples"), "a request draws one picture"),
}
_TOP_REASONS: Final = {
    **dict.fromkeys(PROMPT_FIELDS, "it belongs into promptObject"),
    **dict.fromkeys(("conversationId", "metadata", "brandVoiceId"), "it has no effect on pictures"),
}


class Reference(NamedTuple):
    """A source that was fetched, checked and stored."""

    key: str
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureCall:
    """A request as it was meant; what only the edge can decide is left to `order`.

    body: what is stored and echoed; only data URIs are shortened in it.   sources: the references.
    wants_previews: None if nothing was said.   draft: the request but for size, seed and strength.
    size: None to match the first reference, at `pixels`.   seed: None to draw one.
    """

    feature: str
    model: str
    body: JsonObject
    sources: tuple[Source, ...]
    is_async: bool
    wants_previews: bool | None
    wants_no_safety: bool
    webhook: str
    webhook_events: tuple[str, ...]
    warnings: tuple[str, ...]
    draft: ImageRequest
    size: tuple[int, int] | None
    pixels: int
    strength: float
    seed: int | None
    go_fast: bool
    output_format: str
    output_quality: int

    def order(
        self, references: Sequence[Reference], *, seed: int, may_disable_safety: bool = False
    ) -> Order:
        """What is to be drawn; InvalidPicture for a reference that is too small or a strip.

        references: one for each of `sources`, in their order.   seed: taken if none was sent.
        """
        for number, (source, reference) in enumerate(zip(self.sources, references, strict=True), 1):
            _check_shape(source, reference, number)
        width, height = self.size or _size_like(references[0], self.pixels)
        refused = self.wants_no_safety and not may_disable_safety
        return Order(
            request=replace(
                self.draft,
                width=width,
                height=height,
                seed=seed if self.seed is None else self.seed,
                prompt_strength=self.strength if references else 1.0,
            ),
            reference_keys=tuple(reference.key for reference in references),
            go_fast=self.go_fast,
            output_format=self.output_format,
            output_quality=self.output_quality,
            check_safety=refused or not self.wants_no_safety,
            warnings=(*self.warnings, *((_STILL_CHECKED,) if refused else ())),
        )


STREAMS: Final = "isStreaming"
QUERY_FIELDS: Final = (STREAMS,)
# As the route reads it: whatever else it says there is a no, or was refused.
_YES: Final = frozenset({"1", "on", "t", "true", "y", "yes"})
_QUERY_REASONS: Final = dict.fromkeys(
    (*TOP_FIELDS, *PROMPT_FIELDS), "it stands in the address and belongs in the body"
)
_STILL_CHECKED: Final = (
    "disable_safety_checker was not followed: this key may not turn the safety check off"
)


def _size_like(reference: Reference, pixels: int) -> tuple[int, int]:
    return matched_size(reference.width, reference.height, pixels)


def parse(body: JsonObject, query: Mapping[str, str] = MappingProxyType({})) -> FeatureCall:
    """The call; InvalidRequest with everything that is wrong at once, or UnsupportedModel.

    query: of the address; what it says beside QUERY_FIELDS is ignored, and named.
    """
    top = Form(body)
    feature, model = top.text("type"), top.text("model")
    _check_served(feature, model)
    prompt = top.inner("promptObject")
    sources = sources_in(prompt)
    _no_pictures_outside(top)
    values: dict[str, Any] = {
        "feature": feature,
        "model": model,
        "body": echoed(body),
        "sources": sources,
        "is_async": top.flag("async"),
        "wants_previews": None if top.take("preview") is None else top.flag("preview"),
        "draft": _draft(prompt),
        "strength": _strength(prompt, sources),
        "seed": _seed(prompt),
        "go_fast": prompt.flag("go_fast"),
        "wants_no_safety": prompt.flag("disable_safety_checker"),
        **_webhook(top),
        **_size(prompt, feature or GENERATOR, sources),
        **_output(prompt),
    }
    if feature == EDITOR and not sources and not _names_pictures(prompt):
        prompt.refuse("imageUrl", "is required: the key of an asset, a URL or a data URI")
    if values["is_async"] and query.get(STREAMS, "").lower() in _YES:
        top.warn("async", f"has no effect with {STREAMS}: the events come as they happen")
    prompt.unknown(_REASONS, PROMPT_FIELDS)
    top.unknown(_TOP_REASONS, TOP_FIELDS)
    if top.wrong:
        raise _invalid(top.wrong)
    address = Form({name: value for name, value in query.items() if name not in QUERY_FIELDS})
    address.unknown(_QUERY_REASONS, QUERY_FIELDS)
    return FeatureCall(**values, warnings=(*top.warnings, *address.warnings))


def echoed(value: Any) -> Any:
    """The JSON value as it is kept and answered: a picture inside it is only hinted at."""
    if isinstance(value, dict):
        return {name: echoed(each) for name, each in value.items()}
    if isinstance(value, list):
        return [echoed(each) for each in value]
    if isinstance(value, str) and len(value) > MAX_ECHOED and value[:5].lower() == "data:":
        return f"{value[: MAX_ECHOED // 4]}… ({len(value):,} characters)"
    return value


def _check_served(feature: str | None, model: str | None) -> None:
    if feature is not None and feature not in FEATURES:
        raise UnsupportedModel(
            f"Unsupported feature type: {shown(feature).strip(QUOTE)}",
            field="#/type",
            hint=f"use {' or '.join(FEATURES)}",
        )
    if feature is None or model is None:
        return
    if model.lower().replace(".", "-") not in MODELS:
        raise UnsupportedModel(
            f"Model {shown(model).strip(QUOTE)} is not supported for feature {feature}",
            field="#/model",
            hint=f"use {MODEL}; GET /models lists what is served",
        )


def _draft(form: Form) -> ImageRequest:
    steps = form.whole("num_inference_steps", 1, MAX_STEPS, default=28)
    guidance = form.number("guidance", 0, MAX_GUIDANCE, default=3.0)
    prompt = form.text("prompt")
    if prompt is not None and not prompt.strip():
        form.refuse("prompt", "is empty: describe the picture")
    drafts = [ImageRequest(prompt="", num_inference_steps=steps, guidance=guidance)]
    form.trial(lambda: drafts.append(replace(drafts[0], prompt=prompt or "")))
    return drafts[-1]


def _strength(form: Form, sources: Sequence[Source]) -> float:
    is_sent = form.take("prompt_strength") is not None
    strength = form.number("prompt_strength", 0, 1, default=DEFAULT_STRENGTH)
    if is_sent and not sources:
        form.warn("prompt_strength", "has no effect without a reference picture")
    return strength


def _seed(form: Form) -> int | None:
    if number_of(form.take("seed")) == -1:
        return None
    seed = form.whole("seed", 0, MAX_SEED, default=-1)
    return None if seed == -1 else seed


def _size(form: Form, feature: str, sources: Sequence[Source]) -> dict[str, Any]:
    """`size` and `pixels`."""
    usual = MATCH if feature == EDITOR else "1:1"
    allowed = (*ASPECT_RATIOS, MATCH, CUSTOM)
    aspect = form.choice("aspect_ratio", allowed, default=usual, near=_nearest_ratio)
    megapixels = _megapixels(form)
    pixels = int(MEGAPIXELS[megapixels] * 1024 * 1024)
    if aspect == MATCH:
        if feature != EDITOR and not sources:
            form.refuse("aspect_ratio", f"={shown(MATCH)}: there is no picture to match; "
                        "send imageUrl, or use one of the ratios")  # fmt: skip
        return {"size": None, "pixels": pixels}
    if aspect == CUSTOM:
        return {"size": _custom(form), "pixels": pixels}
    return {"size": size_of(aspect, megapixels), "pixels": pixels}


def _megapixels(form: Form) -> str:
    value = form.take("megapixels")
    number = number_of(value)
    for text, size in MEGAPIXELS.items():
        if number == size:
            return text
    if value is not None:
        small, large = MEGAPIXELS.items()
        middle = (small[1] + large[1]) / 2
        near = (
            "" if number is None else f"; the nearest is {(large if number > middle else small)[0]}"
        )
        form.refuse("megapixels", f"={shown(value)}: use one of {', '.join(MEGAPIXELS)}{near}")
    return "1"


def _custom(form: Form) -> tuple[int, int]:
    """Width and height as they are asked for: our extension of the contract."""
    if form.take("megapixels") is not None:
        form.warn("megapixels", f'has no effect with "aspect_ratio": "{CUSTOM}"')
    sides = []
    for name in ("width", "height"):
        if form.take(name) is None:
            form.refuse(name, f'is required with "aspect_ratio": "{CUSTOM}"')
        sides.append(form.whole(name, MIN_SIDE, MAX_SIDE, default=1024))
    width, height = sides
    form.trial(lambda: ImageRequest(prompt="", width=width, height=height))
    return width, height


def _nearest_ratio(text: str) -> str:
    """The known ratio whose shape is nearest to that of a text as "21:10"."""
    found = _RATIO.fullmatch(text)
    if not found:
        return ""
    wanted = math.log(int(found[1]) / int(found[2]))

    def distance(name: str) -> float:
        width, height = name.split(":")
        return abs(math.log(int(width) / int(height)) - wanted)

    return min(ASPECT_RATIOS, key=distance)


def _output(form: Form) -> dict[str, Any]:
    """`output_format` and `output_quality`."""
    name = form.one_of(("output_format", "format"))
    chosen = FORMATS[form.choice(name, FORMATS, default="webp")]
    if chosen == "png" and form.take("output_quality") is not None:
        form.warn("output_quality", "has no effect on png")
    quality = form.whole("output_quality", 0, 100, default=80, rounds=True)
    return {"output_format": chosen, "output_quality": quality}


def _webhook(form: Form) -> dict[str, Any]:
    """`webhook` and `webhook_events`."""
    address = form.text("webhook", default="")
    if address and not (len(address) <= MAX_WEBHOOK and _is_address(address)):
        form.refuse("webhook", f"={shown(address)}: use an address that begins with https://")
    events = form.take("webhook_events_filter")
    if events is None:
        return {"webhook": address, "webhook_events": ENDED if address else ()}
    if not isinstance(events, list) or not events or any(each not in ENDED for each in events):
        allowed = ", ".join(ENDED)
        form.refuse("webhook_events_filter", f"={shown(events)}: use a list of {allowed}")
        return {}
    if not address:
        form.warn("webhook_events_filter", "has no effect without webhook")
    return {"webhook": address, "webhook_events": tuple(e for e in ENDED if e in events)}


def _is_address(text: str) -> bool:
    """Whether it names a host, and a port that can be if it names one."""
    try:
        parts = urlsplit(text)
        return bool(URL.fullmatch(text) and parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _no_pictures_outside(top: Form) -> None:
    """A picture is never passed over in silence, wherever it was put."""
    for name in (*PICTURES, *NOT_TAKEN):
        if top.take(name) is not None:
            top.refuse(name, "is not read here: send pictures as promptObject.imageUrl")


def _names_pictures(form: Form) -> bool:
    return any(form.take(name) not in (None, []) for name in PICTURES)


def _check_shape(source: Source, reference: Reference, number: int) -> None:
    try:
        check_reference(cast(Picture, reference), number)  # it reads width and height alone
    except InvalidPicture as error:
        raise InvalidPicture(error.message, field=source.pointer, hint=error.hint) from error


def _invalid(wrong: Sequence[tuple[str, str]]) -> InvalidRequest:
    """All of it as one error; the message tells the first few, `fields` every one."""
    told = "; ".join(said for _, said in wrong[:MAX_TOLD])
    more = f"; and {len(wrong) - MAX_TOLD} more" if len(wrong) > MAX_TOLD else ""
    count = f"{len(wrong)} fields are wrong: " if len(wrong) > 1 else ""
    return InvalidRequest(f"{count}{told}{more}", field=wrong[0][0], fields=wrong)
