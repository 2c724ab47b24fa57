"""A small network that names pictures: which concept, which style. Backgrounds need no learning.

It learns from real cut-outs alone. Its own worth is measured on a source that it never saw, and
on compositions of the four styles with backgrounds and scales that it never saw.

B batch   C channels   S side of a square picture
"""

from __future__ import annotations

import argparse
import io
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from linocut_training import parallel
from linocut_training.concepts import BACKGROUNDS, CONCEPTS, EXTRA_SOURCES, STYLES
from linocut_training.gates import (
    COLOURS,
    HELD_COLOURS,
    HELD_SCALES,
    Pixels,
    Seen,
    background_of,
    held_colours,
    held_out,
    nearest_colours,
)  # fmt: skip
from linocut_training.optim import Average, Muon, rate_at, split_parameters

LEFT_OUT: Final = "emojione"  # another artist's, and complete; chosen before the first training
STYLE_SOURCES: Final = tuple(style.source for style in STYLES.values())
SOURCES: Final = tuple(s for s in (*STYLE_SOURCES, *EXTRA_SOURCES) if s != LEFT_OUT)

SIDE: Final = 80
FIRST_SIDE: Final = 64  # of the first part of the training, which is cheaper
CUTOUT_SIDE: Final = 96
WIDTHS: Final = (32, 64, 96, 192)
SCALES: Final = (0.55, 0.95)
LEAST_ACCURACY: Final = 0.85
SETTLING_BATCHES: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how fast; the defaults are what judges the shipped checkpoint."""

    steps: int = 1100
    batch: int = 64
    muon_rate: float = 3e-3
    adam_rate: float = 2e-3
    style_weight: float = 0.4
    smoothing: float = 0.1
    seed: int = 0
    small_until: float = 0.6
    save_every: int = 100


class Block(nn.Module):
    """Two convolutions at half the side, beside a short way around them."""

    def __init__(self, channels: int, wanted: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, wanted, 3, 2, 1, bias=False)
        self.second = nn.Conv2d(wanted, wanted, 3, 1, 1, bias=False)
        self.around = nn.Conv2d(channels, wanted, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(wanted) for _ in range(2))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y = F.relu(self.norms[0](self.first(x_BCHW)))
        y = self.norms[1](self.second(y)) + self.around(F.avg_pool2d(x_BCHW, 2))
        return F.relu(y)


class Network(nn.Module):
    """RGB in [0, 1] to the logits of concepts and of styles."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Conv2d(3, WIDTHS[0], 5, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(WIDTHS[0])
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in pairwise(WIDTHS)))
        self.concept = nn.Linear(WIDTHS[-1], len(CONCEPTS))
        self.style = nn.Linear(WIDTHS[-1], len(STYLES))

    def forward(self, rgb_BCSS: Tensor) -> tuple[Tensor, Tensor]:
        x = (rgb_BCSS - 0.5).mul(4).contiguous(memory_format=torch.channels_last)
        features = self.blocks(F.relu(self.norm(self.stem(x)))).mean((2, 3))
        return self.concept(features), self.style(features)


class Judge:
    """A trained classifier, ready to look at pictures of any size."""

    def __init__(self, network: Network) -> None:
        self.network = network.eval()

    @classmethod
    def open(cls, work: Path) -> Judge:
        """The classifier that `train` left in `work`."""
        network = Network()
        network.load_state_dict(torch.load(work / "classifier.pt", weights_only=True))
        return cls(network)

    @torch.inference_mode()
    def look(self, pictures: Sequence[Pixels]) -> list[Seen]:
        """What each picture, height x width x 3 bytes, is taken for."""
        seen = []
        for start in range(0, len(pictures), 64):
            some = pictures[start : start + 64]
            concepts, styles = self.network(torch.stack([to_input(pixels) for pixels in some]))
            likeliest = concepts.topk(5).indices.tolist()
            names = list(STYLES)
            for pixels, five, style in zip(some, likeliest, styles.argmax(1).tolist(), strict=True):
                keys = tuple(CONCEPTS[index].key for index in five)
                seen.append(Seen(keys, names[style], background_of(pixels)))
        return seen


def to_input(pixels: Pixels) -> Tensor:
    """A picture as the network sees it. [3, S, S] in [0, 1]"""
    small = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1).float() / 255


