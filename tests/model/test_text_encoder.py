"""Which states are read, from how many layers. Against transformers' own model: tests/parity."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import MistralConfig

from linocut.catalog import DEV
from linocut.model.text_encoder import TextEncoder


def config(**changes: Any) -> MistralConfig:
    shape = {
        "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 6,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "pad_token_id": 11,
        "sliding_window": None,
    }  # fmt: skip
    return MistralConfig(**(shape | changes))


@pytest.fixture
def encoder(small: SimpleNamespace) -> TextEncoder:
    """Four layers of which 1, 2 and 4 are read; the pad row is zero."""
    encoder = TextEncoder(config(), (1, 2, 4)).eval()
    small.randomise(encoder, 0)
    encoder.model.embed_tokens.weight[11] = 0
    return encoder


def test_layers_behind_the_last_tap_are_not_built(encoder: TextEncoder) -> None:
    assert len(encoder.model.layers) == 4
    assert not [name for name, _ in encoder.named_parameters() if name.startswith("model.norm")]


def test_the_callers_configuration_stays_as_it_was() -> None:
    given = config()
    TextEncoder(given, (1, 2))
    assert given.num_hidden_layers == 6


def test_the_states_lie_side_by_side_layer_by_layer(encoder: TextEncoder) -> None:
    ids = torch.tensor([[1, 20, 21, 22]])
    context = encoder(ids, torch.ones_like(ids))
    assert context.shape == (1, 4, 48)
    assert encoder.context_channels == 48
    embedded = encoder.model.embed_tokens(ids)
    states = [embedded]
    positions = torch.arange(4)[None]
    turning = encoder.model.rotary_emb(embedded, positions)
    for layer in encoder.model.layers:
        states.append(layer(states[-1], position_embeddings=turning, position_ids=positions))
    assert torch.allclose(context, torch.cat((states[1], states[2], states[4]), -1), atol=1e-6)


def test_state_zero_is_the_embeddings(small: SimpleNamespace) -> None:
    encoder = TextEncoder(config(), (0, 3)).eval()
    small.randomise(encoder, 0)
    ids = torch.tensor([[1, 20, 21]])
    context = encoder(ids, torch.ones_like(ids))
    assert torch.equal(context[..., :16], encoder.model.embed_tokens(ids))


def test_the_last_state_is_not_normed(encoder: TextEncoder) -> None:
    ids = torch.tensor([[1, 20, 21, 22]])
    last = encoder(ids, torch.ones_like(ids))[..., 32:]
    assert not torch.allclose(last.pow(2).mean(-1), torch.ones(1, 4), rtol=0.05)


def test_rows_of_zero_padding_are_zero_at_every_layer(encoder: TextEncoder) -> None:
    assert encoder.pads_are_zero(11)
    ids = torch.tensor([[11, 11, 1, 20]])
    context = encoder(ids, torch.tensor([[0, 0, 1, 1]]))
    assert not context[:, :2].any()
    assert context[:, 2:].any()


def test_one_value_in_the_pad_row_is_noticed(encoder: TextEncoder) -> None:
    encoder.model.embed_tokens.weight[11, 3] = 1e-30
    assert not encoder.pads_are_zero(11)


def test_a_prompt_keeps_its_place_without_its_padding(
    encoder: TextEncoder, small: SimpleNamespace
) -> None:
    padded = torch.tensor([[11, 11, 11, 1, 20, 21]])
    mask = (padded != 11).long()
    whole = encoder(padded, mask)[:, 3:]
    ids = padded[:, 3:]
    short = encoder(ids, torch.ones_like(ids), first_position=3)
    assert small.relative_error(short, whole) < 1e-5


def test_a_later_word_changes_no_earlier_row(encoder: TextEncoder) -> None:
    first, second = (
        encoder(ids, torch.ones_like(ids))
        for ids in (torch.tensor([[1, 20, 21, 22]]), torch.tensor([[1, 20, 21, 23]]))
    )
    assert torch.equal(first[:, :3], second[:, :3])
    assert not torch.equal(first[:, 3], second[:, 3])


def test_devs_encoder_is_thirty_layers_of_the_published_size() -> None:
    shape = DEV.text_encoder
    published = config(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
    )
    with torch.device("meta"):
        encoder = TextEncoder(published, DEV.conditioning.layers)
    assert encoder.context_channels == DEV.transformer.context_channels == 15360
    count = sum(weight.numel() for weight in encoder.parameters())
    assert count == 30 * 555_755_520 + 671_088_640
