"""Starting from a picture: the recipe of the design, put together from diffusers' parts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import Flux2Pipeline
from PIL import Image

from linocut.engine import Engine
from linocut.events import Done, Started, Step
from linocut.request import ImageRequest, Picture
from linocut.sampling.pictures import to_image

SEED, GUIDANCE = 11, 3.5


@pytest.fixture(scope="module")
def pipeline(tiny_folder: Path) -> Any:
    """The tiny checkpoint as diffusers opens it."""
    return Flux2Pipeline.from_pretrained(tiny_folder)


def cover(image: Image.Image, width: int, height: int) -> Image.Image:
    """Scaled to cover, cropped around the middle: written here anew."""
    scale = max(width / image.width, height / image.height)
    larger = image.resize(
        (round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS
    )
    left, top = (larger.width - width) // 2, (larger.height - height) // 2
    return larger.crop((left, top, left + width, top + height))


@torch.inference_mode()
def theirs(
    pipe: Any, request: ImageRequest, start: int, schedule: Any, small: SimpleNamespace
) -> np.ndarray[Any, Any]:
    """The picture of their encoder, sigmas, noise, transformer, steps and decoder."""
    context, text_ids = pipe.encode_prompt(
        request.prompt, max_sequence_length=small.max_tokens, text_encoder_out_layers=(1, 2, 3)
    )
    noise, ids = pipe.prepare_latents(
        1, 4, request.height, request.width, torch.float32, "cpu",
        torch.Generator("cpu").manual_seed(request.seed),
    )  # fmt: skip
    images = [to_image(picture) for picture in request.references]
    source = cover(images[0], request.width, request.height)
    clean = pipe._pack_latents(
        pipe._encode_vae_image(pipe.image_processor.preprocess(source), None)
    )
    prepared = [
        pipe.image_processor.preprocess(
            image, height=image.height // 16 * 16, width=image.width // 16 * 16, resize_mode="crop"
        )
        for image in images
    ]
    others, other_ids = pipe.prepare_image_latents(prepared, 1, None, "cpu", torch.float32)
    sigma = schedule.sigmas[start]
    x_BLC = sigma * noise + (1 - sigma) * clean
    for time in schedule.timesteps[start:]:
        velocity = pipe.transformer(
            hidden_states=torch.cat((x_BLC, others), 1),
            timestep=time.expand(1) / 1000,
            guidance=torch.tensor([request.guidance]),
            encoder_hidden_states=context,
            txt_ids=text_ids,
            img_ids=torch.cat((ids, other_ids), 1),
            return_dict=False,
        )[0]
        x_BLC = schedule.step(velocity[:, : x_BLC.shape[1]], time, x_BLC, return_dict=False)[0]
    return decoded(pipe, x_BLC, ids)


def decoded(pipe: Any, x_BLC: torch.Tensor, ids: torch.Tensor) -> np.ndarray[Any, Any]:
    latent = pipe._unpack_latents_with_ids(x_BLC, ids)
    deviation = torch.sqrt(pipe.vae.bn.running_var.view(1, -1, 1, 1) + 1e-4)
    latent = latent * deviation + pipe.vae.bn.running_mean.view(1, -1, 1, 1)
    picture = pipe.vae.decode(pipe._unpatchify_latents(latent), return_dict=False)[0]
    return np.asarray(pipe.image_processor.postprocess(picture)[0])


@pytest.mark.parametrize(
    "case", [(0.0, 4, 4), (0.3, 4, 2), (0.75, 4, 1), (0.9, 10, 1), (0.8, 28, 5), (0.999, 3, 0)]
)
def test_the_picture_is_that_of_the_recipe(
    case: tuple[float, int, int],
    engine: Engine,
    pipeline: Any,
    small: SimpleNamespace,
    oracle: SimpleNamespace,
) -> None:
    strength, steps, start = case
    request = ImageRequest(
        prompt="a red apple", width=64, height=96, num_inference_steps=steps, guidance=GUIDANCE,
        seed=SEED, references=(small.random_picture(96, 80, 1),), prompt_strength=strength,
    )  # fmt: skip
    schedule = oracle.their_schedule(4 * 6, steps)
    expected = theirs(pipeline, request, start, schedule, small)
    found = np.asarray(to_image(engine.draw(request).picture))
    difference = abs(found.astype(int) - expected.astype(int))
    assert expected.std() > 20
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.005


def test_with_several_references_the_drawing_starts_from_the_first(
    engine: Engine, pipeline: Any, small: SimpleNamespace, oracle: SimpleNamespace
) -> None:
    request = ImageRequest(
        prompt="a red apple", width=64, height=64, num_inference_steps=4, guidance=GUIDANCE,
        seed=SEED, prompt_strength=0.5,
        references=(small.random_picture(64, 64, 1), small.random_picture(80, 96, 2)),
    )  # fmt: skip
    expected = theirs(pipeline, request, 2, oracle.their_schedule(16, 4), small)
    found = np.asarray(to_image(engine.draw(request).picture))
    assert abs(found.astype(int) - expected.astype(int)).max() <= 1


def test_strength_nought_returns_the_source_re_encoded(
    engine: Engine, pipeline: Any, small: SimpleNamespace
) -> None:
    source = small.random_picture(64, 64, 1)
    events = list(engine.run(request(source, strength=0.0)))
    assert not [event for event in events if isinstance(event, Step)]
    done = events[-1]
    assert isinstance(done, Done)
    pixels = pipeline.image_processor.preprocess(to_image(source))
    with torch.inference_mode():
        again = pipeline.vae(pixels, sample_posterior=False).sample
    expected = np.asarray(pipeline.image_processor.postprocess(again)[0])
    found = np.asarray(to_image(done.picture))
    assert abs(found.astype(int) - expected.astype(int)).max() <= 1


def test_strength_one_is_plain_noise_with_the_source_as_reference(
    engine: Engine, pipeline: Any, small: SimpleNamespace
) -> None:
    source = small.random_picture(64, 64, 1)
    expected = pipeline(
        prompt="a red apple", image=[to_image(source)], width=64, height=64,
        num_inference_steps=4, guidance_scale=3.0, max_sequence_length=small.max_tokens,
        text_encoder_out_layers=(1, 2, 3), generator=torch.Generator("cpu").manual_seed(SEED),
    ).images[0]  # fmt: skip
    found = np.asarray(to_image(engine.draw(request(source, strength=1.0)).picture))
    assert abs(found.astype(int) - np.asarray(expected).astype(int)).max() <= 1


def test_progress_counts_the_steps_that_are_executed(
    engine: Engine, small: SimpleNamespace
) -> None:
    events = list(engine.run(request(small.random_picture(64, 64, 1), strength=0.8, steps=28)))
    steps = [event for event in events if isinstance(event, Step)]
    started = events[0]
    assert isinstance(started, Started)
    assert started.steps == 23
    assert [(step.i, step.n) for step in steps] == [(i, 23) for i in range(1, 24)]


def test_strength_without_a_reference_draws_as_always_and_says_so(engine: Engine) -> None:
    plain = ImageRequest(prompt="a red apple", width=64, height=64, num_inference_steps=3)
    weak = ImageRequest(
        prompt="a red apple", width=64, height=64, num_inference_steps=3, prompt_strength=0.2
    )
    done = engine.draw(weak)
    assert done.picture == engine.draw(plain).picture
    assert any("prompt_strength" in warning for warning in done.warnings)


def request(source: Picture, *, strength: float, steps: int = 4) -> ImageRequest:
    return ImageRequest(
        prompt="a red apple", width=64, height=64, num_inference_steps=steps, seed=SEED,
        references=(source,), prompt_strength=strength,
    )  # fmt: skip
