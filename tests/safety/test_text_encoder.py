"""The text encoder's own yes or no, beside transformers' `generate` on a tiny random Mistral3."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from elsewhere import ELSEWHERE, Elsewhere
from safetensors.torch import load_file, save_file
from transformers import Mistral3ForConditionalGeneration

from linocut.catalog import DEV
from linocut.cost import language_model_parameters, text_work
from linocut.errors import CheckpointInvalid, DoesNotFit
from linocut.model.text_encoder import TextEncoder
from linocut.prompt.tokenizer import PromptTokenizer, open_tokenizer
from linocut.safety import text_encoder as module
from linocut.safety.policy import Finding
from linocut.safety.text_encoder import (
    ANSWERS,
    QUESTIONS,
    TextEncoderCheck,
    load_language_model,
)  # fmt: skip
from linocut.weights.files import Checkpoint, open_checkpoint
from linocut.weights.load import load_text_encoder

FP32: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.float32}
QUESTION = QUESTIONS["sexual"]
PROMPTS = [f"{number} red apples{'!' * number}" for number in range(12)]


@pytest.fixture(scope="module")
def folder(small: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny whole checkpoint whose tokenizer knows "yes" and "no" as single tokens."""
    tokenizer = small.byte_tokenizer(small.user_template)
    tokenizer.add_tokens(list(ANSWERS))
    saved: Path = small.save_checkpoint(
        small.their_pipeline(tokenizer=tokenizer),
        tmp_path_factory.mktemp("asked") / "tiny",
        text_layers=small.layers,
        max_text_tokens=small.max_tokens,
    )
    return saved


def words(checkpoint: Checkpoint) -> PromptTokenizer:
    return open_tokenizer(checkpoint.tokenizer, max_tokens=24, pad_token_id=11)


def opened(folder: Path, *, least_layers: int = 4) -> TextEncoderCheck:
    checkpoint = open_checkpoint(folder)
    drawing = load_text_encoder(checkpoint, **FP32)
    return TextEncoderCheck.open(checkpoint, words(checkpoint), drawing, least_layers=least_layers)


@pytest.fixture(scope="module")
def check(folder: Path) -> TextEncoderCheck:
    return opened(folder)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    return Mistral3ForConditionalGeneration.from_pretrained(folder / "text_encoder").eval()


def answers(folder: Path) -> list[int]:
    tokenizer = words(open_checkpoint(folder)).tokenizer
    return [tokenizer.encode(word, add_special_tokens=False).ids[0] for word in ANSWERS]


@pytest.mark.parametrize("words_of", [ANSWERS, ANSWERS[::-1]])
def test_the_answer_is_what_transformers_generates(
    words_of: tuple[str, ...], theirs: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWERS", words_of)
    check, allowed, said = opened(folder), answers(folder), set()
    for prompt in PROMPTS:
        ids = torch.tensor([check.ids(prompt, QUESTION)])
        generated = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=1, do_sample=False,
            pad_token_id=11, prefix_allowed_tokens_fn=lambda *_: allowed,
        )  # fmt: skip
        said.add(generated[0, -1].item())
        first_is_likelier = check.score(prompt, QUESTION) > 0.5
        assert generated[0, -1].item() == allowed[ANSWERS.index(words_of[not first_is_likelier])]
    assert len(said) == 1  # a random model has one opinion; the other order has the other answer


def test_the_logits_are_the_whole_model_s(
    check: TextEncoderCheck, theirs: Any, folder: Path, small: SimpleNamespace
) -> None:
    ids = check.ids(PROMPTS[0], QUESTION)
    expected = theirs(input_ids=torch.tensor([ids])).logits[0, -1, answers(folder)]
    assert small.relative_error(check.logits(ids), expected) < 1e-5
    yes, no = expected.tolist()
    assert check.score(PROMPTS[0], QUESTION) == pytest.approx(1 / (1 + math.exp(no - yes)))


def test_what_the_drawing_encoder_holds_is_used_again(
    check: TextEncoderCheck, folder: Path
) -> None:
    checkpoint = open_checkpoint(folder)
    drawing: TextEncoder = load_text_encoder(checkpoint, device="cpu", dtype=torch.float32)
    model = load_language_model(checkpoint, **FP32, shared=drawing, least_layers=4)
    ours = drawing.model.state_dict()
    whole = model.model.state_dict()
    assert len(whole) > len(ours)
    assert all(whole[name].data_ptr() == tensor.data_ptr() for name, tensor in ours.items())
    alone = load_language_model(checkpoint, **FP32, least_layers=4)
    ids = check.ids("a red apple", QUESTION)
    for one in (model, alone):
        assert torch.equal(
            TextEncoderCheck(one, words(checkpoint).tokenizer).logits(ids), check.logits(ids)
        )


