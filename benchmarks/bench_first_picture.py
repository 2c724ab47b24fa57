"""How long somebody waits for a picture who has just cloned linocut, on this machine.

Clones the repository that it lies in and runs README's first command there: once with the install,
then again. Prints a table for people, then one line of JSON for machines. Beside the seconds stand
those of `python -c pass` with the same interpreter: what no program that it runs is faster than.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from PIL import Image

from machine import processor

ROOT: Final = Path(__file__).resolve().parents[1]
COMMAND: Final = ("make", "--no-print-directory", "image", "PROMPT=a red apple")


def seconds_of(command: Sequence[str], folder: Path) -> tuple[float, str]:
    """(wall time, standard output) of a command; its failure is raised with what it said."""
    began = perf_counter()
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    took = perf_counter() - began
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ran.stdout}{ran.stderr}")
    return took, ran.stdout


def measure(command: Sequence[str], clone: Path, runs: int) -> dict[str, Any]:
    """The first run, which installs, and the later ones; each leaves a picture that opens."""
    seconds = []
    for _ in range(1 + runs):
        took, said = seconds_of(command, clone)
        with Image.open(clone / said.splitlines()[-1]) as picture:
            picture.load()
            size = picture.size
        seconds.append(round(took, 3))
    floor, _ = seconds_of((sys.executable, "-c", "pass"), clone)
    return {
        "command": " ".join(command),
        "size": size,
        "with_install": seconds[0],
        "after_install": seconds[1:],
        "interpreter_alone": round(floor, 3),
    }


def main() -> None:
    """Clone, draw, and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="pictures after the first")
    parser.add_argument("--source", type=Path, default=ROOT, help="the repository to clone")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "linocut"
        seconds_of(("git", "clone", "--quiet", str(chosen.source), str(clone)), Path(folder))
        found = measure(COMMAND, clone, chosen.runs)
    width, height = found["size"]
    print(f"{found['command']}: a picture of {width} x {height}")
    print(f"  with the install   {found['with_install']:8.2f} s")
    print(f"  after it           {min(found['after_install']):8.2f} s at best of {chosen.runs}")
    print(f"  interpreter alone  {found['interpreter_alone']:8.3f} s")
    about = {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version()}
    print(json.dumps({"benchmark": "bench_first_picture", "machine": about, **found}))


if __name__ == "__main__":
    main()
