"""What opens as an engine, and what is refused before a weight is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from linocut.engine import Engine
from linocut.errors import CheckpointInvalid


def test_single_files_without_an_encoder_are_refused_with_what_to_add(
    without_encoder: Path,
) -> None:
    with pytest.raises(CheckpointInvalid, match="has no text encoder") as caught:
        Engine.open(without_encoder, device="cpu")
    assert "put the folders text_encoder and tokenizer" in caught.value.hint
