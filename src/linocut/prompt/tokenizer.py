"""Words to token ids, by a checkpoint's own files. Torch-free."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from linocut.errors import CheckpointInvalid
from linocut.prompt.template import DEV_TEMPLATE, render

DEFAULT_PADDING_SIDE = "left"
MARKERS = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True, slots=True)
class PromptIds:
    """A prompt's real token ids, and how many did not fit."""

    ids: tuple[int, ...]
    truncated: int


@dataclass(frozen=True, slots=True)
class PromptTokenizer:
    """What one checkpoint makes of a prompt: template, vocabulary, length and padding."""

    tokenizer: Tokenizer
    template: str
    markers: dict[str, str]
    max_tokens: int
    pad_token_id: int
    pads_left: bool
    cuts_left: bool = False

    def ids(self, prompt: str) -> PromptIds:
        """The wrapped prompt's ids, cut to `max_tokens`, as a rule at the end; never padded."""
        text = render(self.template, prompt, self.markers)
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        lost = max(0, len(ids) - self.max_tokens)
        return PromptIds(tuple(ids[lost:] if self.cuts_left else ids[: self.max_tokens]), lost)


def open_tokenizer(folder: Path, *, max_tokens: int, pad_token_id: int) -> PromptTokenizer:
    """The tokenizer of a checkpoint's `tokenizer` folder, its files used as they are.

    Template: `chat_template.jinja`, else `chat_template` of the configuration, else FLUX.2
    [dev]'s. Padding side: the configuration's, else left; cut on the right unless it says
    otherwise. Raises CheckpointInvalid.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise CheckpointInvalid(
            f"{folder} has no tokenizer.json",
            hint="save the checkpoint with a fast tokenizer (PreTrainedTokenizerFast)",
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises bare Exception on a bad file
        raise CheckpointInvalid(f"{file} cannot be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    config = _read_json(folder / "tokenizer_config.json")
    markers = {name: _marker(config[name]) for name in MARKERS if config.get(name)}
    markers.setdefault("bos_token", "<s>")
    pad = markers.get("pad_token")
    pad_id = tokenizer.token_to_id(pad) if pad else None
    return PromptTokenizer(
        tokenizer=tokenizer,
        template=_template(folder, config),
        markers=markers,
        max_tokens=max_tokens,
        pad_token_id=pad_token_id if pad_id is None else pad_id,
        pads_left=config.get("padding_side", DEFAULT_PADDING_SIDE) == "left",
        cuts_left=config.get("truncation_side") == "left",
    )


def _template(folder: Path, config: dict[str, Any]) -> str:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = config.get("chat_template", DEV_TEMPLATE)
    if not isinstance(template, str):
        raise CheckpointInvalid(f"{folder}: the chat template must be one string")
    return template


def _marker(value: object) -> str:
    # Older configurations write an added token as an object.
    return str(value["content"]) if isinstance(value, dict) else str(value)


def _read_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointInvalid(f"{file} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointInvalid(f"{file} must hold one JSON object")
    return config
