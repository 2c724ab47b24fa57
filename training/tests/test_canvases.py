"""What a canvas is taught: the square's velocity in its middle, the background's beside it."""

import numpy as np
import pytest
import torch

from linocut_training import canvases, views

GRIDS = [grid for grid in views.grids() if grid not in views.SMALLER]


@pytest.mark.parametrize("grid", GRIDS)
def test_the_middle_is_where_views_have_their_square(grid, tmp_path, cutouts) -> None:
    cutouts(tmp_path)
    view = views.View(concept=0, style=1, placement=0, colour=views.WHITE)
    side = views.PIXELS
    pixels = views.to_tensor(views.picture(tmp_path, view, grid))
    tokens = pixels.unflatten(2, (-1, side)).unflatten(1, (-1, side)).movedim(2, -2).flatten(3)
    middle = canvases.middle(tokens.movedim(0, -1).flatten(2).permute(2, 0, 1)[None])[0]
    square = views.to_tensor(views.picture(tmp_path, view, views.SQUARE))
    there = square.unflatten(2, (-1, side)).unflatten(1, (-1, side)).movedim(2, -2).flatten(3)
    assert torch.equal(middle, there.movedim(0, -1).flatten(2).permute(2, 0, 1))


@pytest.mark.parametrize("grid", [(8, 14), (14, 8), (8, 11), (8, 8)])
def test_a_teacher_that_knows_the_picture_makes_the_velocity_what_it_is(grid) -> None:
    rng = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(2, 3, *grid, generator=rng) for _ in range(2))
    square = canvases.middle(clean) + 0.1 * torch.randn(2, 3, 8, 8, generator=rng)
    knows = canvases.middle(noise) - square
    velocity = noise - clean
    target = canvases.around(knows, velocity, clean, square)
    np.testing.assert_allclose(target, velocity, atol=1e-6)


def test_only_the_middle_is_the_teachers() -> None:
    clean, velocity = torch.zeros(1, 2, 8, 12), torch.full((1, 2, 8, 12), 3.0)
    known = torch.full((1, 2, 8, 8), 5.0)
    target = canvases.around(known, velocity, clean, torch.ones(1, 2, 8, 8))
    assert (target[..., 2:10] == 6).all()
    assert (target[..., :2] == 3).all()
    assert (target[..., 10:] == 3).all()
    assert (velocity == 3).all()
