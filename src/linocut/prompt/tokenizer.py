"""Words to token ids, by a checkpoint's own files. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from linocut.errors import CheckpointInvalid
from linocut.fields import Fields, read_fields
from linocut.prompt.template import DEV_TEMPLATE, render

SIDES: Final = ("left", "right")
MARKERS: Final = ("bos_token", "eos_token", "unk_token", "pad_token")


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
    file = folder / "tokenizer_config.json"
    config = read_fields(file) if file.is_file() else Fields(file, {})
    config.only("padding_side", *SIDES)
    config.only("truncation_side", *SIDES)
    markers = {name: text for name in MARKERS if (text := _marker(config, name))}
    markers.setdefault("bos_token", "<s>")
    pad = markers.get("pad_token")
    pad_id = tokenizer.token_to_id(pad) if pad else None
    return PromptTokenizer(
        tokenizer=tokenizer,
        template=_template(folder, config),
        markers=markers,
        max_tokens=max_tokens,
        pad_token_id=pad_token_id if pad_id is None else pad_id,
        pads_left=config.text("padding_side", "left") == "left",
        cuts_left=config.text("truncation_side", "right") == "left",
    )


def _template(folder: Path, config: Fields) -> str:
    file = folder / "chat_template.jinja"
    if not file.is_file():
        return config.text("chat_template", DEV_TEMPLATE)
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointInvalid(
            f"{file} cannot be read: {error}", hint="download or copy it again"
        ) from error


def _marker(config: Fields, name: str) -> str:
    """A special token's text, "" if there is none; older files write it as an object."""
    if isinstance(config.values.get(name), dict):
        return config.inner(name).text("content")
    return config.text(name, "")
