"""What a caller wants drawn: frozen, complete, valid from birth. Torch-free."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from linocut.errors import InvalidPicture, InvalidRequest

SIDE_STEP: Final = 16
MIN_SIDE: Final = 64
MAX_SIDE: Final = 2048
MATCH: Final = "match_input_image"  # a size: the shape of the first reference
MAX_PIXELS: Final = MAX_SIDE * MAX_SIDE  # 4 MP: every two valid sides are within it
MAX_SEED: Final = 2**53 - 1
MAX_STEPS: Final = 50
MAX_GUIDANCE: Final = 10.0
MAX_REFERENCES: Final = 10
MAX_PROMPT_CHARACTERS: Final = 20_000
MIN_REFERENCE_SIDE: Final = 64
MAX_REFERENCE_ASPECT: Final = 8
MOST_SENT: Final = 20 * 1024**2  # bytes of a picture's file that a stranger sends
# Of a file that is decoded: 25 megapixels of noise as our own PNG are 75 MB, and 100 as a column.
MOST_DECODED: Final = 96 * 1024**2


@dataclass(frozen=True, slots=True)
class Picture:
    """Decoded pixels: rows of RGB bytes, top left first; `len(rgb) == 3 · width · height`."""

    width: int
    height: int
    rgb: bytes

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or len(self.rgb) != 3 * self.width * self.height:
            raise InvalidPicture(
                f"a picture of {self.width} x {self.height} has {3 * self.width * self.height} "
                f"bytes of RGB, not {len(self.rgb)}"
            )

    def __repr__(self) -> str:
        return f"Picture({self.width} x {self.height})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """One picture to draw; `dataclasses.replace` makes a variant.

    width, height: pixels, multiples of 16 from 64 to 2048, at most 4 MP.
    num_inference_steps: 1 to 50.   guidance: 0 to 10, what the model was distilled for.
    references: pictures that the prompt may speak of as "image 1", "image 2"…
    prompt_strength: 1 draws from plain noise; below 1 the drawing starts from reference 1,
    noised; 0 returns it re-encoded. It is ignored without a reference, as the hosted API does.
    seed: 0 to 2^53 - 1; whoever makes the request draws one if the user gave none.
    mode: a speed mode by name; "exact" is the published function.
    preview: whether `Preview` events are wanted.
    Raises InvalidRequest with the field, what was given and what is allowed.
    """

    prompt: str
    width: int = 1024
    height: int = 1024
    num_inference_steps: int = 28
    guidance: float = 3.0
    seed: int = 0
    references: tuple[Picture, ...] = ()
    prompt_strength: float = 1.0
    mode: str = "exact"
    preview: bool = False

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)
        check_side("width", self.width)
        check_side("height", self.height)
        _check_whole("num_inference_steps", self.num_inference_steps, 1, MAX_STEPS)
        _check_whole("seed", self.seed, 0, MAX_SEED)
        _check_number("guidance", self.guidance, 0.0, MAX_GUIDANCE)
        _check_number("prompt_strength", self.prompt_strength, 0.0, 1.0)
        if not isinstance(self.mode, str):
            raise InvalidRequest(f"mode={self.mode!r}: use a name, like 'exact'", field="mode")
        if not isinstance(self.preview, bool):
            raise InvalidRequest(f"preview={self.preview!r}: use True or False", field="preview")
        _check_references(self.references)


def matched_size(width: int, height: int, pixels: int) -> tuple[int, int]:
    """The shape of a picture with about that many pixels: sides are multiples of 16, cut down.

    A side of a long picture is at most 2048, and the other one follows.
    """
    sides = math.isqrt(pixels * width // height), math.isqrt(pixels * height // width)
    if max(sides) > MAX_SIDE:
        longest = max(width, height)
        sides = MAX_SIDE * width // longest, MAX_SIDE * height // longest
    return sides[0] // SIDE_STEP * SIDE_STEP, sides[1] // SIDE_STEP * SIDE_STEP


def check_side(field: str, value: int) -> None:
    """Nothing, or InvalidRequest that names the nearest valid side."""
    if not _is_whole(value) or value % SIDE_STEP or not MIN_SIDE <= value <= MAX_SIDE:
        nearest = ""
        if _is_number(value):
            clipped = min(max(value, MIN_SIDE), MAX_SIDE)
            nearest = f"the nearest is {round(clipped / SIDE_STEP) * SIDE_STEP}"
        raise InvalidRequest(
            f"{field}={value!r}: use a multiple of {SIDE_STEP} from {MIN_SIDE} to {MAX_SIDE}",
            field=field,
            hint=nearest,
        )


def check_reference(picture: Picture, number: int) -> None:
    """Nothing, or InvalidPicture: a reference has sides of 64 px and more, and is not a strip."""
    short, long = sorted((picture.width, picture.height))
    if short < MIN_REFERENCE_SIDE:
        raise InvalidPicture(
            f"reference {number} is {picture.width} x {picture.height}; "
            f"each side needs at least {MIN_REFERENCE_SIDE} px",
            field="references",
        )
    if long > MAX_REFERENCE_ASPECT * short:
        raise InvalidPicture(
            f"reference {number} is {picture.width} x {picture.height}; "
            f"one side may be at most {MAX_REFERENCE_ASPECT} times the other",
            field="references",
            hint="crop it first",
        )


def _check_references(pictures: tuple[Picture, ...]) -> None:
    if not isinstance(pictures, tuple):
        raise InvalidRequest(
            f"references is of type {type(pictures).__name__}: use a tuple of Pictures",
            field="references",
        )
    if len(pictures) > MAX_REFERENCES:
        raise InvalidRequest(
            f"{len(pictures)} reference pictures; at most {MAX_REFERENCES} are allowed",
            field="references",
            hint="the model's makers recommend at most 6",
        )
    for number, picture in enumerate(pictures, 1):
        if not isinstance(picture, Picture):
            raise InvalidRequest(
                f"reference {number} is of type {type(picture).__name__}: use a Picture",
                field="references",
                hint="read_picture makes one of a file",
            )
        check_reference(picture, number)


def _check_prompt(prompt: str) -> None:
    if not isinstance(prompt, str):
        raise InvalidRequest(f"prompt={prompt!r}: a text is needed", field="prompt")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise InvalidRequest(
            f"the prompt has {len(prompt):,} characters; "
            f"at most {MAX_PROMPT_CHARACTERS:,} are allowed",
            field="prompt",
        )
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"the prompt is not valid Unicode: a lone surrogate at character {error.start}",
            field="prompt",
        ) from error


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return _is_whole(value)


def _check_whole(field: str, value: int, low: int, high: int) -> None:
    if not _is_whole(value) or not low <= value <= high:
        raise InvalidRequest(f"{field}={value!r}: use a whole number from {low} to {high}",
                             field=field)  # fmt: skip


def _check_number(field: str, value: float, low: float, high: float) -> None:
    if not _is_number(value) or not low <= value <= high:
        raise InvalidRequest(f"{field}={value!r}: use a number from {low:g} to {high:g}",
                             field=field)  # fmt: skip
