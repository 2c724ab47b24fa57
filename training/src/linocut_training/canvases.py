"""Every canvas, taught by the square one: what a wide or tall picture's velocity has to be.

A view on a wide or tall grid is its square view with background beside it, token by token. So what
a network that draws squares well says of the square is what has to be said in the middle of the
canvas: no noise of pictures is in it, and guidance is, so that it is quick to learn.

B batch   C channels   H W rows and columns of tokens   S side of the square in the middle
"""

from __future__ import annotations

from torch import Tensor


def middle(latents_BCHW: Tensor) -> Tensor:
    """Where the square stands, as a view: whole tokens, as `views.picture` has it. [B, C, S, S]"""
    rows, columns = latents_BCHW.shape[-2:]
    side = min(rows, columns)
    top, left = (rows - side) // 2, (columns - side) // 2
    return latents_BCHW[:, :, top : top + side, left : left + side]


def around(
    known_BCSS: Tensor, velocity_BCHW: Tensor, clean_BCHW: Tensor, square_BCSS: Tensor
) -> Tensor:
    """The velocity of a canvas with what is known of the square in its middle. [B, C, H, W]

    velocity_BCHW, clean_BCHW: noise - picture, and the picture's latents, for the whole canvas.
    square_BCSS: the square picture's own latents; those in the middle of the canvas are a little
    different at the square's border, because the encoder sees background where that has an end.
    """
    result = velocity_BCHW.clone()
    middle(result).copy_(known_BCSS + square_BCSS - middle(clean_BCHW))
    return result
