"""The context of a prompt is what Flux2Pipeline.encode_prompt makes of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import Flux2Pipeline
from torch import Tensor
from transformers import Mistral3ForConditionalGeneration, PreTrainedTokenizerFast

from linocut.engine.engine import tokenizer_of
from linocut.prompt.encode import encode
from linocut.prompt.template import DEV_TEMPLATE
from linocut.weights.files import open_checkpoint
from linocut.weights.load import load_text_encoder

EXACT = 1e-5
BF16 = 1e-2
LAYERS = (1, 2, 3)
EXCERPT = Path(__file__).parents[1] / "prompt" / "data" / "tekken_excerpt.json"
LONG = "a long and winding prompt that does not fit"


def our_context(folder: Path, prompt: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """The context as the engine makes it from a checkpoint's files."""
    checkpoint = open_checkpoint(folder)
    encoder = load_text_encoder(checkpoint, device="cpu", dtype=dtype)
    tokenizer = tokenizer_of(checkpoint)
    zero = encoder.pads_are_zero(tokenizer.pad_token_id)
    return encode(encoder, tokenizer.ids(prompt), tokenizer, pads_are_zero=zero)


def their_context(pipeline: Any, prompt: str, most: int) -> Tensor:
    context, _ = pipeline.encode_prompt(
        prompt, max_sequence_length=most, text_encoder_out_layers=LAYERS
    )
    found: Tensor = context
    return found


@pytest.fixture(scope="module", params=["zero pad row", "other pad row", "padding on the right"])
def case(
    request: pytest.FixtureRequest, small: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Path]:
    """A pipeline, and the folder it was saved to: the short path, the padded path, the right."""
    encoder = small.their_text_encoder(1)
    if request.param == "other pad row":
        encoder.model.language_model.embed_tokens.weight[11] = 0.3
    side = "right" if request.param == "padding on the right" else "left"
    tokenizer = small.byte_tokenizer(small.user_template, padding_side=side)
    pipeline = small.their_pipeline(text_encoder=encoder, tokenizer=tokenizer)
    folder = tmp_path_factory.mktemp("case") / "checkpoint"
    small.save_checkpoint(pipeline, folder, text_layers=LAYERS, max_text_tokens=small.max_tokens)
    return pipeline, folder


@pytest.mark.parametrize("prompt", ["a red apple", "", "[IMG] two [IMG]cats", "ä 苹果", LONG])
def test_the_context_is_theirs(prompt: str, case: tuple[Any, Path], small: SimpleNamespace) -> None:
    pipeline, folder = case
    expected = their_context(pipeline, prompt, small.max_tokens)
    assert expected.shape == (1, small.max_tokens, 48)
    assert small.relative_error(our_context(folder, prompt), expected) <= EXACT


def test_the_comparison_would_see_the_wrong_layers(
    case: tuple[Any, Path], small: SimpleNamespace
) -> None:
    """That the test is not blind: a tap one layer too deep is another context."""
    pipeline, folder = case
    wrong, _ = pipeline.encode_prompt(
        "a red apple", max_sequence_length=small.max_tokens, text_encoder_out_layers=(1, 2, 4)
    )
    assert small.relative_error(our_context(folder, "a red apple"), wrong) > 1000 * EXACT


def test_in_bf16_the_context_is_theirs(case: tuple[Any, Path], small: SimpleNamespace) -> None:
    _, folder = case
    theirs = Mistral3ForConditionalGeneration.from_pretrained(
        folder / "text_encoder", dtype=torch.bfloat16, attn_implementation="sdpa"
    )
    expected = Flux2Pipeline._get_mistral_3_small_prompt_embeds(
        theirs.eval(),
        case[0].tokenizer,
        "a red apple",
        max_sequence_length=small.max_tokens,
        hidden_states_layers=LAYERS,
    )
    found = our_context(folder, "a red apple", torch.bfloat16)
    assert found.dtype == expected.dtype == torch.bfloat16
    assert small.relative_error(found, expected.float()) <= BF16


@pytest.mark.parametrize("prompt", ["a red apple", "[IMG]一只红苹果在木桌上 🍎", " apple" * 490])
def test_devs_context_is_theirs(prompt: str, dev: tuple[Any, Path], small: SimpleNamespace) -> None:
    """dev's system message, words, 512 tokens and layers 10, 20 and 30, all by default."""
    pipeline, folder = dev
    expected, _ = pipeline.encode_prompt(prompt)
    assert expected.shape == (1, 512, 48)
    assert small.relative_error(our_context(folder, prompt), expected) <= EXACT


@pytest.fixture(scope="module")
def dev(small: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A narrow encoder of dev's depth with dev's own words, and no `linocut.json`."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(EXCERPT),
        bos_token="<s>",  # noqa: S106 - a marker's name
        pad_token="<pad>",  # noqa: S106
        padding_side="left",
        model_max_length=512,
    )
    tokenizer.chat_template = DEV_TEMPLATE
    encoder = small.their_text_encoder(1, vocabulary=131_072, layers=31)
    pipeline = small.their_pipeline(text_encoder=encoder, tokenizer=tokenizer)
    folder = tmp_path_factory.mktemp("dev") / "checkpoint"
    return pipeline, small.save_checkpoint(pipeline, folder)
