"""The velocity network as it is trained: with its text encoder, on latents in a grid.

B batch   C channels   H W rows and columns of tokens   T text rows   L tokens
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from linocut.catalog import MINI
from linocut.model import attention
from linocut.model.text_encoder import TextEncoder
from linocut.model.transformer import Transformer
from linocut_training.text_encoder import new_encoder

REFERENCE_TIME = 10
MOST_VARIANTS = 32  # of the compiled network; what comes after them would run uncompiled


class Watched:
    """`attention.spelled_out`, which keeps what looks at what."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []  # [B, heads, L, L] of each block

    def __call__(self, q_BHLD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor) -> Tensor:
        """softmax(q kᵀ / √D) v. [B, H, L, D]"""
        scores_BHLL = (q_BHLD * q_BHLD.shape[-1] ** -0.5) @ k_BHLD.transpose(-1, -2)
        weights_BHLL = scores_BHLL.softmax(-1)
        self.seen.append(weights_BHLL)
        seen_BHLD: Tensor = weights_BHLL @ v_BHLD
        return seen_BHLD


class Tap:
    """A hook that keeps what a block has said last, until it is taken. [B, L, C]

    Of what learns alone: teachers, and copies that are made between two steps, keep nothing.
    """

    def __init__(self) -> None:
        self.said: Tensor | None = None

    def __call__(self, _block: nn.Module, _given: object, said: Tensor) -> None:
        if said.requires_grad:
            self.said = said

    def taken(self) -> Tensor:
        """That, which is kept no longer."""
        said, self.said = self.said, None
        assert said is not None
        return said


class Network(nn.Module):
    """Text encoder and transformer together: what is trained, averaged and saved as one."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.text_encoder: TextEncoder = new_encoder(seed)
        torch.manual_seed(seed)
        self.transformer = Transformer(MINI.transformer, attention.spelled_out)
        initialise(self.transformer)
        self.attend_watched = Watched()  # one for all times, which is compiled once
        # Of the blocks with one stream for all the first and the last but one: early enough for
        # the picture to look at what was recognised, and late, with one block left to draw it.
        self.early, self.late = Tap(), Tap()
        self.transformer.single_blocks[0].register_forward_hook(self.early)
        self.transformer.single_blocks[-2].register_forward_hook(self.late)

    @contextmanager
    def watched(self, *, is_watched: bool = True) -> Iterator[list[Tensor]]:
        """What all tokens look at in each block of what runs meanwhile. [B, heads, L, L] each

        is_watched: False leaves all as it is, and the list empty.
        """
        blocks = (*self.transformer.double_blocks, *self.transformer.single_blocks)
        for block in blocks if is_watched else ():
            block.attend = self.attend_watched
        try:
            yield self.attend_watched.seen
        finally:
            self.attend_watched.seen.clear()
            for block in blocks:
                block.attend = attention.spelled_out

    def forward(
        self, noisy_BCHW: Tensor, t_B: Tensor, guidance_B: Tensor, text_BTC: Tensor,
        references: Sequence[Tensor] = (),
    ) -> Tensor:  # fmt: skip
        """Velocity of the noisy latents, shaped like them and like each of the references."""
        return self.beside(noisy_BCHW, t_B, guidance_B, text_BTC, references)[0]

    def beside(
        self, noisy_BCHW: Tensor, t_B: Tensor, guidance_B: Tensor, text_BTC: Tensor,
        references: Sequence[Tensor], *, corner: tuple[int, int] = (0, 0),
    ) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
        """The velocity, and what comes out where each reference stands. [B, C, H, W] all

        Sampling has no use for the second. Training has: `transformer.REDRAWN_SHARE`. corner: row
        and column of the first token, where the latents are a part of a picture.
        """
        network, (rows, columns) = self.transformer, noisy_BCHW.shape[-2:]
        tokens = [noisy_BCHW.flatten(2).transpose(1, 2)]
        positions = [text_positions(text_BTC.shape[1]), grid_positions(rows, columns, 0, corner)]
        for number, reference_BCHW in enumerate(references, 1):
            tokens.append(reference_BCHW.flatten(2).transpose(1, 2))
            positions.append(grid_positions(rows, columns, REFERENCE_TIME * number))
        out_BLC = network(
            network.img_in(torch.cat(tokens, 1)).float(),  # so that the residual stream is fp32
            network.txt_in(text_BTC).float(),
            rotary=network.rotary(torch.cat(positions).to(noisy_BCHW.device)),
            modulation=network.modulation(t_B, guidance_B),
        )
        velocity, *redrawn = (
            part.transpose(1, 2).reshape(noisy_BCHW.shape)
            for part in out_BLC.split(rows * columns, dim=1)
        )
        return velocity, redrawn


def compile_velocity(network: Network) -> None:
    """From its next call the transformer runs compiled: once for all grids and text lengths.

    But once more each with and without gradients, for teachers, for a single picture, for some
    sizes, and where it is watched: more often than PyTorch puts up with by itself.
    """
    torch._dynamo.config.recompile_limit = MOST_VARIANTS
    network.transformer.compile(dynamic=True)


def text_positions(count: int) -> Tensor:
    """Positions of the last `count` of all text rows. [count, 4]"""
    at_LA = torch.zeros(count, 4, dtype=torch.long)
    at_LA[:, 3] = torch.arange(MINI.conditioning.max_tokens - count, MINI.conditioning.max_tokens)
    return at_LA


def grid_positions(rows: int, columns: int, time: int, corner: tuple[int, int] = (0, 0)) -> Tensor:
    """Positions of a grid's tokens, row by row, the first at the corner. [rows · columns, 4]"""
    at = torch.cartesian_prod(
        torch.tensor([time]), torch.arange(rows), torch.arange(columns), torch.tensor([0])
    )
    return at.reshape(-1, 4) + torch.tensor([0, *corner, 0])


@torch.no_grad()
def initialise(network: Transformer) -> None:
    """Every block starts as the identity; only the shifts are random.

    Without biases a position can enter queries and keys only through what the shift adds.
    """
    for modulation, parts in (
        (network.double_stream_modulation_img.lin, 6),
        (network.double_stream_modulation_txt.lin, 6),
        (network.single_stream_modulation.lin, 3),
    ):
        shifts = torch.randn_like(modulation.weight) * 0.02
        rows = shifts.view(parts, -1, shifts.shape[1])
        keep = torch.zeros(parts, 1, 1)
        keep[::3] = 1
        modulation.weight.copy_((rows * keep).flatten(0, 1))
    network.final_layer.linear.weight.zero_()
    for parameter in network.final_layer.adaLN_modulation.parameters():
        parameter.zero_()
