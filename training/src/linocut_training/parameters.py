"""How well a checkpoint draws with other steps and guidance.

`python -m linocut_training.parameters WORK CHECKPOINT`. The same prompts and noise each time, so
that only the parameter differs; the judge of the work folder names what it sees.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from linocut.request import ImageRequest
from linocut_training import gates, ratios
from linocut_training.classifier import Judge
from linocut_training.drawing import draw_in_processes, fingerprint, read
from linocut_training.evaluate import arguments, name_of, request_of
from linocut_training.gates import Prompt

SEEDS: Final = (1, 2)
STEPS: Final = (4, 8, 12, 28, 50)
GUIDANCE: Final = (1.0, 2.0, 3.0, 5.0, 10.0)
GUIDANCE_STEPS: Final = 12  # where the guidance is what differs; guidance 3 stands in both
Setting = tuple[int, float]  # steps, guidance


def settings(usual: float) -> list[Setting]:
    """What is measured: every number of steps at the usual guidance, then every guidance."""
    by_steps = [(steps, usual) for steps in STEPS]
    by_guidance = [(GUIDANCE_STEPS, guidance) for guidance in GUIDANCE]
    return list(dict.fromkeys((*by_steps, *by_guidance)))


def asked() -> list[Prompt]:
    """The evaluation's prompts with these seeds, of one concept in so many."""
    return [prompt for seed in SEEDS for prompt in ratios.asked(seed)]


def requests(prompts: Sequence[Prompt]) -> dict[str, ImageRequest]:
    """Every prompt with every setting, by both."""
    how = gates.read_rules()["drawing"]
    return {
        f"{_folder(setting)}/{name_of(prompt)}": replace(
            request_of(prompt, Path(), how), num_inference_steps=setting[0], guidance=setting[1]
        )
        for setting in settings(how["guidance"])
        for prompt in prompts
    }


def _folder(setting: Setting) -> str:
    return f"{setting[0]}-steps-{setting[1]:g}"


def judged(work: Path, folder: Path, prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    """The shares of `gates.shares` for each setting; `work` holds the trained classifier.

    folder: of the pictures, as `evaluate.draw_in_processes` leaves them.
    """
    judge = Judge.open(work)
    found = []
    for setting in settings(gates.read_rules()["drawing"]["guidance"]):
        files = [folder / _folder(setting) / f"{name_of(prompt)}.png" for prompt in prompts]
        shares = gates.shares(prompts, judge.look([read(file) for file in files]))
        found.append({"num_inference_steps": setting[0], "guidance": setting[1], **shares})
    return found


def measure(checkpoint: Path, work: Path, *, processes: int = 2) -> dict[str, Any]:
    """What work/evaluation/parameters.json says afterwards; `work` has the trained classifier."""
    folder, prompts = work / "evaluation" / "parameters", asked()
    for setting in settings(gates.read_rules()["drawing"]["guidance"]):
        (folder / _folder(setting)).mkdir(parents=True, exist_ok=True)
    draw_in_processes(checkpoint, requests(prompts), folder, processes)
    found = {
        "weights_sha256": fingerprint(checkpoint),
        "seeds": list(SEEDS),
        "settings": judged(work, folder, prompts),
        "classifier": json.loads((work / "classifier.json").read_text(encoding="utf-8")),
    }
    text = json.dumps(found, indent=1) + "\n"
    folder.with_suffix(".json").write_text(text, encoding="utf-8")
    return found


def main() -> None:
    """Draw, look, write the shares down, and print them."""
    chosen = arguments(__doc__).parse_args()
    found = measure(chosen.checkpoint, chosen.work, processes=chosen.processes)
    print(json.dumps(found["settings"], indent=1))


if __name__ == "__main__":
    main()
