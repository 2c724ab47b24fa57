"""The transformer learns on a device that is not this processor: nothing of it is left behind.

Not on a GPU: what stands in for one tells, as a GPU does, when tensors of two devices meet.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from elsewhere import ELSEWHERE, Away, Elsewhere, brought_back, sent

from linocut_training import batches, parallel, state, transformer
from linocut_training.concepts import CONCEPTS
from linocut_training.plans import Plan
from linocut_training.state import Stretch
from linocut_training.tokens import Tokens

TINY = Plan(
    steps=2, guided_steps=1, styled_steps=1, shaped_steps=2, batch=3, short_text=4, save_every=2
)
LAST_STAGE: dict[str, Any] = {"steps": 0, "guided_steps": 0, "styled_steps": 0, "edit_share": 0}
KINDS: dict[str, dict[str, Any]] = {
    "captions, also off the square": {"edit_share": 0, "arranged_share": 0, "other_share": 0.7},
    "edits": {"edit_share": 1},
    "two pictures in one": LAST_STAGE | {"edit_share": 1, "together_share": 1},
    "several things": LAST_STAGE | {"arranged_share": 1},
    "several things, from pictures": LAST_STAGE | {
        "arranged_share": 1, "arranged_is_new": True, "window_share": 0.7,
    },
    "new things and styles": LAST_STAGE | {
        "arranged_share": 0, "new_styles": ("flat",), "new_things_share": 0.5, "new_share": 0.9,
        "leads_away": True,
    },
}  # fmt: skip


@pytest.fixture
def files_of_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """States are saved and loaded, which PyTorch does not do for tensors of another class."""
    save, load = parallel.save_state, torch.load

    def loaded(file: Path, *, weights_only: bool, map_location: Any = "cpu") -> Any:
        held = load(file, weights_only=weights_only, map_location="cpu")
        return sent(held) if torch.device(map_location).type == ELSEWHERE.type else held

    monkeypatch.setattr(parallel, "save_state", lambda file, it: save(file, brought_back(it)))
    monkeypatch.setattr(state.torch, "load", loaded)


@pytest.mark.usefixtures("alone", "files_of_elsewhere")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_learned_there_is_what_is_learned_here(
    kind: str, training_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BEFORE", CONCEPTS[:1])
    plan = replace(TINY, **KINDS[kind])
    learned = []
    for device, place in (("cpu", nullcontext()), (ELSEWHERE.type, Elsewhere())):
        (training_folder / "transformer.pt").unlink(missing_ok=True)
        with place:
            # Stopped once, and gone on with from the file.
            for part in (replace(plan, shaped_steps=1), plan):
                transformer.train(0, 1, training_folder, part, Stretch(device))
        learned.append(transformer.averaged(training_folder).state_dict())
    here, there = learned
    for name, value in here.items():
        torch.testing.assert_close(there[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.usefixtures("alone")
def test_what_is_left_behind_is_told(training_folder: Path) -> None:
    with Elsewhere():
        training = transformer.begin(training_folder, TINY, Stretch(ELSEWHERE.type))
        assert all(isinstance(it.data, Away) for it in training.network.parameters())
        batch = batches.Source(training_folder, TINY).batch(0, 0)
        tokens, rng = Tokens(training_folder), torch.Generator().manual_seed(0)
        with pytest.raises(RuntimeError, match="two devices"):
            transformer._learn(training, TINY, batch, tokens, length=12, generator=rng)
