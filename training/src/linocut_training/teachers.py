"""What each stage teaches of pictures without a reference: the picture, and what guidance adds.

Whose answers these are depends on the stage, and in the fourth on what a picture shows.

B batch   C channels   H W rows and columns of tokens
"""

from __future__ import annotations

from functools import partial
from itertools import product

import torch
from torch import Tensor

from linocut_training import canvases, guidance
from linocut_training.batches import Batch
from linocut_training.network import Network
from linocut_training.state import Training
from linocut_training.text_encoder import context
from linocut_training.tokens import Tokens


def guided(
    training: Training, batch: Batch, tokens: Tokens, *,
    noise: Tensor, t_B: Tensor, scale_B: Tensor, length: int,
) -> Tensor:  # fmt: skip
    """The velocity that a stage teaches under each guidance, of pictures without a reference."""
    clean, level = batch.clean_BCHW, t_B[:, None, None, None]
    rows = tokens.rows(batch.captions)
    noisy, target = torch.lerp(clean, noise, level), noise - clean
    asked = partial(answers, noisy=noisy, t_B=t_B, length=length)
    if batch.is_new and training.is_guided:
        return target + _own(
            training.network, noisy, rows=rows, others=tokens.rows(batch.others), scale_B=scale_B,
            t_B=t_B, length=length,
        )  # fmt: skip
    if training.styled is not None:
        others = tokens.rows(batch.others) if training.leads_away else rows
        taught = partial(
            _taught, training, batch.known, rows=rows, others=others, scale_B=scale_B, t_B=t_B,
            length=length,
        )  # fmt: skip
        if batch.square_BCHW is None:
            return taught(noisy)
        middle = torch.lerp(batch.square_BCHW, canvases.middle(noise), level)
        return canvases.around(taught(middle), target, clean, batch.square_BCHW)
    if training.guided is not None:
        others = tokens.rows(batch.others)
        return guidance.styled(asked(training.guided), rows, others, scale_B)
    if training.teacher is not None:
        assert training.weaker is not None
        teacher, weaker = asked(training.teacher), asked(training.weaker)
        empty = tokens.rows([""] * len(rows))
        return target + guidance.change(teacher, weaker, rows, empty, scale_B)
    return target


def _own(
    network: Network, noisy: Tensor, *,
    rows: guidance.Rows, others: guidance.Rows, scale_B: Tensor, t_B: Tensor, length: int,
) -> Tensor:  # fmt: skip
    """What the network's own guidance adds; it is asked where the guidance is not 1 alone."""
    added = torch.zeros_like(noisy)
    mine = (scale_B != 1).nonzero().flatten().tolist()
    if mine:
        asked = answers(network, noisy[mine], t_B[mine], length)
        its_rows, its_others = ([some[index] for index in mine] for some in (rows, others))
        added[mine] = guidance.own(asked, its_rows, its_others, scale_B[mine]).to(added.dtype)
    return added


def _taught(
    training: Training, known: list[bool], noisy: Tensor, *,
    rows: guidance.Rows, others: guidance.Rows, scale_B: Tensor, t_B: Tensor, length: int,
) -> Tensor:  # fmt: skip
    """What the teachers of stage four say: of what was known before, the checkpoint before.

    Where `others` are other words than `rows`, the answer leads away from them.
    """
    assert training.styled is not None
    velocity = torch.empty_like(noisy)
    earlier = training.earlier or training.styled
    for (teacher, its), is_rivalled in product(
        ((earlier, True), (training.styled, False)), (True, False)
    ):
        mine = [
            index
            for index, it in enumerate(known)
            if it is its and (rows[index] != others[index]) is is_rivalled
        ]
        if not mine:
            continue
        asked = answers(teacher, noisy[mine], t_B[mine], length)
        its_rows, its_scale_B = [rows[index] for index in mine], scale_B[mine]
        if is_rivalled:
            away = [others[index] for index in mine]
            said = guidance.styled(asked, its_rows, away, its_scale_B)
        else:
            said = asked(its_rows, its_scale_B)
        velocity[mine] = said.to(velocity.dtype)
    return velocity


def answers(network: Network, noisy: Tensor, t_B: Tensor, length: int) -> guidance.Velocity:
    """What a network says of these latents under any words and guidance; it learns nothing."""

    @torch.no_grad()
    def velocity(rows: list[list[int]], scale_B: Tensor) -> Tensor:
        text = context(network.text_encoder, rows, length)
        result: Tensor = network(noisy, t_B, scale_B, text)
        return result

    return velocity
