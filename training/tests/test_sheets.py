"""The contact sheets show every everyday prompt, with the first picture that comes."""

from itertools import product
from typing import Final

import numpy as np
from PIL import Image

from linocut.request import ImageRequest, Picture
from linocut_training import sheets
from linocut_training.concepts import CONCEPTS
from linocut_training.gates import prompts as evaluation_prompts

PROMPTS: Final = sheets.prompts()


def test_there_are_sixty_four_everyday_prompts_and_none_is_the_evaluations() -> None:
    assert len(set(PROMPTS)) == len(PROMPTS) == 64
    assert all(prompt == prompt.strip() for prompt in PROMPTS)
    assert not set(PROMPTS) & {one.text for one in evaluation_prompts()}


def test_most_of_them_ask_for_something_that_is_known() -> None:
    known = {word for it in CONCEPTS for word in (it.name, *it.synonyms)}
    named = [prompt for prompt in PROMPTS if any(word in prompt for word in known)]
    assert len(named) > 50


def test_every_prompt_is_drawn_at_both_sizes_with_few_and_many_steps() -> None:
    asked = sheets.requests()
    assert len(asked) == 64 * 2 * 3
    for size, steps in product((512, 1024), (4, 12, 28)):
        for number, prompt in enumerate(PROMPTS, 1):
            one = asked[f"{size}-{steps}/{number:02}"]
            assert (one.prompt, one.seed, one.width, one.height) == (prompt, 1, size, size)
            assert one.num_inference_steps == steps


def test_the_sheets_show_what_was_drawn_in_the_order_of_the_prompts(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sheets, "SIZES", (64,))
    monkeypatch.setattr(sheets, "STEPS", (4, 28))

    def draw(request: ImageRequest) -> Picture:
        if request.prompt not in PROMPTS:
            return Picture(request.width, request.height, bytes(3 * request.width * request.height))
        shade = 3 * PROMPTS.index(request.prompt)
        colour = bytes((shade, 255 - shade, 8 * request.num_inference_steps))
        return Picture(request.width, request.height, colour * request.width * request.height)

    sheets.make(tmp_path, tmp_path, draw=draw)
    for steps in (4, 28):
        with Image.open(tmp_path / f"everyday-64-{steps}.webp") as sheet:
            pixels = np.asarray(sheet.convert("RGB")).astype(int)
        height = sheets.TILE + 2 * sheets.LINE + 4
        assert pixels.shape == (8 * height, 8 * sheets.TILE, 3)
        for number in range(64):
            row, column = divmod(number, 8)
            seen = pixels[row * height + sheets.TILE // 2, column * sheets.TILE + sheets.TILE // 2]
            assert np.abs(seen - (3 * number, 255 - 3 * number, 8 * steps)).max() < 12


def test_a_sheet_goes_from_pictures_to_what_is_asked_instead_of_them(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sheets, "SIZES", ())
    sources = [source for source, _ in sheets.CHANGES]

    def draw(request: ImageRequest) -> Picture:
        if request.prompt in sources:
            colour = (40 * sources.index(request.prompt), 0, 0)
        else:
            [reference] = request.references  # what was drawn first, from its file
            colour = (reference.rgb[0], int(200 * request.prompt_strength), 99)
        return Picture(request.width, request.height, bytes(colour) * 512 * 512)

    sheets.make(tmp_path, tmp_path, draw=draw)
    with Image.open(tmp_path / "strengths.webp") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    height = sheets.TILE + 2 * sheets.LINE + 4
    for row, column in product(range(len(sources)), range(1 + len(sheets.STRENGTHS))):
        seen = pixels[row * height + sheets.TILE // 2, column * sheets.TILE + sheets.TILE // 2]
        wanted = (40 * row, 0, 0)
        if column:
            wanted = (40 * row, int(200 * sheets.STRENGTHS[column - 1]), 99)
        assert np.abs(seen - wanted).max() < 12
    assert list(sheets.STRENGTHS) == sorted(sheets.STRENGTHS)
    assert (sheets.STRENGTHS[0], sheets.STRENGTHS[-1]) == (0.2, 1.0)
