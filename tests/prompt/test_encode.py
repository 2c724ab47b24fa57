"""Ids to context rows, the short way and the long way."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import MistralConfig

from linocut.model.text_encoder import TextEncoder
from linocut.prompt.encode import encode
from linocut.prompt.tokenizer import PromptIds, PromptTokenizer

PROMPT = PromptIds((1, 3, 20, 21, 4), 0)


@pytest.fixture(scope="module")
def encoder(small: SimpleNamespace) -> TextEncoder:
    """Random, with a zero pad row."""
    config = MistralConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=4, pad_token_id=11,
        sliding_window=None,
    )  # fmt: skip
    encoder = TextEncoder(config, (1, 2, 3)).eval()
    small.randomise(encoder, 0)
    encoder.model.embed_tokens.weight[11] = 0
    return encoder


def tokenizer(*, pads_left: bool = True, most: int = 12) -> PromptTokenizer:
    nothing = Tokenizer(models.BPE())
    return PromptTokenizer(nothing, "", {}, max_tokens=most, pad_token_id=11, pads_left=pads_left)


def test_the_short_way_gives_what_the_long_way_gives(
    encoder: TextEncoder, small: SimpleNamespace
) -> None:
    short = encode(encoder, PROMPT, tokenizer(), pads_are_zero=True)
    long = encode(encoder, PROMPT, tokenizer(), pads_are_zero=False)
    assert small.relative_error(short, long) < 1e-5
    assert short.shape == (1, 12, 48)
    assert not short[:, :7].any()
    assert short[:, 7:].any(-1).all()


def lengths(encoder: TextEncoder, prompt: PromptIds, **how: bool) -> list[int]:
    seen: list[int] = []

    def note(_module: object, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].shape[1])

    hook = encoder.model.embed_tokens.register_forward_pre_hook(note)
    encode(encoder, prompt, tokenizer(pads_left=how["left"]), pads_are_zero=how["zero"])
    hook.remove()
    return seen


@pytest.mark.parametrize(
    ("zero", "left", "length"), [(True, True, 5), (False, True, 12), (True, False, 12)]
)
def test_padding_is_run_only_where_it_is_seen(
    zero: bool, left: bool, length: int, encoder: TextEncoder
) -> None:
    assert lengths(encoder, PROMPT, zero=zero, left=left) == [length]


@pytest.mark.parametrize(("zero", "first", "last"), [(True, 7, 11), (False, 0, 11)])
def test_a_word_keeps_the_position_that_padding_gives_it(
    zero: bool, first: int, last: int, encoder: TextEncoder
) -> None:
    """In fp32 only distances matter; in bf16 the angles of position 511 are rounded otherwise."""
    seen: list[Tensor] = []

    def note(_module: object, _inputs: object, given: dict[str, Tensor]) -> None:
        seen.append(given["position_ids"])

    hook = encoder.model.register_forward_pre_hook(note, with_kwargs=True)
    encode(encoder, PROMPT, tokenizer(), pads_are_zero=zero)
    hook.remove()
    assert [at.tolist() for at in seen] == [[list(range(first, last + 1))]]


def test_padding_on_the_right_sees_the_words_before_it(encoder: TextEncoder) -> None:
    context = encode(encoder, PROMPT, tokenizer(pads_left=False), pads_are_zero=True)
    assert context[:, 5:].any(-1).all()


def test_a_full_prompt_has_no_padding(encoder: TextEncoder, small: SimpleNamespace) -> None:
    full = PromptIds((1, *range(20, 30), 4), 3)
    short = encode(encoder, full, tokenizer(), pads_are_zero=True)
    assert small.relative_error(short, encode(encoder, full, tokenizer(), pads_are_zero=False)) == 0


def test_a_prompt_of_no_tokens_is_all_padding(encoder: TextEncoder) -> None:
    context = encode(encoder, PromptIds((), 0), tokenizer(), pads_are_zero=True)
    assert context.shape == (1, 12, 48)
    assert not context.any()


def test_a_prompt_does_not_depend_on_what_stands_in_its_padding(
    encoder: TextEncoder, small: SimpleNamespace
) -> None:
    """Masked keys are not seen, so that the real rows are the same with any pad row."""
    zero = encode(encoder, PROMPT, tokenizer(), pads_are_zero=False)
    encoder.model.embed_tokens.weight[11] = 1
    other = encode(encoder, PROMPT, tokenizer(), pads_are_zero=False)
    encoder.model.embed_tokens.weight[11] = 0
    assert small.relative_error(other[:, 7:], zero[:, 7:]) < 1e-6
    assert other[:, :7].any(-1).all()
    assert torch.equal(other[:, 0], other[:, 6])
