"""The velocity network as it is trained: with its text encoder, on latents in a grid.

B batch   C channels   H W rows and columns of tokens   T text rows   L tokens
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from linocut.catalog import MINI
from linocut.model import attention
from linocut.model.text_encoder import TextEncoder
from linocut.model.transformer import Transformer
from linocut_training.text_encoder import new_encoder

REFERENCE_TIME = 10


class Network(nn.Module):
    """Text encoder and transformer together: what is trained, averaged and saved as one."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.text_encoder: TextEncoder = new_encoder(seed)
        torch.manual_seed(seed)
        self.transformer = Transformer(MINI.transformer, attention.spelled_out)
        initialise(self.transformer)

    def forward(
        self, noisy_BCHW: Tensor, t_B: Tensor, guidance_B: Tensor, text_BTC: Tensor,
        reference_BCHW: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Velocity of the noisy latents, shaped like them."""
        return self.beside(noisy_BCHW, t_B, guidance_B, text_BTC, reference_BCHW)[0]

    def beside(
        self, noisy_BCHW: Tensor, t_B: Tensor, guidance_B: Tensor, text_BTC: Tensor,
        reference_BCHW: Tensor | None, *, corner: tuple[int, int] = (0, 0),
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """The velocity, and what comes out where the reference stands. [B, C, H, W] both

        Sampling has no use for the second. Training has: `transformer.REDRAWN_SHARE`. corner: row
        and column of the first token, where the latents are a part of a picture.
        """
        network, (rows, columns) = self.transformer, noisy_BCHW.shape[-2:]
        tokens = [noisy_BCHW.flatten(2).transpose(1, 2)]
        positions = [text_positions(text_BTC.shape[1]), grid_positions(rows, columns, 0, corner)]
        if reference_BCHW is not None:
            tokens.append(reference_BCHW.flatten(2).transpose(1, 2))
            positions.append(grid_positions(rows, columns, REFERENCE_TIME))
        out_BLC = network(
            network.img_in(torch.cat(tokens, 1)).float(),  # so that the residual stream is fp32
            network.txt_in(text_BTC).float(),
            rotary=network.rotary(torch.cat(positions).to(noisy_BCHW.device)),
            modulation=network.modulation(t_B, guidance_B),
        )
        grids = [
            part.transpose(1, 2).reshape(noisy_BCHW.shape)
            for part in out_BLC.split(rows * columns, dim=1)
        ]
        return grids[0], grids[1] if reference_BCHW is not None else None


def compile_velocity(network: Network) -> None:
    """From its next call the transformer runs compiled: once for all grids and text lengths."""
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
