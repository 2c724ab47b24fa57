"""The whole way: Engine.open(folder) draws what Flux2Pipeline.from_pretrained(folder) draws."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pytest
import torch
from diffusers import Flux2Pipeline

from linocut.engine import Engine
from linocut.request import ImageRequest, Picture
from linocut.sampling.pictures import to_image

LAYERS: Final = (1, 2, 3)
STEPS = 4
LEVELS = 1  # of 255


def pixels(picture: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    image = to_image(picture) if isinstance(picture, Picture) else picture
    return np.asarray(image).astype(np.int64)


def same(found: Picture, expected: Any) -> None:
    """Within a level everywhere, and hardly anywhere that far: roundings, no other picture."""
    ours, theirs = pixels(found), pixels(expected)
    assert ours.shape == theirs.shape
    assert theirs.std() > 20
    assert ((theirs == 0) | (theirs == 255)).mean() < 0.1
    assert abs(ours - theirs).max() <= LEVELS
    assert (ours != theirs).mean() < 0.005


@pytest.fixture(scope="module")
def pipeline(tiny_folder: Path) -> Any:
    """The tiny checkpoint as diffusers opens it."""
    pipeline = Flux2Pipeline.from_pretrained(tiny_folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def theirs(pipeline: Any, request: ImageRequest, **others: Any) -> Any:
    """Their picture, drawn by the call that the model card documents."""
    return pipeline(
        prompt=request.prompt,
        image=[to_image(picture) for picture in request.references] or None,
        width=request.width,
        height=request.height,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance,
        generator=torch.Generator("cpu").manual_seed(request.seed),
        **others,
    ).images[0]


@pytest.mark.parametrize(
    ("size", "references"),
    [
        ((64, 64), ()),
        ((96, 64), ()),
        ((112, 80), ()),
        ((64, 208), ()),
        ((64, 64), ((64, 64),)),
        ((80, 112), ((100, 77),)),
        ((96, 64), ((64, 96), (112, 64))),
        ((64, 80), ((80, 64), (65, 130), (64, 64))),
    ],
)
def test_the_picture_is_theirs(
    size: tuple[int, int],
    references: tuple[tuple[int, int], ...],
    engine: Engine,
    pipeline: Any,
    small: SimpleNamespace,
) -> None:
    request = ImageRequest(
        prompt="a red apple",
        width=size[0],
        height=size[1],
        num_inference_steps=STEPS,
        guidance=3.5,
        seed=sum(size) + len(references),
        references=tuple(
            small.random_picture(*reference, seed) for seed, reference in enumerate(references)
        ),
    )
    expected = theirs(
        pipeline, request, max_sequence_length=small.max_tokens, text_encoder_out_layers=LAYERS
    )
    same(engine.draw(request).picture, expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": ""},
        {"prompt": "[IMG]a prompt of more tokens than this checkpoint reads"},
        {"num_inference_steps": 1},
        {"num_inference_steps": 9, "seed": 2**53 - 1},
        {"guidance": 0.0},
        {"guidance": 10.0},
    ],
)
def test_the_picture_is_theirs_at_the_ends_of_every_range(
    changes: dict[str, Any], engine: Engine, pipeline: Any, small: SimpleNamespace
) -> None:
    request = ImageRequest(
        **({"prompt": "a blue cat", "width": 64, "height": 64, "num_inference_steps": 3} | changes)
    )
    expected = theirs(
        pipeline, request, max_sequence_length=small.max_tokens, text_encoder_out_layers=LAYERS
    )
    same(engine.draw(request).picture, expected)


def test_what_is_asked_for_changes_the_picture(engine: Engine, small: SimpleNamespace) -> None:
    """That the tests above are not blind: each input moves many pixels by many levels."""
    plain: dict[str, Any] = {
        "prompt": "a red apple", "width": 64, "height": 64, "num_inference_steps": STEPS
    }  # fmt: skip
    one, two = (small.random_picture(64, 64, seed) for seed in (1, 2))
    changes: tuple[dict[str, Any], ...] = (
        {}, {"prompt": "a red apply"}, {"seed": 1}, {"guidance": 3.1}, {"num_inference_steps": 5},
        {"references": (one,)}, {"references": (two,)}, {"references": (one, two)},
        {"references": (two, one)},
    )  # fmt: skip
    drawn = [pixels(engine.draw(ImageRequest(**(plain | change))).picture) for change in changes]
    for index, picture in enumerate(drawn):
        for other in drawn[index + 1 :]:
            assert abs(picture - other).mean() > LEVELS
