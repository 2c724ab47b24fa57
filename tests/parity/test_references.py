"""References are prepared as diffusers' Flux2ImageProcessor does it, where the two limits agree.

They agree up to one megapixel, and for several references of any size. The larger limit for a
single reference, and its arithmetic: tests/sampling/test_pictures.py.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from diffusers.pipelines.flux2.image_processor import Flux2ImageProcessor
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from linocut.errors import InvalidPicture
from linocut.request import ImageRequest, Picture
from linocut.sampling.pictures import reference, to_image

SIDES = st.integers(64, 400)


def their_pixels(picture: Picture) -> Tensor:
    """What the pipeline does before it encodes a reference."""
    processor = Flux2ImageProcessor(vae_scale_factor=16)
    image = to_image(picture)
    processor.check_image_input(image)
    if image.width * image.height > 1024 * 1024:
        image = processor._resize_to_target_area(image, 1024 * 1024)
    pixels: Tensor = processor.preprocess(
        image, height=image.height // 16 * 16, width=image.width // 16 * 16, resize_mode="crop"
    )
    return pixels


def ours(picture: Picture, count: int) -> Tensor:
    return reference(picture, count=count, multiple=16, most_pixels=2048 * 2048)


@given(width=SIDES, height=SIDES, count=st.integers(1, 10), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_a_reference_of_at_most_a_megapixel_is_cropped_as_theirs(
    width: int, height: int, count: int, seed: int, small: SimpleNamespace
) -> None:
    picture = small.random_picture(width, height, seed)
    assert torch.allclose(ours(picture, count), their_pixels(picture), atol=3e-7, rtol=0)


@pytest.mark.parametrize("size", [(1025, 1024), (1500, 1300), (2600, 411)])
def test_one_of_several_large_references_is_shrunk_as_theirs(
    size: tuple[int, int], small: SimpleNamespace
) -> None:
    picture = small.random_picture(*size, seed=3)
    assert torch.allclose(ours(picture, 2), their_pixels(picture), atol=3e-7, rtol=0)


@given(st.integers(1, 600), st.integers(1, 600))
def test_what_they_refuse_is_refused(width: int, height: int) -> None:
    picture = Picture(width, height, bytes(3 * width * height))
    try:
        Flux2ImageProcessor.check_image_input(to_image(picture))
    except ValueError:
        with pytest.raises(InvalidPicture):
            ImageRequest(prompt="x", references=(picture,))
    else:
        assert ImageRequest(prompt="x", references=(picture,)).references == (picture,)
