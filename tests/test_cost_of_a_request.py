"""A request's cost on a checkpoint: its sizes, steps, references and room; more costs more."""

from __future__ import annotations

import random
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut import cost
from linocut.catalog import DEV, MINI
from linocut.cost import Lengths
from linocut.request import MAX_PIXELS, ImageRequest, Picture
from linocut.sampling import pictures
from linocut.sizes import start_index


@lru_cache
def picture(width: int, height: int) -> Picture:
    return Picture(width, height, random.Random(0).randbytes(3 * width * height))  # noqa: S311


def test_the_stages_add_up() -> None:
    request = ImageRequest(prompt="", references=(picture(64, 64),))
    ours, dev = cost.request_cost(request, DEV), DEV.transformer
    flops = ours.flops
    assert ours.lengths == Lengths(text=512, drawn=4096, references=16)
    assert flops.text == cost.text_work(DEV.text_encoder, 512, 30).flops
    assert flops.pictures == cost.encode_work(DEV.autoencoder, 64, 64).flops
    assert flops.bind == cost.bind_flops(dev, ours.lengths, 28)
    assert flops.denoise == 28 * cost.step_flops(dev, ours.lengths)
    assert flops.decode == cost.decode_work(DEV.autoencoder, 1024, 1024).flops
    assert flops.total == sum(asdict(flops).values())


def test_a_picture_of_one_megapixel_and_28_steps_costs_the_published_figure() -> None:
    flops = cost.request_cost(ImageRequest(prompt=""), DEV).flops
    assert round((flops.bind + flops.denoise) / 1e15, 2) == 7.91


def test_the_vectors_of_one_noise_level_cost_the_published_figure() -> None:
    vectors = cost.bind_flops(DEV.transformer, Lengths(text=0, drawn=0), 1)
    assert round(vectors / 1e9, 2) == 1.44


def test_reading_512_tokens_costs_the_published_figure() -> None:
    text = DEV.text_encoder
    for layers, figure in ((30, 17.1), (40, 22.8)):
        attention = layers * 4 * 512**2 * text.num_heads * text.head_dim
        without = cost.text_work(text, 512, layers).flops - attention
        assert round(without / 1e12, 1) == figure


def test_a_checkpoint_that_draws_small_costs_little_at_any_size() -> None:
    ours = cost.request_cost(ImageRequest(prompt="", width=2048, height=1024), MINI)
    assert (ours.drawn_width, ours.drawn_height) == (512, 256)
    assert ours.lengths == Lengths(text=64, drawn=128)


@given(st.integers(1, 50), st.floats(0, 1))
def test_the_steps_are_those_that_the_schedule_leaves(steps: int, strength: float) -> None:
    request = ImageRequest(prompt="", num_inference_steps=steps, prompt_strength=strength)
    assert cost.executed_steps(request) == steps
    request = replace(request, references=(picture(64, 64),))
    left_out = start_index(steps, strength)
    assert cost.executed_steps(request) == steps - left_out


@given(st.integers(64, 300), st.integers(64, 300), st.integers(1, 3), st.integers(16, 300))
def test_a_reference_has_the_size_that_it_is_prepared_to(
    width: int, height: int, count: int, native: int
) -> None:
    model = replace(DEV, native_max_tokens=native)
    references = (picture(width, height),) * count
    cut = cost.prepared(references[0], ImageRequest(prompt="", references=references), model)
    tensor = pictures.reference(
        references[0], count=count, multiple=16, most_pixels=native * 16 * 16
    )
    assert tuple(tensor.shape) == (1, 3, cut.height, cut.width)


@pytest.mark.parametrize("size", [(2025, 2025), (2048, 1000), (4000, 3000), (1025, 1030)])
@pytest.mark.parametrize("count", [1, 2])
def test_a_large_reference_has_the_size_that_it_is_prepared_to(
    size: tuple[int, int], count: int
) -> None:
    large = Picture(*size, bytes(3 * size[0] * size[1]))
    request = ImageRequest(prompt="", references=(large,) * count)
    cut = cost.prepared(large, request, DEV)
    tensor = pictures.reference(large, count=count, multiple=16, most_pixels=16384 * 256)
    assert tuple(tensor.shape) == (1, 3, cut.height, cut.width)


SIDES: Final = st.integers(4, 128).map(lambda tokens: 16 * tokens)
# Sizes of references: none above the limit that falls on each when there are several, none that
# is also a size to draw, whose source would be encoded for nothing.
SIZES: Final = st.sampled_from(((65, 66), (200, 90), (333, 480), (1020, 1020)))
REQUESTS: Final = st.builds(
    lambda width, height, steps, strength, sizes: ImageRequest(
        prompt="",
        width=width,
        height=min(height, MAX_PIXELS // width // 16 * 16),
        num_inference_steps=steps,
        prompt_strength=strength,
        references=tuple(picture(*size) for size in sizes),
    ),
    SIDES,
    SIDES,
    st.integers(1, 49),
    st.sampled_from((0.0, 0.37, 0.8, 1.0)),
    st.lists(SIZES, max_size=6),
)


def at_least(more: cost.Cost, less: cost.Cost) -> bool:
    return more.flops.total >= less.flops.total and more.memory.total >= less.memory.total


@given(REQUESTS, SIZES)
def test_more_steps_pixels_or_references_never_cost_less(
    asked: ImageRequest, size: tuple[int, int]
) -> None:
    larger = [replace(asked, num_inference_steps=asked.num_inference_steps + 1)]
    # A first reference is what gives prompt_strength its meaning, and so may save steps.
    if asked.references or asked.prompt_strength == 1:
        larger.append(replace(asked, references=(*asked.references, picture(*size))))
    if asked.width < 2048 and (asked.width + 16) * asked.height <= MAX_PIXELS:
        larger.append(replace(asked, width=asked.width + 16))
    less = cost.request_cost(asked, DEV)
    assert all(at_least(cost.request_cost(more, DEV), less) for more in larger)


def test_a_second_reference_shrinks_a_large_first_one_and_may_save() -> None:
    one = ImageRequest(prompt="", references=(Picture(2016, 2016, bytes(3 * 2016**2)),))
    two = replace(one, references=(*one.references, picture(1024, 1024)))
    assert cost.request_cost(one, DEV).lengths.references == 126 * 126
    assert cost.request_cost(two, DEV).lengths.references == 2 * 4096


@pytest.mark.parametrize(
    ("bytes_per_weight", "transformer", "text"), [(2, 64.45, 34.69), (1, 32.22, 17.34)]
)
def test_the_weights_take_the_published_room(
    bytes_per_weight: float, transformer: float, text: float
) -> None:
    request = ImageRequest(prompt="")
    memory = cost.request_cost(request, DEV, bytes_per_weight=bytes_per_weight).memory
    assert round(memory.transformer / 1e9, 2) == transformer
    assert round(memory.text_encoder / 1e9, 2) == text
    assert memory.autoencoder == 4 * 84_046_115
    assert memory.total == sum(asdict(memory).values())
