"""Both spellings of attention compute the formula."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from linocut.catalog import TransformerConfig
from linocut.model import attention
from linocut.model.transformer import Transformer
from linocut.sampling import denoise, tokens


@pytest.mark.parametrize("attend", [attention.fused, attention.spelled_out])
def test_attention_is_the_softmax_weighted_mean_of_the_values(
    attend: attention.Attention, small: SimpleNamespace
) -> None:
    q, k, v = 2 * torch.randn(3, 2, 3, 7, 8, generator=torch.Generator().manual_seed(0))
    seen = attend(q, k, v)
    for token in range(7):
        scores = torch.einsum("bhd,bhld->bhl", q[:, :, token].double(), k.double()) / 8**0.5
        mean = torch.einsum("bhl,bhld->bhd", scores.softmax(-1), v.double())
        assert small.relative_error(seen[:, :, token], mean) < 1e-6


def test_a_network_runs_with_the_attention_it_is_given(small: SimpleNamespace) -> None:
    calls = []

    def counted(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        calls.append(q.shape)
        return attention.spelled_out(q, k, v)

    config: TransformerConfig = small.transformer
    network = Transformer(config, counted)
    small.randomise(network, 0)
    drawn = tokens.picture_tokens(torch.randn(1, 16, 2, 3))
    text = tokens.text_tokens(torch.randn(1, 4, 48))
    velocity = denoise.bind(network, drawn, text=text, references=None, guidance=3.0, levels=(1.0,))
    velocity(drawn.x_BLC, 0)
    assert calls == [(1, 2, 10, 32)] * (config.num_double_blocks + config.num_single_blocks)
