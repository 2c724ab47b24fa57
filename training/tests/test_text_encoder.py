"""The tokenizer and the encoder: the published ids, one reading for all, free padding."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from linocut.catalog import MINI
from linocut.model.text_encoder import TextEncoder
from linocut.prompt.encode import encode
from linocut.prompt.template import SYSTEM_MESSAGE
from linocut.prompt.tokenizer import PromptTokenizer, open_tokenizer
from linocut_training import fetch, text_encoder
from linocut_training.concepts import CONCEPTS
from linocut_training.text_encoder import (
    Plan,
    context,
    make_tokenizer,
    new_encoder,
    padded,
    phrases,
    token_ids,
    train,
)

FULL = MINI.conditioning.max_tokens
PROMPTS = (
    "a red apple",
    "",
    "A Red APPLE, Light Blue background.",
    "  two spaces before,\ttab and\nline",
    "jack-o'-lantern 123 & 50 %",
    "une café crème, ein Bär, ごはん 🍎",
    "[INST]an instruction[/INST]<pad></s>",
    "a [IMG]picture[IMG_END]",
    "apple " * 80,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tokenizer that learned from a few phrases."""
    target = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(["a red apple", "the apple on a red background", "turn it into a cartoon"] * 4,
                   target)  # fmt: skip
    return target


@pytest.fixture(scope="module")
def theirs(folder) -> PreTrainedTokenizerFast:
    """As transformers opens it."""
    return PreTrainedTokenizerFast.from_pretrained(folder)


@pytest.fixture(scope="module")
def ours(folder) -> PromptTokenizer:
    """As linocut opens it."""
    return open_tokenizer(folder, max_tokens=FULL, pad_token_id=MINI.conditioning.pad_token_id)


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    """An encoder of the real shape that has learned nothing."""
    return new_encoder().eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("marker", "number"),
    [("<unk>", 0), ("<s>", 1), ("</s>", 2), ("[INST]", 3), ("[/INST]", 4), ("[IMG]", 10),
     ("<pad>", 11), ("[IMG_BREAK]", 12), ("[IMG_END]", 13), ("[SYSTEM_PROMPT]", 17),
     ("[/SYSTEM_PROMPT]", 18)],
)  # fmt: skip
def test_markers_have_the_published_ids(marker, number, theirs, ours) -> None:
    assert theirs.convert_tokens_to_ids(marker) == number
    assert theirs.encode(marker, add_special_tokens=False) == [number]
    assert ours.tokenizer.token_to_id(marker) == number


def test_words_come_after_the_markers_and_every_byte_is_known(theirs) -> None:
    ids = theirs.encode("\x00\x7f any byte: é ß 漢 🍎", add_special_tokens=False)
    assert min(ids) >= text_encoder.NUM_SPECIAL
    assert max(ids) < len(theirs) <= MINI.text_encoder.vocab_size
    assert (theirs.pad_token_id, theirs.bos_token_id, theirs.padding_side) == (11, 1, "left")


def test_capitals_and_composed_letters_make_no_difference(theirs) -> None:
    plain = token_ids(theirs, "a red apple in a café")
    assert token_ids(theirs, "A Red APPLE in a CAFÉ") == plain
    assert token_ids(theirs, "a red apple in a cafe\u0301") == plain
    assert token_ids(theirs, "a red apple in a cafe") != plain


def test_a_word_is_one_token_wherever_it_stands(theirs) -> None:
    (apple,) = theirs.encode("apple", add_special_tokens=False)
    assert apple in theirs.encode("a red apple", add_special_tokens=False)
    assert theirs.decode([apple]).strip() == "apple"


@pytest.mark.parametrize(
    "words", ["a red apple", "A RED apple in a caf\u00e9", "red apple", "a cafe\u0301, red apple."]
)
def test_the_tokens_of_a_part_of_a_prompt_are_found(words, theirs) -> None:
    begin = words.lower().index("red apple")
    ((first, end),) = text_encoder.token_spans(theirs, words, [(begin, begin + 9)])
    assert theirs.decode(token_ids(theirs, words)[first:end]).strip() == "red apple"


@pytest.mark.parametrize("prompt", PROMPTS)
def test_training_and_drawing_read_the_same(prompt, theirs, ours) -> None:
    prompt = prompt.replace("[IMG]", "")  # the pipeline and the engine take it out
    found = token_ids(theirs, prompt)
    assert found == list(ours.ids(prompt).ids)
    assert len(found) <= FULL