class Practice:
    """Batches of compositions, spoilt as generated pictures are: soft, wobbly, off in colour.

    A batch is decided by its number alone, so that a resumed training goes on as it would have.
    """

    def __init__(self, work: Path, plan: Plan) -> None:
        self.plan = plan
        found = [
            (file, index, STYLE_SOURCES.index(source) if source in STYLE_SOURCES else -1)
            for source in SOURCES
            for index, concept in enumerate(CONCEPTS)
            if (file := work / "cutouts" / source / f"{concept.key}.png").exists()
        ]
        if not found:
            raise SystemExit(f"no cut-outs below {work / 'cutouts'}: rasterise first")
        self.cutouts = torch.stack([_small(file) for file, _, _ in found])
        self.concepts = torch.tensor([index for _, index, _ in found])
        self.styles = torch.tensor([style for _, _, style in found])
        held = torch.zeros(len(CONCEPTS), len(COLOURS), dtype=torch.bool)
        for index in range(len(CONCEPTS)):
            held[index, list(held_colours(index))] = True
        self.held = held
        self.named = torch.tensor(list(BACKGROUNDS.values())) / 255

    def batch(self, number: int, side: int = SIDE) -> tuple[Tensor, Tensor, Tensor]:
        """(pictures [B, 3, S, S], concepts [B], styles [B], -1 for none)."""
        rng = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + number)
        chosen = torch.randint(len(self.cutouts), (self.plan.batch,), generator=rng)
        objects = recoloured(self.cutouts[chosen].float() / 255, rng)
        objects = F.grid_sample(
            objects, placements(len(chosen), side, rng), padding_mode="zeros", align_corners=False
        )
        behind = self._backgrounds(self.concepts[chosen], side, rng)
        pictures = objects[:, :3] + (1 - objects[:, 3:]) * behind
        return spoilt(pictures, rng), self.concepts[chosen], self.styles[chosen]

    def _backgrounds(self, concepts: Tensor, side: int, rng: torch.Generator) -> Tensor:
        """Named and random colours, plain and graded, none that is held out. [B, 3, S, S]"""
        count = len(concepts)
        ends = torch.rand(count, 2, 3, generator=rng)
        near = torch.from_numpy(nearest_colours(ends.numpy() * 255))
        allowed = (~self.held).float()[concepts]
        named = torch.multinomial(allowed, 2, replacement=True, generator=rng)
        use_name = torch.rand(count, 1, generator=rng) < 0.6
        use_name = use_name | self.held[concepts[:, None], near]
        ends = torch.where(use_name[..., None], self.named[named], ends)
        graded = torch.rand(count, generator=rng) < 0.25
        ends[:, 1] = torch.where(graded[:, None], ends[:, 1], ends[:, 0])
        angle = 2 * math.pi * torch.rand(count, 1, 1, generator=rng)
        line = torch.linspace(-0.35, 0.35, side)
        along = 0.5 + angle.cos() * line + angle.sin() * line[:, None]
        return torch.lerp(ends[:, 0, :, None, None], ends[:, 1, :, None, None], along[:, None])


def _small(file: Path) -> Tensor:
    """A cut-out, premultiplied. uint8 [4, CUTOUT_SIDE, CUTOUT_SIDE]"""
    with Image.open(file) as picture:
        small = picture.convert("RGBa").resize((CUTOUT_SIDE, CUTOUT_SIDE), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)


def practised_scales(count: int, rng: torch.Generator) -> Tensor:
    """Scales that are not held out: those that would be are mirrored out of their band. [B]"""
    scale = SCALES[0] + (SCALES[1] - SCALES[0]) * torch.rand(count, generator=rng)
    for low, high in HELD_SCALES:
        aside = torch.where(scale < (low + high) / 2, 2 * low - scale, 2 * high - scale)
        scale = torch.where((scale > low) & (scale < high), aside, scale)
    return scale


