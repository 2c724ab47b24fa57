"""linocut beside diffusers: the same weights, prompt, seed and threads, in turn, on this machine.

Prints a table for people, then one line of JSON for machines. Each pair of runs has a prompt and a
seed of its own, so that nothing is remembered; first linocut begins, then diffusers, and so on.
diffusers is asked for the size that linocut draws. The floor of a step is the time of its matrix
products alone, taken one after another in the same process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import count, islice
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any, Final

import torch
import torch.nn.functional as F
from diffusers import Flux2Pipeline

from linocut import Engine, ImageRequest
from linocut.catalog import ModelConfig
from linocut.cost import Product, request_cost, step_flops, step_products
from linocut.engine.placement import DTYPES
from linocut.events import Done, Step
from linocut.request import MAX_PIXELS
from machine import processor

FLOOR_RUNS: Final = 5
TIMED: Final = ("picture", "step")
PROMPT: Final = "{} red apples, blue background"


@dataclass(frozen=True, slots=True)
class Run:
    """One picture: seconds from the request to its pixels, seconds a step, the pixels."""

    picture: float
    step: float
    rgb: bytes


def run_linocut(engine: Engine, request: ImageRequest) -> Run:
    """Timed around the engine's events."""
    began = perf_counter()
    events = list(engine.run(request))
    seconds, done = perf_counter() - began, events[-1]
    assert isinstance(done, Done)
    steps = [event.seconds for event in events if isinstance(event, Step)]
    return Run(seconds, fmean(steps), done.picture.rgb)