@pytest.mark.parametrize("prompt", PROMPTS)
def test_linocut_and_transformers_pad_the_prompt_alike(prompt, theirs, ours) -> None:
    prompt = prompt.replace("[IMG]", "")
    read: Any = theirs.apply_chat_template(
        [[{"role": role, "content": [{"type": "text", "text": text}]}
          for role, text in (("system", SYSTEM_MESSAGE), ("user", prompt))]],
        tokenize=True, return_dict=True, return_tensors="pt", padding="max_length",
        truncation=True, max_length=FULL, add_generation_prompt=False,
    )  # fmt: skip
    row = ours.ids(prompt).ids
    ids, mask = padded([list(row)], FULL)
    assert ours.pads_left
    assert torch.equal(read["input_ids"], ids)
    assert read["attention_mask"].tolist() == [[0] * (FULL - len(row)) + [1] * len(row)]
    assert torch.equal(read["attention_mask"], mask) or "<pad>" in prompt


def test_a_plain_string_is_a_message_too(theirs) -> None:
    message = [{"role": "user", "content": "a red apple"}]
    found = theirs.apply_chat_template(message, tokenize=False)
    assert found == "<s>[INST]a red apple[/INST]"


def test_the_pad_row_is_zero_and_no_other(encoder) -> None:
    rows = encoder.model.embed_tokens.weight.abs().amax(1)
    assert torch.nonzero(rows == 0).flatten().tolist() == [11]
    assert encoder.pads_are_zero(11)


def test_a_short_context_is_the_end_of_a_long_one(encoder) -> None:
    rows = [[1, 3, 100, 200, 4], [1, 3, 4], [1, 3, *range(50, 59), 4]]
    long, short = (context(encoder, rows, length) for length in (FULL, 12))
    assert long.shape == (3, FULL, MINI.transformer.context_channels)
    assert torch.allclose(long[:, -12:], short, atol=1e-5)
    for number, row in enumerate(rows):
        assert not long[number, : -len(row)].any()
        assert not short[number, : 12 - len(row)].any()
        assert long[number, -len(row) :].abs().amax(1).min() > 0


def test_the_context_is_what_the_engine_computes(encoder, ours) -> None:
    for prompt in ("a red apple", "", "apple " * 80):
        ids = ours.ids(prompt)
        for zero in (True, False):
            drawn_with = encode(encoder, ids, ours, pads_are_zero=zero)
            assert torch.allclose(context(encoder, [list(ids.ids)], FULL), drawn_with, atol=1e-5)


def test_phrases_are_sorted_and_hold_every_name(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(fetch, "fetch", lambda work: {})
    found = phrases(tmp_path)
    assert found == sorted(set(found)) == phrases(tmp_path)
    assert {name for one in CONCEPTS for name in (one.name, *one.synonyms)} <= set(found)
    assert len(found) > 50 * len(CONCEPTS)


def test_the_student_turns_towards_its_teacher(toy, tmp_path, monkeypatch) -> None:
    corpus = ["a red apple", "apple", "a blue car", "car", "the moon", "a tree", "tree", "sun"]
    taught = torch.randn(len(corpus), text_encoder.TEACHER_WIDTH, generator=torch.manual_seed(3))
    monkeypatch.setattr(text_encoder, "phrases", lambda work: corpus)
    monkeypatch.setattr(text_encoder, "_teach", lambda corpus, work: taught)
    monkeypatch.setattr(text_encoder.parallel, "Log", lambda path: log)
    seen = []

    def log(*, step: int, cosine: float) -> None:
        seen.append(cosine)

    trained = train(tmp_path, Plan(steps=41, batch=8, muon_rate=0.02, adam_rate=0.02))
    assert abs(seen[0]) < 0.3
    assert seen[-1] > 0.6
    assert trained.pads_are_zero(toy.conditioning.pad_token_id)
    saved = torch.load(tmp_path / "text_encoder.pt", weights_only=True)
    assert saved.keys() == trained.state_dict().keys()
    for name, value in trained.state_dict().items():
        assert torch.equal(saved[name], value), name
    assert (tmp_path / "tokenizer" / "tokenizer.json").exists()
