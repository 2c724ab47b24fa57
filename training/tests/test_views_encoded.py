"""What views and tiles have in common: latents by shares, empty canvases, and what is on them."""

from pathlib import Path

import numpy as np
import pytest

from linocut.catalog import MINI
from linocut_training import views
from linocut_training.concepts import BACKGROUNDS


@pytest.mark.parametrize("count", [1, 2, 19])
def test_shares_of_anything_are_joined_in_its_order(tmp_path, blurred, count) -> None:
    file = tmp_path / "latents" / "shades.npy"

    def shade(number: int) -> np.ndarray:
        return np.full((64, 96, 3), 10 * number, np.uint8)

    for processes in (1, 2, 3):
        for rank in range(processes):
            views.encode_into(file, shade, range(count), model=blurred(), rank=rank,
                              processes=processes)  # fmt: skip
        assert len(list(file.parent.iterdir())) == processes
        whole = views.joined(file, processes)
        assert whole.dtype == np.float16
        assert whole.shape == (count, MINI.transformer.in_channels, 2, 3)
        wanted = np.arange(count) * 10 / 127.5 - 1
        assert np.abs(whole[:, :3] - wanted[:, None, None, None]).max() < 1e-3


def test_what_was_not_saved_whole_leaves_what_was_there(tmp_path, monkeypatch) -> None:
    file, latents = tmp_path / "some.npy", np.arange(6, dtype=np.float16)
    views.save(file, latents)

    def broken(target: Path, _: np.ndarray) -> None:
        target.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(np, "save", broken)
    with pytest.raises(OSError, match="no space left"):
        views.save(file, latents + 1)
    assert np.array_equal(np.load(file), latents)


def test_every_plain_background_has_an_empty_canvas(blurred) -> None:
    empty = views.backgrounds(blurred(), (2, 5))
    assert len(empty) == len(BACKGROUNDS)
    for latents, colour in zip(empty, BACKGROUNDS.values(), strict=True):
        assert latents.shape == (MINI.transformer.in_channels, 2, 5)
        wanted = np.array(colour) / 127.5 - 1
        assert np.allclose(latents[:3], wanted[:, None, None], atol=1e-4)


def test_a_canvas_made_even_has_the_first_column_of_those_inside() -> None:
    canvas = np.random.default_rng(0).standard_normal((2, 3, 8)).astype(np.float32)
    even, before = views.evened(canvas), canvas.copy()
    assert np.array_equal(even[:, :, 0], canvas[:, :, 3])
    assert np.array_equal(even[:, :, 1:], canvas[:, :, 1:])
    assert np.array_equal(canvas, before)


@pytest.mark.parametrize("has_stripe", [True, False])
def test_a_thing_is_what_is_not_background_whether_that_has_a_stripe_or_not(has_stripe) -> None:
    plain = np.full((2, 4, 8), 0.5, np.float32)
    thing = np.zeros_like(plain)
    thing[:, 1:3, 0:5] = 0.25
    square = (plain + thing).astype(np.float16)
    square[1, :, 0] += 2 * has_stripe
    plain[1, :, 0] += 2
    assert np.allclose(views.thing_of(square, plain), thing, atol=2e-3)