def run_diffusers(pipe: Any, engine: Engine, request: ImageRequest) -> Run:
    """Timed around the call; its steps from the first forward pass to the last step's end."""
    starts, ends = [], []
    said = engine.checkpoint.config.conditioning
    plan = engine.plan(request)

    def ended(_pipe: Any, _step: int, _level: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        ends.append(perf_counter())
        return tensors

    hook = pipe.transformer.register_forward_pre_hook(lambda *_: starts.append(perf_counter()))
    began = perf_counter()
    (image,) = pipe(
        prompt=request.prompt, width=plan.width, height=plan.height,
        num_inference_steps=request.num_inference_steps, guidance_scale=request.guidance,
        max_sequence_length=said.max_tokens, text_encoder_out_layers=said.layers,
        generator=torch.Generator("cpu").manual_seed(request.seed), callback_on_step_end=ended,
    ).images  # fmt: skip
    seconds = perf_counter() - began
    hook.remove()
    return Run(seconds, (ends[-1] - starts[0]) / len(ends), image.tobytes())


@torch.inference_mode()
def floor(products: tuple[Product, ...], dtype: torch.dtype) -> float:
    """The least seconds that these products took, of a few tries; each weight is its own."""
    work = []
    for product in products:
        batch = (product.batch,) if product.batch > 1 else ()
        left = torch.randn(*batch, product.rows, product.inner).to(dtype)
        right = torch.randn(product.count, *batch, product.columns, product.inner).to(dtype)
        work.append((left, right.unbind()))
    seconds = []
    for _ in range(FLOOR_RUNS):
        began = perf_counter()
        for left, rights in work:
            for right in rights:
                if left.ndim == 2:
                    F.linear(left, right)
                else:
                    torch.bmm(left, right.transpose(1, 2))
        seconds.append(perf_counter() - began)
    return min(seconds)


def on_grid(engine: Engine, native: ModelConfig, request: ImageRequest) -> Iterator[str]:
    """The grids that a request can be drawn on, the engine set to each in turn.

    "native": as the checkpoint draws it. "whole": a token for every cell, where the checkpoint by
    itself would draw fewer; the picture is worse, its speed is that of a larger checkpoint.
    """
    p = engine.checkpoint.config.autoencoder.pixels_per_token
    engine.checkpoint = replace(engine.checkpoint, config=native)
    plan = engine.plan(request)
    yield "native"
    asked = request.width, request.height
    if (plan.width, plan.height) != asked and not any(side % p for side in asked):
        whole = replace(native, native_max_tokens=MAX_PIXELS // p**2, native_short_side=None)
        engine.checkpoint = replace(engine.checkpoint, config=whole)
        yield "whole"


def measure(
    engine: Engine, pipe: Any, request: ImageRequest, numbers: Iterable[int]
) -> dict[str, Any]:
    """One case: warmed up, then a pair for each number, as a row of the report."""
    warm = replace(request, num_inference_steps=min(2, request.num_inference_steps))
    run_linocut(engine, warm), run_diffusers(pipe, engine, warm)
    runs: dict[bool, list[Run]] = {True: [], False: []}  # ours and theirs
    for pair, number in enumerate(numbers):
        asked = replace(request, prompt=PROMPT.format(number), seed=number)
        for is_ours in (pair % 2 == 0, pair % 2 == 1):
            run = run_linocut(engine, asked) if is_ours else run_diffusers(pipe, engine, asked)
            runs[is_ours].append(run)
    ours, theirs = runs[True], runs[False]
    config = engine.checkpoint.config
    drawn = request_cost(request, config)
    least = floor(step_products(config.transformer, drawn.lengths), engine.placement.dtype)
    both = list(zip(ours, theirs, strict=True))
    row: dict[str, Any] = {
        "drawn": [drawn.drawn_width, drawn.drawn_height],
        "tokens": drawn.lengths.drawn,
        "linocut": {what: _spread([getattr(a, what) for a in ours]) for what in TIMED},
        "diffusers": {what: _spread([getattr(b, what) for b in theirs]) for what in TIMED},
        "ratio": {
            what: _spread([getattr(b, what) / getattr(a, what) for a, b in both]) for what in TIMED
        },
        "floor_step": least,
        "floor_teraflops": step_flops(config.transformer, drawn.lengths) / least / 1e12,
    }
    if (drawn.drawn_width, drawn.drawn_height) == (request.width, request.height):
        row["largest_difference_of_255"] = max(map(_apart, ours, theirs))
    return row


def _spread(values: list[float]) -> dict[str, float]:
    return {"least": min(values), "median": median(values), "most": max(values)}


def _apart(ours: Run, theirs: Run) -> int:
    a, b = (torch.tensor(list(run.rgb), dtype=torch.int16) for run in (ours, theirs))
    return int((a - b).abs().max())


def cases(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every case's row, as it is measured."""
    numbers = count(1)  # one for each pair of the whole run: no prompt comes twice
    for dtype in args.dtypes:
        with Engine.open(args.checkpoint, device="cpu", dtype=dtype) as engine:
            native = engine.checkpoint.config
            folder, kind = engine.checkpoint.folder, DTYPES[dtype]
            pipe = Flux2Pipeline.from_pretrained(folder, torch_dtype=kind)
            pipe.set_progress_bar_config(disable=True)
            for width, height in args.sizes:
                request = ImageRequest(
                    prompt=PROMPT.format(0), width=width, height=height,
                    num_inference_steps=args.steps, mode=engine.placement.default_mode,
                )  # fmt: skip
                for grid in on_grid(engine, native, request):
                    row = measure(engine, pipe, request, islice(numbers, args.pairs))
                    yield {"size": [width, height], "grid": grid, "dtype": dtype, **row}


HEADER: Final = (
    f"{'size':>9} {'drawn':>9} {'dtype':>8} | {'s/picture':>9} {'diffusers':>9} "
    f"{'ratio':<18} | {'s/step':>9} {'diffusers':>9} {'ratio':<18} {'floor':>9}"
)


def line(row: dict[str, Any]) -> str:
    """A case for people: medians."""
    ours, theirs, ratio = row["linocut"], row["diffusers"], row["ratio"]
    size, drawn, per = "x".join(map(str, row["size"])), "x".join(map(str, row["drawn"])), {}
    for what in TIMED:
        spread = ratio[what]
        times = f"{spread['median']:.2f} ({spread['least']:.2f}-{spread['most']:.2f})"
        per[what] = f"{ours[what]['median']:9.4f} {theirs[what]['median']:9.4f} {times:<18}"
    return (
        f"{size:>9} {drawn:>9} {row['dtype']:>8} | {per['picture']} | {per['step']} "
        f"{row['floor_step']:9.4f}"
    )


def _size(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("x")))


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="linocut-mini", help="a name or a folder")
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--sizes", type=_size, nargs="+", default=[(512, 512), (1024, 1024)])
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=DTYPES)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as PyTorch takes")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    about = {
        "benchmark": "engine",
        "checkpoint": Path(args.checkpoint).name,
        "steps": args.steps,
        "pairs": args.pairs,
        "threads": torch.get_num_threads(),
        "processor": processor(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }
    print(f"{about['processor']}, {about['threads']} threads, {args.steps} steps\n{HEADER}")
    rows = []
    for row in cases(args):
        print(line(row), flush=True)
        rows.append(row)
    print(json.dumps(about | {"cases": rows}), flush=True)


if __name__ == "__main__":
    main()
