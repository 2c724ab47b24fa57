"""The contract's request as OpenAPI describes it, from the numbers that the parser itself uses.

The parser reads the body; this only describes it, and says no less than what is accepted.
"""

from __future__ import annotations

import re
from typing import Any, Final

from linocut.images.fetch import MAX_URL
from linocut.request import (
    MATCH,
    MAX_GUIDANCE,
    MAX_PROMPT_CHARACTERS,
    MAX_REFERENCES,
    MAX_SEED,
    MAX_SIDE,
    MAX_STEPS,
    MIN_SIDE,
    SIDE_STEP,
)
from linocut.server.dialects.features import (
    CUSTOM,
    DEFAULT_STRENGTH,
    EDITOR,
    ENDED,
    FORMATS,
    GENERATOR,
    MAX_WEBHOOK,
    MODEL,
    MODELS,
)
from linocut.server.dialects.features_fields import NUMBER
from linocut.server.dialects.features_sources import LISTS, NUMBERED
from linocut.sizes import ASPECT_RATIOS, DIVISORS

Schema = dict[str, Any]

CONTRACT_EXAMPLE: Final[Schema] = {
    "type": GENERATOR,
    "model": MODEL,
    "promptObject": {
        "prompt": "A cozy coffee shop interior in the morning, warm light, steam rising from a cup",
        "aspect_ratio": "4:5",
        "num_inference_steps": 28,
        "guidance": 3.5,
        "megapixels": "1",
        "output_format": "webp",
        "output_quality": 85,
    },
}
EDITOR_EXAMPLE: Final[Schema] = {
    "type": EDITOR,
    "model": MODEL,
    "promptObject": {
        "prompt": "The cat wears a red scarf",
        "imageUrl": "images/2026_03_27_10_00_04_001_x7k2pq_cat.png",
        "prompt_strength": 0.75,
    },
}


def number(low: float, high: float, about: str, *, default: float) -> Schema:
    """A number, or the same in quotes."""
    return _optional({"type": "number", "minimum": low, "maximum": high}, QUOTED) | {
        "default": default,
        "description": f"{about} {low:g} to {high:g}.",
    }


def whole(low: int, high: int, about: str, *, default: int | None) -> Schema:
    """A whole number (28.0 is one, too), or the same in quotes."""
    found = _optional({"type": "integer", "minimum": low, "maximum": high}, QUOTED)
    found["description"] = f"{about} {low} to {high}."
    return found | ({} if default is None else {"default": default})


def choice(values: tuple[str, ...], about: str, *, default: str | None) -> Schema:
    """One of some texts."""
    found = _optional({"type": "string", "enum": list(values)}) | {"description": about}
    return found | ({} if default is None else {"default": default})


def flag(about: str, *, default: bool | None = False) -> Schema:
    """True or false."""
    found: Schema = {"type": ["boolean", "null"], "description": about}
    return found if default is None else found | {"default": default}


def prompt_object(*, edits: bool) -> Schema:
    """`promptObject` of the generator's page, or of the editor's."""
    match = f"{MATCH} keeps the shape of the first picture."
    needs = "It needs a picture, under any of the names that are read. " if edits else ""
    return {
        "type": "object",
        "title": "EditorPrompt" if edits else "GeneratorPrompt",
        "description": f"{needs}Unknown fields are ignored and named in `metadata.warnings`.",
        "required": ["prompt"],
        "properties": {
            "prompt": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_PROMPT_CHARACTERS,
                "pattern": r"\S",
                "description": "What the picture shows. It may speak of image 1, image 2 …",
            },
            "imageUrl": _optional(PICTURE),
            "additional_images": ADDITIONAL,
            "aspect_ratio": choice(
                (*ASPECT_RATIOS, MATCH, CUSTOM),
                f"Width to height. {match} {CUSTOM} takes width and height.",
                default=MATCH if edits else "1:1",
            ),
            "megapixels": MEGAPIXEL,
            "width": whole(MIN_SIDE, MAX_SIDE, SIDE, default=None),
            "height": whole(MIN_SIDE, MAX_SIDE, SIDE, default=None),
            "output_format": choice(
                tuple(FORMATS), "The file's format; `format` is read, too.", default="webp"
            ),
            "output_quality": number(0, 100, "Quality of webp and jpg.", default=80),
            "num_inference_steps": whole(1, MAX_STEPS, "Denoising steps.", default=28),
            "guidance": number(0, MAX_GUIDANCE, "How closely to follow the prompt.", default=3),
            "prompt_strength": number(
                0, 1, "How much of picture 1 is replaced; 1 is all.", default=DEFAULT_STRENGTH
            ),
            "go_fast": flag("Permits the device's fast mode; `metadata.mode` says what ran."),
            "disable_safety_checker": flag(
                "Counts where the operator allows it; `metadata.safety` says what was done."
            ),
            "seed": whole(
                -1, MAX_SEED, "The same seed draws the same picture; -1 is random.", default=None
            ),
        },
    }