def placements(count: int, side: int, rng: torch.Generator) -> Tensor:
    """Where each output pixel looks in the cut-out, for `F.grid_sample`. [B, S, S, 2]"""

    def even(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=rng)

    scale = practised_scales(count, rng)
    turn, shear, stretch = even(-0.2, 0.2), even(-0.12, 0.12), even(-0.14, 0.14).exp()
    cos, sin = turn.cos(), turn.sin()
    # output = scale · turn · shear · stretch · input + shift, so that areas keep their scale.
    across = torch.stack((cos, sin), -1) * stretch[:, None]
    down = torch.stack((shear * cos - sin, shear * sin + cos), -1) / stretch[:, None]
    forward = torch.stack((across, down), -1) * scale[:, None, None]
    shift = torch.stack((even(-1, 1), even(-1, 1)), -1) * (1 - scale)[:, None]
    line = (torch.arange(side) + 0.5) / side * 2 - 1
    at = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    looked: Tensor = (at - shift[:, None, None]) @ torch.linalg.inv(forward).mT[:, None]
    wobble = torch.randn(count, 2, 5, 5, generator=rng) * even(0, 0.07)[:, None, None, None]
    wobble = F.interpolate(wobble, size=(20, 20), mode="bicubic", align_corners=True)
    wobble = F.interpolate(wobble, size=(side, side), mode="bilinear")
    looked += wobble.permute(0, 2, 3, 1)
    return looked


def recoloured(objects: Tensor, rng: torch.Generator) -> Tensor:
    """Premultiplied RGBA with other hues, saturation and brightness: the shape has to tell."""
    count = len(objects)
    turn = 0.25 * torch.randn(count, generator=rng)
    grey = torch.rand(count, generator=rng) < 0.08
    saturation = torch.where(grey, 0.0, 0.6 + 0.8 * torch.rand(count, generator=rng))
    brightness = 0.75 + 0.4 * torch.rand(count, generator=rng)
    to_yiq = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213],
                           [0.2115, -0.5227, 0.3112]])  # fmt: skip
    change = torch.zeros(count, 3, 3)
    change[:, 0, 0] = 1
    change[:, 1, 1] = change[:, 2, 2] = saturation * turn.cos()
    change[:, 2, 1] = saturation * turn.sin()
    change[:, 1, 2] = -change[:, 2, 1]
    matrix = torch.linalg.inv(to_yiq) @ change @ to_yiq * brightness[:, None, None]
    rgb = torch.einsum("bij,bjhw->bihw", matrix, objects[:, :3])
    return torch.cat((torch.minimum(rgb.clamp(min=0), objects[:, 3:]), objects[:, 3:]), 1)