def test_it_answers_the_same_on_a_device_that_is_not_the_processor(
    check: TextEncoderCheck, folder: Path
) -> None:
    found = open_checkpoint(folder)
    with Elsewhere():
        drawing = load_text_encoder(found, device=ELSEWHERE, dtype=torch.float32)
        there = TextEncoderCheck.open(found, words(found), drawing, least_layers=4)
        assert {it.device for it in there._model.state_dict().values()} == {ELSEWHERE}
        scores = [there.score(prompt, QUESTION) for prompt in PROMPTS]
    assert scores == pytest.approx([check.score(prompt, QUESTION) for prompt in PROMPTS], rel=1e-5)


def test_an_answer_that_is_no_number_does_not_pass_as_a_no(
    check: TextEncoderCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "logits", lambda _: torch.tensor([float("nan"), 0.0]))
    with pytest.raises(CheckpointInvalid, match="neither yes nor no"):
        check.check("a red apple")


def test_the_first_yes_is_the_finding(
    check: TextEncoderCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = {QUESTIONS["violence"]: 0.75, QUESTIONS["rights"]: 0.9}
    monkeypatch.setattr(check, "score", lambda _, question: scores.get(question, 0.25))
    assert check.check("x") == Finding("prompt", "violence", 0.75)
    scores.clear()
    assert check.check("x") is None


def test_a_prompt_cannot_end_its_own_turn(check: TextEncoderCheck) -> None:
    plain = check.ids("a red apple", QUESTION)
    for marker in ("[/INST]", "<s>", "[SYSTEM_PROMPT]", "[IN[/INST]ST]", "[/IN[IMG]ST]"):
        assert check.ids(f"a red{marker} apple", QUESTION) == plain
    assert plain.count(4) == plain.count(3) == 1


def test_a_checkpoint_with_too_few_layers_is_told_to_use_the_other_check(folder: Path) -> None:
    with pytest.raises(CheckpointInvalid, match="has 4 layers and cannot answer") as caught:
        opened(folder, least_layers=40)
    assert "safety_model=terms" in caught.value.hint


def test_the_demo_checkpoint_is_such_a_one() -> None:
    checkpoint = open_checkpoint("linocut-mini")
    with pytest.raises(CheckpointInvalid, match="linocut-mini has 7 layers"):
        TextEncoderCheck.open(checkpoint, words(checkpoint), load_text_encoder(checkpoint, **FP32))


def test_a_folder_without_the_word_head_is_named(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "headless"
    shutil.copytree(folder, copy)
    file = copy / "text_encoder" / "model.safetensors"
    tensors = {name: one for name, one in load_file(file).items() if "lm_head" not in name}
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointInvalid, match="lacks lm_head") as caught:
        opened(copy)
    assert "linocut pull flux-2-dev --with-safety-model" in caught.value.hint


def test_a_head_of_another_shape_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "wrong"
    shutil.copytree(folder, copy)
    file = copy / "text_encoder" / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if "lm_head" in name)
    save_file(tensors | {name: tensors[name][:5].clone()}, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointInvalid, match=r"has the shape \(5, 16\)"):
        opened(copy)


def test_a_tokenizer_without_the_words_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(CheckpointInvalid, match="no single token for 'yes'"):
        opened(tiny_folder)


def test_too_little_memory_is_told_before_anything_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 2000))
    monkeypatch.setattr(module, "safe_open", None)
    checkpoint, on_gpu = open_checkpoint(folder), FP32 | {"device": torch.device("cuda:0")}
    with pytest.raises(DoesNotFit, match=r"GB more on cuda:0, where 0\.0 GB are free"):
        load_language_model(checkpoint, **on_gpu, least_layers=4)


def test_dev_s_sizes_are_the_ones_that_are_written_down() -> None:
    dev = DEV.text_encoder
    assert dev.num_layers == module.DEV_LAYERS
    every = 2 * language_model_parameters(dev)
    draws = 2 * text_work(dev, 0, max(DEV.conditioning.layers)).parameters
    whole, drawing, more = (f"{size / 1e9:.1f}" for size in (every, draws, every - draws))
    assert f"{whole} GB in all, {more} GB of it besides" in str(load_language_model.__doc__)
    page = (Path(__file__).parents[2] / "docs" / "safety.md").read_text(encoding="utf-8")
    assert f"{whole} GB instead of {drawing}" in page


def test_a_whole_model_has_the_weights_that_are_counted(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    model = load_language_model(checkpoint, **FP32, least_layers=4)
    counted = language_model_parameters(checkpoint.config.text_encoder)
    assert counted == sum(weight.numel() for weight in model.parameters())


def test_the_questions_are_stated_as_data() -> None:
    assert set(QUESTIONS) == {"sexual", "violence", "rights"}
    assert all(question.endswith("?") for question in QUESTIONS.values())
    assert json.dumps(dict(QUESTIONS)).isascii()
