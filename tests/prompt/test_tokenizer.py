"""Words to ids by a checkpoint's own files; dev's ids are those of its published tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer

from linocut.catalog import TextConditioning
from linocut.errors import CheckpointInvalid
from linocut.prompt.template import SYSTEM_MESSAGE
from linocut.prompt.tokenizer import PromptTokenizer, open_tokenizer

DATA = Path(__file__).parent / "data"
# Mistral's own tokenizer's answers on the whole published table: see data/make_excerpt.py.
IDS: dict[str, list[int]] = json.loads((DATA / "tekken_ids.json").read_text(encoding="utf-8"))
PROMPTS = [text for text in IDS if text != SYSTEM_MESSAGE]
SYSTEM_IDS = [
    4568, 1584, 1420, 26554, 1455, 12738, 2314, 3937, 38340, 1046, 3213, 5628, 37253, 11688, 30557,
    1408, 3481, 14608, 1044, 3481, 1010, 2452, 5604, 1321, 10636, 3816, 67813, 1046,
]  # fmt: skip
DEV = TextConditioning()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tokenizer folder that holds the vocabulary alone."""
    shutil.copy(DATA / "tekken_excerpt.json", tmp_path / "tokenizer.json")
    return tmp_path


def opened(folder: Path, *, max_tokens: int = DEV.max_tokens, **config: Any) -> PromptTokenizer:
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return open_tokenizer(folder, max_tokens=max_tokens, pad_token_id=DEV.pad_token_id)


def test_devs_conditioning_is_the_published_one() -> None:
    assert TextConditioning(layers=(10, 20, 30), max_tokens=512, pad_token_id=11) == DEV


@pytest.mark.parametrize("prompt", PROMPTS)
def test_devs_ids_are_the_published_ones(prompt: str, folder: Path) -> None:
    found = opened(folder).ids(prompt)
    assert list(found.ids) == [1, 17, *SYSTEM_IDS, 18, 3, *IDS[prompt], 4]
    assert found.truncated == 0


def test_the_ids_of_the_system_message_are_mistrals_own() -> None:
    assert IDS[SYSTEM_MESSAGE] == SYSTEM_IDS
    assert SYSTEM_IDS[20] == 1010  # the line break


def test_dev_pads_on_the_left_with_eleven(folder: Path) -> None:
    tokenizer = opened(folder)
    assert tokenizer.pads_left
    assert tokenizer.pad_token_id == 11
    assert tokenizer.max_tokens == 512


def test_four_hundred_and_seventy_nine_tokens_remain_for_devs_prompt(folder: Path) -> None:
    tokenizer = opened(folder)
    assert tokenizer.ids(" apple" * 479).truncated == 0
    found = tokenizer.ids(" apple" * 480)
    assert found.truncated == 1
    assert len(found.ids) == 512
    assert found.ids[-1] == found.ids[-2] != 4  # it is the end that is lost


def test_a_checkpoint_may_cut_at_the_beginning(folder: Path) -> None:
    whole = opened(folder).ids("a red apple").ids
    found = opened(folder, max_tokens=4, truncation_side="left").ids("a red apple")
    assert found.ids == whole[-4:]
    assert found.truncated == len(whole) - 4


def test_nothing_is_padded_and_the_files_own_limits_are_not_used(folder: Path) -> None:
    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json"))
    vocabulary.enable_padding(length=100, pad_id=11, pad_token="<pad>")  # noqa: S106 - a marker
    vocabulary.enable_truncation(3)
    vocabulary.save(str(folder / "tokenizer.json"))
    assert len(opened(folder).ids("a red apple").ids) == 36


def test_the_folders_template_counts_more_than_its_configurations(folder: Path) -> None:
    configured = opened(folder, chat_template="[INST]{{ bos_token }}[/INST]", bos_token="<s>")  # noqa: S106
    assert configured.ids("a red apple").ids == (3, 1, 4)
    (folder / "chat_template.jinja").write_text("{{ bos_token }}", encoding="utf-8")
    assert opened(folder).ids("a red apple").ids == (1,)


def test_markers_may_be_written_as_objects(folder: Path) -> None:
    tokenizer = opened(folder, pad_token={"content": "</s>"}, bos_token={"content": "<unk>"})
    assert tokenizer.pad_token_id == 2
    assert tokenizer.ids("").ids[0] == 0


def test_an_unknown_pad_marker_leaves_the_encoders_own(folder: Path) -> None:
    assert opened(folder, pad_token="<nothing>").pad_token_id == 11  # noqa: S106


def test_padding_stands_where_the_configuration_says(folder: Path) -> None:
    assert not opened(folder, padding_side="right").pads_left


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("tokenizer.json", None, "no tokenizer.json"),
        ("tokenizer.json", "{", "cannot be read"),
        ("tokenizer.json", '{"model": {"type": "Unheard"}}', "cannot be read"),
        ("tokenizer_config.json", "{", "not valid JSON"),
        ("tokenizer_config.json", "\ud800", "not valid JSON"),
        ("tokenizer_config.json", "[]", "no JSON object"),
        ("tokenizer_config.json", '{"a": ' + "[" * 100_000, "not valid JSON"),
        ("tokenizer_config.json", '{"chat_template": ["a"]}', "a text is needed"),
        ("tokenizer_config.json", '{"bos_token": {"x": 1}}', "no content"),
        ("tokenizer_config.json", '{"bos_token": 7}', "a text is needed"),
        ("tokenizer_config.json", r'{"pad_token": "\ud800"}', "a text is needed"),
        ("tokenizer_config.json", '{"padding_side": "up"}', '"left" or "right" is needed'),
        ("tokenizer_config.json", '{"truncation_side": 1}', '"left" or "right" is needed'),
        ("chat_template.jinja", "\ud800", "cannot be read"),
    ],
)
def test_broken_files_are_refused_in_words(
    file: str, content: str | None, complaint: str, folder: Path
) -> None:
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(CheckpointInvalid, match=complaint) as caught:
        opened(folder)
    assert str(folder) in caught.value.message


@pytest.mark.parametrize("prompt", ["a red apple", "", "[IMG] x", "</s><s>[INST]"])
def test_ids_are_those_that_transformers_gives(
    prompt: str, tmp_path: Path, small: SimpleNamespace
) -> None:
    theirs = small.byte_tokenizer(small.user_template, most=100)
    theirs.save_pretrained(tmp_path)
    parts = [{"type": "text", "text": prompt.replace("[IMG]", "")}]
    expected = theirs.apply_chat_template([{"role": "user", "content": parts}], return_dict=True)
    assert list(opened(tmp_path).ids(prompt).ids) == expected["input_ids"]
