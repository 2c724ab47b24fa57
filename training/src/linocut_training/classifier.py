"""A small network that names pictures: which concept, which style. Backgrounds need no learning.

It begins with what photographs have taught, and learns the concepts from real cut-outs alone. Its
own worth is measured on a source that it never saw, and on compositions of the styles with
backgrounds and scales that it never saw.

B batch   C channels   S side of a square picture
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from linocut_training import backbone, parallel
from linocut_training.concepts import CONCEPTS, STYLES
from linocut_training.gates import HELD_COLOURS, Pixels, Seen, background_of, held_out
from linocut_training.optim import Average, rate_at
from linocut_training.practice import LEFT_OUT, NONE, STYLE_SOURCES, Batch, Practice

SIDE: Final = 96
FIRST_SIDE: Final = 80  # of the first part of the training, which is cheaper
LEAST_ACCURACY: Final = 0.85
SETTLING_BATCHES: Final = 40
DIFFERENT: Final = 28  # of 255: what is nearer to the border's colour is background
SPECKS: Final = 0.02  # of a row: fewer pixels than this are no object
FILLED: Final = 0.88  # of the frame, by the object's longer side


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how fast; the defaults are what judges the shipped checkpoint."""

    steps: int = 1200
    batch: int = 64
    backbone_rate: float = 5e-4
    head_rate: float = 2e-3
    style_weight: float = 0.5
    other_weight: float = 0.5
    smoothing: float = 0.1
    seed: int = 0
    small_until: float = 0.6
    save_every: int = 50
    pretrained: bool = True


class Network(nn.Module):
    """RGB in [0, 1] to features, and features to the logits of concepts and of styles."""

    def __init__(self, body: backbone.Backbone) -> None:
        super().__init__()
        self.body = body
        self.concept = nn.Linear(backbone.FEATURES, len(CONCEPTS))
        self.style = nn.Linear(backbone.FEATURES, len(STYLES))

    def forward(self, rgb_BCSS: Tensor) -> Tensor:
        features: Tensor = self.body(rgb_BCSS)
        return features


class Judge:
    """A trained classifier, ready to look at pictures of any size."""

    def __init__(self, network: Network) -> None:
        self.network = network.eval()

    @classmethod
    def open(cls, work: Path) -> Judge:
        """The classifier that `train` left in `work`."""
        network = Network(backbone.Backbone())
        network.load_state_dict(torch.load(work / "classifier.pt", weights_only=True))
        return cls(network)

    @torch.inference_mode()
    def look(self, pictures: Sequence[Pixels]) -> list[Seen]:
        """What each picture, height x width x 3 bytes, is taken for."""
        seen = []
        for start in range(0, len(pictures), 64):
            some = pictures[start : start + 64]
            features = self.network(torch.stack([to_input(pixels) for pixels in some]))
            likeliest = self.network.concept(features).topk(5).indices.tolist()
            styles, names = self.network.style(features).argmax(1).tolist(), list(STYLES)
            for pixels, five, style in zip(some, likeliest, styles, strict=True):
                keys = tuple(CONCEPTS[index].key for index in five)
                seen.append(Seen(keys, names[style], background_of(pixels)))
        return seen


def to_input(pixels: Pixels) -> Tensor:
    """A picture as the network sees it: its object fills the frame. [3, S, S] in [0, 1]"""
    small = Image.fromarray(framed(pixels)).resize(
        (SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0
    )
    return torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1).float() / 255


def framed(pixels: Pixels) -> Pixels:
    """The square around what differs from the border's colour; all of it where nothing does."""
    border = np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
    behind = np.median(border, axis=0)
    differs = np.abs(pixels - behind).max(-1) > DIFFERENT
    rows, columns = (np.flatnonzero(differs.mean(axis) > SPECKS) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return pixels
    middle = (rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2
    side = round(max(np.ptp(rows), np.ptp(columns)) / FILLED) + 1
    top, left = (round(at - side / 2) for at in middle)
    framed = np.full((side, side, 3), behind, np.uint8)
    from_y, from_x = max(top, 0), max(left, 0)
    inside = pixels[from_y : top + side, from_x : left + side]
    framed[from_y - top :, from_x - left :][: inside.shape[0], : inside.shape[1]] = inside
    return framed


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
    practice = Practice(work, batch=plan.batch, seed=plan.seed)
    student = Student(plan, practice.num_others)
    unfinished, first, spent = work / "classifier.unfinished.pt", 0, 0.0
    if unfinished.exists():
        state = torch.load(unfinished, weights_only=True)
        student.load(state)
        first, spent = state["step"], state["spent"]
    log, began = parallel.Log(work / "classifier.log"), time.process_time() - spent
    for step in range(first, plan.steps):
        side = FIRST_SIDE if step < plan.steps * plan.small_until else SIDE
        loss, right = student.learn(practice.batch(step, side), step)
        if step % 20 == 0:
            log(step=step, loss=loss, right=right, spent=time.process_time() - began)
        if (step + 1) % plan.save_every == 0:
            progress = {"step": step + 1, "spent": time.process_time() - began}
            parallel.save_state(unfinished, student.state() | progress)
    student.average.copy_to(student.heads)
    settle(student.network, practice, plan.steps)
    unfinished.unlink(missing_ok=True)
    return student.network.eval(), time.process_time() - began


class Student:
    """A network while it learns: with a third head for the other emoji, which is thrown away."""

    def __init__(self, plan: Plan, num_others: int) -> None:
        self.plan = plan
        torch.manual_seed(plan.seed)
        body = backbone.pretrained() if plan.pretrained else backbone.Backbone()
        self.network = Network(body)
        self.other = nn.Linear(backbone.FEATURES, max(num_others, 1))
        self.heads = nn.ModuleList((self.network, self.other))
        self.average = Average(self.heads)
        heads = (self.network.concept, self.network.style, self.other)
        self.optimiser = torch.optim.AdamW(
            [
                {"params": list(body.parameters())},
                {"params": [each for head in heads for each in head.parameters()]},
            ],
            weight_decay=0.02,
        )

    def learn(self, batch: Batch, step: int) -> tuple[float, float]:
        """One step; (its loss, the share of concepts that were right)."""
        plan, features = self.plan, self.network(batch.pictures)
        by_concept = self.network.concept(features)
        loss = _loss(by_concept, batch.concepts, plan.smoothing)
        loss = loss + plan.style_weight * _loss(self.network.style(features), batch.styles)
        loss = loss + plan.other_weight * _loss(self.other(features), batch.others, plan.smoothing)
        loss.backward()
        share, rates = (
            rate_at(step / plan.steps, decay_from=0.3),
            (plan.backbone_rate, plan.head_rate),
        )
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * share
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update(self.heads, min(0.99, (1 + step) / (10 + step)))
        taught = batch.concepts != NONE
        right = (by_concept.argmax(1) == batch.concepts)[taught].float().mean()
        return loss.item(), right.item()

    def state(self) -> dict[str, Any]:
        """Everything that changes, resumable."""
        return {
            "heads": self.heads.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.values,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.heads.load_state_dict(state["heads"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.values = state["average"]


def _loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy of what has a label; 0 where nothing has."""
    every = F.cross_entropy(
        logits, labels, ignore_index=NONE, label_smoothing=smoothing, reduction="sum"
    )
    return every / (labels != NONE).sum().clamp(min=1)


@torch.no_grad()
def settle(network: Network, practice: Practice, first: int) -> None:
    """The norms' statistics anew, as the averaged weights make them."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
    for number in range(first, first + SETTLING_BATCHES):
        network(practice.batch(number, SIDE).pictures)


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
