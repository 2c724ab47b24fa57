"""Captions as token ids, and which of these name the things of a picture."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerFast

from linocut.catalog import MINI
from linocut_training import binding
from linocut_training.batches import Batch
from linocut_training.text_encoder import token_ids, token_spans


class Tokens:
    """Captions to token ids, remembered."""

    def __init__(self, work: Path) -> None:
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(work / "tokenizer")
        self.full = MINI.conditioning.max_tokens
        self.known: dict[str, list[int]] = {}

    def rows(self, words: list[str]) -> list[list[int]]:
        """The ids of each phrase, unpadded."""
        for phrase in words:
            if phrase not in self.known:
                self.known[phrase] = token_ids(self.tokenizer, phrase)
        return [self.known[phrase] for phrase in words]

    def named(self, batch: Batch, length: int) -> list[list[binding.Span] | None]:
        """Which of the text rows name each thing of a batch's pictures; None where not all do."""
        rows, result = self.rows(batch.captions), []
        for words, row, names in zip(batch.captions, rows, batch.names, strict=True):
            letters, before = binding.spans(words, names), length - len(row)
            spans = token_spans(self.tokenizer, words, letters or [])
            is_whole = bool(spans) and max(end for _, end in spans) < len(row)  # nothing cut off
            result.append([(before + a, before + b) for a, b in spans] if is_whole else None)
        return result
