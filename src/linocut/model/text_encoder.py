"""The text encoder of FLUX.2, as far as it is read: hidden states of a Mistral decoder.

B batch   T text tokens   C channels

The network is `transformers`' own; only the layers below the last tapped state are built, and the
final norm is left out, because the tapped states are the raw residual stream.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from transformers import MistralConfig, MistralModel


class TextEncoder(nn.Module):
    """Prompt tokens to the context that the transformer attends to.

    layers: indices of hidden states, 0 being the embeddings (dev: 10, 20, 30), in the order in
    which they are laid side by side.
    """

    def __init__(self, config: MistralConfig, layers: tuple[int, ...]) -> None:
        super().__init__()
        config = copy.deepcopy(config)
        config.num_hidden_layers = max(layers)
        # Eager attention would average over masked keys in padded rows; SDPA leaves them zero,
        # which is what the published pipeline computes.
        config._attn_implementation = "sdpa"
        self.layers = layers
        self.model = MistralModel(config)
        self.model.norm = nn.Identity()

    @property
    def context_channels(self) -> int:
        """Channels of the context: as many encoder widths as there are tapped states."""
        return len(self.layers) * int(self.model.config.hidden_size)

    def pads_are_zero(self, pad_token_id: int) -> bool:
        """Whether padded rows are exactly zero at every layer, so that they need not be run."""
        return not self.model.embed_tokens.weight[pad_token_id].any().item()

    def forward(self, ids_BT: Tensor, mask_BT: Tensor, *, first_position: int = 0) -> Tensor:
        """The tapped states side by side, layer-major. [B, T, len(layers) · C]

        mask_BT: 1 for real tokens, 0 for padding. first_position: where the first column stands,
        so that a prompt run without its left padding keeps its place.
        """
        positions = torch.arange(ids_BT.shape[1], device=ids_BT.device) + first_position
        output = self.model(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            position_ids=positions[None],
            output_hidden_states=True,
            use_cache=False,
        )
        return torch.cat([output.hidden_states[layer] for layer in self.layers], -1)
