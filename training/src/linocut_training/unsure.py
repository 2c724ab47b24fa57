"""What the edition before draws badly, by its own evaluation: it is to be practised more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from linocut_training.concepts import CONCEPTS
from linocut_training.gates import FOLDER

MOST_RIGHT: Final = 0.5  # of a thing's pictures: where more are right, it counts as known


def unsure(folder: Path = FOLDER) -> frozenset[int]:
    """Indices of the things that the judge named in at most half of their pictures.

    folder: of the evaluation's results. A thing that it did not ask for is not among them.
    """
    rows = json.loads((folder / "results.json").read_text(encoding="utf-8"))["concepts"]
    badly = {row["concept"] for row in rows if row["top1"] <= MOST_RIGHT * row["pictures"]}
    return frozenset(index for index, it in enumerate(CONCEPTS) if it.key in badly)
