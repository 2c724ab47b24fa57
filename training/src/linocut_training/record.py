"""How a checkpoint was made: what it was made with and of, and the log of its training.

`training-log.jsonl` has one JSON object a line. The first says plan and seed, versions, the
checksums of the drawings, of the vocabulary and of the weights that came of it; the others are the
logs of the parts, as they were written.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Final

from linocut_training import fetch
from linocut_training.drawing import fingerprint
from linocut_training.plans import Plan

FILE: Final = "training-log.jsonl"
PARTS: Final = ("autoencoder", "text_encoder", "transformer", "classifier")
PACKAGES: Final = (
    "torch", "numpy", "Pillow", "transformers", "tokenizers", "safetensors", "inflect", "resvg_py"
)  # fmt: skip


def write(work: Path, plan: Plan, checkpoint: Path, folder: Path) -> None:
    """`training-log.jsonl` in `folder`: of the training in `work` that `checkpoint` came of.

    plan: of its last run. A part that came from a finished checkpoint has left no log.
    """
    lines = [made_with(plan, checkpoint), *_logged(work)]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (folder / FILE).write_text(text, encoding="utf-8")


def made_with(plan: Plan, checkpoint: Path) -> dict[str, Any]:
    """What one has to have to make the checkpoint again."""
    vocabulary = resources.files(__package__).joinpath("vocabulary.tsv").read_bytes()
    return {
        "plan": asdict(plan),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "drawings": {it.filename: it.sha256 for it in fetch.PACKAGES.values()},
        "vocabulary_sha256": hashlib.sha256(vocabulary).hexdigest(),
        "weights_sha256": fingerprint(checkpoint),
    }


def _logged(work: Path) -> Iterator[dict[str, Any]]:
    for part in PARTS:
        if (file := work / f"{part}.log").exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                yield {"part": part, **json.loads(line)}
