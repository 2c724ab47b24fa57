"""A small picture with gradients and edges, and metadata to go with it."""

from __future__ import annotations

import pytest

from linocut.images.metadata import Metadata
from linocut.request import Picture


@pytest.fixture(scope="session")
def picture() -> Picture:
    """48 x 32: a gradient with a red square in it."""
    pixels = bytearray()
    for y in range(32):
        for x in range(48):
            inside = 16 <= x < 32 and 8 <= y < 24
            pixels += bytes((220, 20, 30)) if inside else bytes((x * 5, y * 7, 128))
    return Picture(48, 32, bytes(pixels))


@pytest.fixture(scope="session")
def metadata() -> Metadata:
    """What a plain request leaves behind."""
    return Metadata(
        prompt="a red apple",
        seed=4711,
        width=48,
        height=32,
        drawn_width=48,
        drawn_height=32,
        num_inference_steps=28,
        guidance=3.5,
        prompt_strength=1.0,
        references=0,
        checkpoint="linocut-mini",
        mode="exact",
        demo=True,
        software="linocut 0.1.0",
    )