def call(*, edits: bool) -> Schema:
    """The whole body."""
    feature = EDITOR if edits else GENERATOR
    return {
        "type": "object",
        "title": "ImageEditor" if edits else "ImageGenerator",
        "required": ["type", "model", "promptObject"],
        "properties": {
            "type": {"type": "string", "const": feature},
            "model": {
                "type": "string",
                "enum": [*MODELS, "black-forest-labs/FLUX.2-dev"],
                "description": "Any case; it is repeated in the answer as it was sent.",
            },
            "promptObject": prompt_object(edits=edits),
            "async": flag("Answer at once; GET /api/results/{uuid} tells how it goes."),
            "preview": flag(
                "Whether previews are made; by default for streams only.", default=None
            ),
            "webhook": {
                "type": ["string", "null"],
                "format": "uri",
                "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^ ]+$",
                "maxLength": MAX_WEBHOOK,
                "description": "Where to tell how it ended, by Standard Webhooks.",
            },
            "webhook_events_filter": {
                "type": ["array", "null"],
                "minItems": 1,
                "items": {"type": "string", "enum": list(ENDED)},
                "default": list(ENDED),
                "description": "Which endings to tell.",
            },
        },
    }


def request_body() -> Schema:
    """For a route's `openapi_extra`."""
    content = {
        "schema": {"oneOf": [call(edits=False), call(edits=True)]},
        "examples": {
            "generator": {"summary": "The contract's own example", "value": CONTRACT_EXAMPLE},
            "editor": {"summary": "A picture is changed", "value": EDITOR_EXAMPLE},
        },
    }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def _optional(*schemas: Schema) -> Schema:
    return {"anyOf": [*schemas, {"type": "null"}]}


def _any_case(pattern: str) -> str:
    """The same pattern for small letters and capitals: JSON Schema has no flag for it."""
    return re.sub("[a-z]", lambda letter: f"[{letter[0].upper()}{letter[0]}]", pattern)


QUOTED: Final[Schema] = {"type": "string", "pattern": NUMBER, "description": "The same in quotes."}
SIDE: Final = f'With "aspect_ratio": "{CUSTOM}" only; a multiple of {SIDE_STEP}.'
PICTURE_PATTERN: Final = (
    r"^([A-Za-z0-9_-][A-Za-z0-9._/-]*|[Hh][Tt][Tt][Pp][Ss]?://\S+"
    rf"|{_any_case('data:image/(png|jpe?g|webp);base64,')}\S*)$"
)
PICTURE: Final[Schema] = {
    "type": "string",
    "pattern": PICTURE_PATTERN,
    "description": (
        "The picture: `fileContent.path` of an upload, a URL of at most "
        f"{MAX_URL:,} characters, or a data URI in base64."
    ),
    "examples": ["images/2026_03_27_10_00_04_001_x7k2pq_cat.png", "https://example.org/cat.jpg"],
}
ADDITIONAL: Final[Schema] = {
    "type": ["array", "null"],
    "maxItems": MAX_REFERENCES,
    "items": PICTURE,
    "description": (
        f"More pictures, {MAX_REFERENCES} in all. Also read: {', '.join(LISTS)}, "
        f"{NUMBERED[0]} …, image_prompt, input_image, input_image_2 …"
    ),
}
MEGAPIXEL: Final[Schema] = _optional(
    {"type": "string", "pattern": r"^(0\.250{0,8}|1(\.0{1,8})?)$"},
    {"type": "number", "enum": [float(text) for text in DIVISORS]},
) | {
    "default": "1",
    "description": f"About how many pixels: {' or '.join(DIVISORS)} million.",
    "examples": list(DIVISORS),
}