def spoilt(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Blurred, shrunk and enlarged, smudged, noisy, or as a poor JPEG: each picture a little."""
    count, size = len(pictures), pictures.shape[-2:]

    def some(share: float, most: float) -> Tensor:
        strength = most * torch.rand(count, generator=rng)
        return (strength * (torch.rand(count, generator=rng) < share))[:, None, None, None]

    def enlarged(small: Tensor) -> Tensor:
        return F.interpolate(small, size=size, mode="bilinear")

    shrunk = int(size[0] * (0.35 + 0.35 * torch.rand((), generator=rng)))
    fewer = F.interpolate(pictures, size=(shrunk, shrunk), mode="bilinear", antialias=True)
    pictures = pictures.lerp(enlarged(fewer), some(0.6, 1))
    smudges = torch.randn(count, 3, 10, 10, generator=rng) * some(0.5, 0.06)
    noise = torch.randn(count, 1, *size, generator=rng) * some(0.4, 0.05)
    pictures = pictures + enlarged(smudges) + noise
    light = 1 + 0.12 * torch.randn(count, 1, 1, 1, generator=rng)
    pictures = ((pictures - 0.5) * light + 0.5).clamp(0, 1)
    for index in range(0, count, 8):
        pictures[index] = _as_jpeg(pictures[index], quality=25 + index)
    return pictures


def _as_jpeg(picture: Tensor, *, quality: int) -> Tensor:
    stream = io.BytesIO()
    pixels = (picture * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(stream, "JPEG", quality=min(quality, 95))
    with Image.open(stream) as again:
        return torch.from_numpy(np.asarray(again).copy()).permute(2, 0, 1).float() / 255


def train(work: Path, plan: Plan | None = None) -> dict[str, Any]:
    """The trained classifier's own accuracies; it lies in work/classifier.pt, they in .json.

    What is there already is not trained again; what was begun is gone on with.
    """
    plan = plan or Plan()
    if not (work / "classifier.json").exists():
        network, seconds = _trained(work, plan)
        parallel.save_state(work / "classifier.pt", network.state_dict())
        report = {"cpu_seconds": round(seconds), "steps": plan.steps, "batch": plan.batch}
        report |= accuracies(Judge(network), work)
        (work / "classifier.json").write_text(json.dumps(report, indent=1) + "\n")
    kept: dict[str, Any] = json.loads((work / "classifier.json").read_text())
    return kept


def _trained(work: Path, plan: Plan) -> tuple[Network, float]:
    """The averaged network, and the seconds of one core that it took."""
    practice, network = Practice(work, plan), Network(plan.seed)
    average = Average(network)
    matrices, rest = split_parameters(network, lambda n: n.startswith(("stem", "concept", "style")))
    muon = Muon(matrices, plan.muon_rate)
    adam = torch.optim.AdamW(rest, plan.adam_rate, betas=(0.9, 0.99), weight_decay=0.0)
    unfinished, first, spent = work / "classifier.unfinished.pt", 0, 0.0
    if unfinished.exists():
        state = torch.load(unfinished, weights_only=True)
        network.load_state_dict(state["network"])
        muon.load_state_dict(state["muon"])
        adam.load_state_dict(state["adam"])
        average.values, first, spent = state["average"], state["step"], state["spent"]
    log, began = parallel.Log(work / "classifier.log"), time.process_time() - spent
    for step in range(first, plan.steps):
        side = FIRST_SIDE if step < plan.steps * plan.small_until else SIDE
        pictures, concepts, styles = practice.batch(step, side)
        by_concept, by_style = network(pictures)
        loss = F.cross_entropy(by_concept, concepts, label_smoothing=plan.smoothing)
        loss = loss + plan.style_weight * F.cross_entropy(by_style, styles, ignore_index=-1)
        loss.backward()
        for optimiser, rate in ((muon, plan.muon_rate), (adam, plan.adam_rate)):
            optimiser.param_groups[0]["lr"] = rate * rate_at(step / plan.steps, decay_from=0.3)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        average.update(network, min(0.99, (1 + step) / (10 + step)))
        if step % 20 == 0:
            right = (by_concept.argmax(1) == concepts).float().mean().item()
            log(step=step, loss=loss.item(), right=right, spent=time.process_time() - began)
        if (step + 1) % plan.save_every == 0:
            state = {"network": network.state_dict(), "muon": muon.state_dict(),
                     "adam": adam.state_dict(), "average": average.values, "step": step + 1,
                     "spent": time.process_time() - began}  # fmt: skip
            parallel.save_state(unfinished, state)
    average.copy_to(network)
    settle(network, practice, plan.steps)
    unfinished.unlink(missing_ok=True)
    return network.eval(), time.process_time() - began


@torch.no_grad()
def settle(network: Network, practice: Practice, first: int) -> None:
    """The norms' statistics anew, as the averaged weights make them."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
    for number in range(first, first + SETTLING_BATCHES):
        network(practice.batch(number)[0])


def accuracies(judge: Judge, work: Path) -> dict[str, Any]:
    """How often the judge is right about real pictures that it has never seen."""

    def shares(sources: Sequence[str], each: int) -> dict[str, float]:
        shown = list(held_out(work, sources, each))
        seen = judge.look([pixels for pixels, *_ in shown])
        styles = {style.source: key for key, style in STYLES.items()}
        right: dict[str, list[bool]] = {"concept": [], "top5": [], "style": [], "background": []}
        for one, (_, index, source, background) in zip(seen, shown, strict=True):
            right["concept"].append(one.concepts[0] == CONCEPTS[index].key)
            right["top5"].append(CONCEPTS[index].key in one.concepts)
            right["background"].append(one.background == background)
            right["style"] += [one.style == styles[source]] if source in styles else []
        return {"pictures": len(shown)} | {
            name: round(sum(hits) / len(hits), 4) for name, hits in right.items() if hits
        }

    return {
        "left_out_source": {"source": LEFT_OUT, **shares([LEFT_OUT], HELD_COLOURS)},
        "held_out_compositions": {
            "sources": list(STYLE_SOURCES),
            **shares(STYLE_SOURCES, HELD_COLOURS),
        },
    }


def main() -> None:
    """Train, and print the accuracies."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("work", type=Path, help="folder with cutouts/")
    torch.set_num_threads(1)
    report = train(parser.parse_args().work)
    print(json.dumps(report, indent=1))
    for test in ("left_out_source", "held_out_compositions"):
        if report[test]["concept"] < LEAST_ACCURACY:
            raise SystemExit(f"{test}: concept accuracy below {LEAST_ACCURACY:.0%}, mend it first")


if __name__ == "__main__":
    main()
