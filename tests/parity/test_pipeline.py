"""The whole way: Engine.open(folder) draws what Flux2Pipeline.from_pretrained(folder) draws."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pytest
import torch
from diffusers import Flux2Pipeline

from linocut.catalog import AutoencoderConfig, TransformerConfig
from linocut.engine import Engine
from linocut.request import ImageRequest, Picture
from linocut.sampling.pictures import to_image

LAYERS: Final = (1, 2, 3)
STEPS = 4
LEVELS = 1  # of 255
PLAIN: Final = TransformerConfig(
    in_channels=16,
    context_channels=48,
    hidden_size=96,
    num_heads=3,
    num_double_blocks=1,
    num_single_blocks=2,
    mlp_ratio=2.5,
    axes=(4, 12, 10, 6),
    rope_theta=300.0,
)
# Besides the tiny checkpoint's 2 heads of equal axes, and tokens of 16 x 16 pixels.
OTHERS: Final = {
    "3 heads, unequal axes, tokens of 8 pixels": (
        PLAIN,
        AutoencoderConfig(
            channels=(16, 24, 24), layers_per_block=1, latent_channels=4, norm_groups=8
        ),
    ),
    "5 narrow heads, tokens of 32 pixels": (
        replace(PLAIN, hidden_size=80, num_heads=5, axes=(2, 4, 6, 4)),
        AutoencoderConfig(
            channels=(8, 8, 16, 16, 24), layers_per_block=1, latent_channels=4, norm_groups=4
        ),
    ),
}


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


@pytest.fixture(scope="module", params=OTHERS)
def other(
    request: pytest.FixtureRequest, small: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Engine, Any]]:
    """A checkpoint of another shape, as linocut and as diffusers open it."""
    transformer, autoencoder = OTHERS[request.param]
    vae = small.their_autoencoder(autoencoder, 11)
    vae.decoder.conv_out.weight.mul_(0.35)  # much to see, and few pixels cut off
    whole = small.their_pipeline(vae=vae, transformer=small.their_transformer(transformer, 12))
    folder = small.save_checkpoint(
        whole, tmp_path_factory.mktemp("other") / "checkpoint",
        text_layers=LAYERS, max_text_tokens=small.max_tokens,
    )  # fmt: skip
    pipeline = Flux2Pipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    with Engine.open(folder, device="cpu") as engine:
        yield engine, pipeline


@pytest.mark.parametrize("references", [(), ((64, 64),), ((96, 64), (77, 100)), ((65, 130),) * 3])
def test_the_picture_is_theirs_on_other_shapes_of_checkpoints(
    references: tuple[tuple[int, int], ...], other: tuple[Engine, Any], small: SimpleNamespace
) -> None:
    engine, pipeline = other
    request = ImageRequest(
        prompt="a red apple",
        width=96,
        height=64,
        num_inference_steps=STEPS,
        seed=len(references),
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
