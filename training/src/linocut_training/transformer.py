"""Trains the velocity network, with the text encoder, on cached latents; then distils guidance in.

First stage: flow matching (arXiv 2210.02747), the target being noise - picture, at guidance 1.
Second stage: the guidance becomes an input (`linocut_training.guidance`). Its two teachers are
frozen copies: the end of the first stage, and an early step of it.
"""

from __future__ import annotations

import copy
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from linocut.catalog import MINI
from linocut_training import captions, guidance, parallel, views
from linocut_training.concepts import CONCEPTS
from linocut_training.network import Network, compile_velocity
from linocut_training.optim import Average, Muon, rate_at, split_parameters
from linocut_training.text_encoder import context, token_ids

EMPTY_SHARE = 0.1  # captions left out, so that "no caption" is known too
STAGE_TWO_SHARE = 0.4  # of the learning rates, where stage two begins
# Of a concept's placements on the square grid: words do not say where a thing stands, and a network
# that has to average over many places draws soft edges. References show where: edits have them all.
ASKED_PLACEMENTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how fast, from nothing. The shipped checkpoint saw as much, in two editions.

    weaker_after: the share of stage one after which its network is what stage two calls weaker.
    edit_share, other_share: batches with a reference picture, and batches off the square grid.
    short_text: text rows of most steps, or the longest caption's: it leaves most of the padding
    out. full_text_every: a step in so many has all rows, as drawing has.
    """

    steps: int = 4000
    guided_steps: int = 350
    weaker_after: float = 0.2
    batch: int = 50
    muon_rate: float = 2e-3
    adam_rate: float = 1e-3
    text_share: float = 0.25
    edit_share: float = 0.16
    other_share: float = 0.25
    short_text: int = 12
    full_text_every: int = 8
    seed: int = 0
    save_every: int = 50


# From an earlier edition, which knows the shapes.
GOING_ON = Plan(steps=1250)
# One GPU takes five times the batch in less time than two processor cores take theirs. Reckoned
# from the work of a step, not yet run on one.
ON_GPU = Plan(guided_steps=1000, batch=512, save_every=1000)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where, how and until when on the clock `time.time` a training runs, unfinished or not.

    bf16: products in bfloat16, twice as fast where the processor has them; weights, sums and
    optimisers stay fp32. compiled: through `torch.compile`, again nearly twice as fast on a CPU.
    """

    device: str = "cpu"
    until: float = math.inf
    bf16: bool = False
    compiled: bool = False

    @property
    def is_over(self) -> bool:
        """Whether that time has come."""
        return time.time() >= self.until


@dataclass(frozen=True, slots=True)
class Batch:
    """Clean latents, their captions, and references that stand on the same grid."""

    clean_BCHW: Tensor
    captions: list[str]
    reference_BCHW: Tensor | None

    def to(self, device: str) -> Batch:
        """The same on a device."""
        reference = None if self.reference_BCHW is None else self.reference_BCHW.to(device)
        return Batch(self.clean_BCHW.to(device), self.captions, reference)


class Source:
    """Batches of views, by step and rank alone: the same step always gives the same batch."""

    def __init__(self, work: Path, plan: Plan) -> None:
        self.plan = plan
        self.grids = views.grids()
        self.latents = [np.load(views.latents_file(work, g), mmap_mode="r") for g in self.grids]
        self.views = [list(views.views_on(grid)) for grid in self.grids]
        self.square = {view: index for index, view in enumerate(self.views[0])}
        self.asked = [
            [index for index, view in enumerate(of) if view.placement < ASKED_PLACEMENTS]
            for of in self.views
        ]

    def batch(self, step: int, rank: int) -> Batch:
        """One process's batch of a step; all processes draw the same kind."""
        kind = random.Random(f"{self.plan.seed}/{step}")
        mine = random.Random(f"{self.plan.seed}/{step}/{rank}")
        share = kind.random()
        if share < self.plan.edit_share:
            return self._edits(mine)
        grid = 0
        if share < self.plan.edit_share + self.plan.other_share:
            grid = kind.randrange(1, len(self.grids))
        return self._captioned(grid, mine)

    def _captioned(self, grid: int, rng: random.Random) -> Batch:
        chosen = rng.choices(self.asked[grid], k=self.plan.batch)
        words = []
        for index in chosen:
            view = self.views[grid][index]
            style, colour = views.STYLE_NAMES[view.style], views.COLOUR_NAMES[view.colour]
            words.append(captions.caption(CONCEPTS[view.concept], style, colour, rng))
        return Batch(self._take(grid, chosen), _some_empty(words, rng), None)

    def _edits(self, rng: random.Random) -> Batch:
        targets, references, words = [], [], []
        for _ in range(self.plan.batch):
            wanted = rng.choice(self.views[0])
            kind: captions.EditKind
            if rng.random() < 0.6:
                kind = "background"
                others = [c for c in views.colours(wanted.concept, wanted.placement)
                          if c != wanted.colour]  # fmt: skip
                given = views.View(wanted.concept, wanted.style, wanted.placement,
                                   rng.choice(others))  # fmt: skip
            else:
                kind = "style"
                style = rng.choice([s for s in range(len(views.STYLE_NAMES)) if s != wanted.style])
                given = views.View(wanted.concept, style, wanted.placement, wanted.colour)
            targets.append(self.square[wanted])
            references.append(self.square[given])
            style_name = views.STYLE_NAMES[wanted.style]
            colour = views.COLOUR_NAMES[wanted.colour]
            concept = CONCEPTS[wanted.concept]
            words.append(captions.instruction(kind, concept, style_name, colour, rng))
        return Batch(self._take(0, targets), _some_empty(words, rng), self._take(0, references))

    def _take(self, grid: int, indices: list[int]) -> Tensor:
        return torch.from_numpy(self.latents[grid][indices].astype(np.float32))


def _some_empty(words: list[str], rng: random.Random) -> list[str]:
    return ["" if rng.random() < EMPTY_SHARE else phrase for phrase in words]


def noise_levels(count: int, generator: torch.Generator) -> Tensor:
    """Logit-normal levels in (0, 1), leaning towards noise, where the layout is decided. [count]"""
    return torch.sigmoid(torch.randn(count, generator=generator) + 0.8)


@dataclass
class Training:
    """Everything that changes from step to step, and what it is saved as.

    weaker, teacher: the averaged network early in stage one, and at its end.
    """

    network: Network
    average: Average
    optimisers: tuple[torch.optim.Optimizer, ...]
    rates: tuple[float, ...]
    stretch: Stretch
    step: int = 0
    weaker: Network | None = None
    teacher: Network | None = None

    def save(self, file: Path) -> None:
        """The whole state, resumable."""
        state: dict[str, Any] = {
            "network": self.network.state_dict(),
            "average": self.average.values,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "step": self.step,
            "weaker": self.weaker.state_dict() if self.weaker else None,
            "teacher": self.teacher.state_dict() if self.teacher else None,
        }
        parallel.save_state(file, state)

    def load(self, file: Path) -> None:
        """Go on where `save` left off."""
        state = torch.load(file, weights_only=True, map_location=self.stretch.device)
        self.network.load_state_dict(state["network"])
        self.average.values = state["average"]
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.step = state["step"]
        self.weaker, self.teacher = (
            self._frozen() if state[name] else None for name in ("weaker", "teacher")
        )
        for name, network in (("weaker", self.weaker), ("teacher", self.teacher)):
            if network is not None:
                network.load_state_dict(state[name])

    def averaged(self) -> Network:
        """The averaged network as it is now; it learns no more."""
        network = self._frozen()
        self.average.copy_to(network)
        return network

    def _frozen(self) -> Network:
        network = copy.deepcopy(self.network).requires_grad_(False)
        if self.stretch.compiled:
            compile_velocity(network)
        return network


def begin(work: Path, plan: Plan, stretch: Stretch) -> Training:
    """A training at its first step, the text encoder distilled, or one resumed from `work`."""
    network = Network(plan.seed)
    network.text_encoder.load_state_dict(torch.load(work / "text_encoder.pt", weights_only=True))
    network.to(stretch.device)
    text_matrices, text_rest = split_parameters(network.text_encoder, lambda n: "embed" in n)
    matrices, rest = split_parameters(network.transformer, lambda n: "_blocks" not in n)
    rates = (plan.muon_rate, plan.adam_rate, plan.muon_rate * plan.text_share,
             plan.adam_rate * plan.text_share)  # fmt: skip
    optimisers = (
        Muon(matrices, rates[0]),
        torch.optim.AdamW(rest, rates[1], betas=(0.9, 0.99), weight_decay=0.0),
        Muon(text_matrices, rates[2]),
        torch.optim.AdamW(text_rest, rates[3], betas=(0.9, 0.99), weight_decay=0.0),
    )
    training = Training(network, Average(network), optimisers, rates, stretch)
    if stretch.compiled:
        compile_velocity(network)
    if (file := work / "transformer.pt").exists():
        training.load(file)
    return training


def rate_share(step: int, plan: Plan) -> float:
    """Share of the learning rates at a step: stage two goes on from where stage one ended."""
    if step < plan.steps:
        done = step / plan.steps
        return max(STAGE_TWO_SHARE, rate_at(done, decay_from=0.5)) if done > 0.5 else rate_at(done)
    return STAGE_TWO_SHARE * (1 - (step - plan.steps) / plan.guided_steps)


def train(
    rank: int, processes: int, work: Path, plan: Plan, stretch: Stretch | None = None
) -> None:
    """One process's share of both stages; resumes from `work/transformer.pt`."""
    stretch = stretch or Stretch()
    training, source = begin(work, plan, stretch), Source(work, plan)
    tokens, log = Tokens(work), parallel.Log(work / "transformer.log")
    last, saved = plan.steps + plan.guided_steps, training.step
    while training.step < last and not parallel.agreed(stretch.is_over):
        step = training.step
        if step >= plan.steps * plan.weaker_after and training.weaker is None:
            training.weaker = training.averaged()
        if step >= plan.steps and training.teacher is None:
            training.teacher = training.averaged()
        generator = torch.Generator().manual_seed((plan.seed * 1_000_003 + step) * 64 + rank)
        length = plan.short_text if step % plan.full_text_every else tokens.full
        batch = source.batch(step, rank).to(stretch.device)
        losses = _learn(training, plan, batch, tokens, length=length, generator=generator)
        if step % 10 == 0:
            means = parallel.average(losses).tolist()
            if rank == 0:
                log(step=step, loss=means[0], high=means[1])
        if rank == 0 and training.step % plan.save_every == 0:
            training.save(work / "transformer.pt")
            saved = training.step
    if rank == 0 and training.step != saved:
        training.save(work / "transformer.pt")


def _learn(
    training: Training, plan: Plan, batch: Batch, tokens: Tokens, *,
    length: int, generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """One step of every parameter; the loss, and that of the noisier half. [2]"""
    stretch = training.stretch
    with torch.autocast(stretch.device, torch.bfloat16, enabled=stretch.bf16):
        loss, high = _loss(training, batch, tokens, length, generator)
    loss.backward()
    parallel.average_gradients(training.network.parameters())
    torch.nn.utils.clip_grad_norm_(training.network.parameters(), 1.0)
    for optimiser, rate in zip(training.optimisers, training.rates, strict=True):
        optimiser.param_groups[0]["lr"] = rate * rate_share(training.step, plan)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    keep = min(0.993, (1 + training.step) / (10 + training.step))
    training.average.update(training.network, keep)
    training.step += 1
    return torch.stack((loss.detach(), high.detach())).cpu()


def averaged(work: Path) -> Network:
    """The trained network with its averaged values, from `work/transformer.pt`."""
    network = Network(0)
    state = torch.load(work / "transformer.pt", weights_only=True, map_location="cpu")
    network.load_state_dict(state["network"])
    average = Average(network)
    average.values = state["average"]
    average.copy_to(network)
    return network.eval().requires_grad_(False)


class Tokens:
    """Captions to token ids, remembered."""

    def __init__(self, work: Path) -> None:
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(work / "tokenizer")
        self.full = MINI.conditioning.max_tokens
        self.known: dict[str, list[int]] = {}

    def rows(self, words: list[str]) -> list[list[int]]:
        """The ids of each phrase, unpadded."""
        for phrase in words:
            if phrase not in self.known:
                self.known[phrase] = token_ids(self.tokenizer, phrase)
        return [self.known[phrase] for phrase in words]


def _loss(
    training: Training, batch: Batch, tokens: Tokens, length: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(mean squared error, the same over the noisier half) of the velocity."""
    clean, count = batch.clean_BCHW, len(batch.captions)
    rows = tokens.rows(batch.captions)
    length = max(length, *map(len, rows))
    noise = torch.randn(clean.shape, generator=generator).to(clean.device)
    t_B = noise_levels(count, generator).to(clean.device)
    level = t_B[:, None, None, None]
    noisy, target = torch.lerp(clean, noise, level), noise - clean
    guidance_B = torch.ones_like(t_B)
    if training.teacher is not None:
        assert training.weaker is not None
        guidance_B = guidance.scales(count, generator).to(clean.device)
        teacher, weaker = (
            _answers(network, noisy, t_B, batch.reference_BCHW, length)
            for network in (training.teacher, training.weaker)
        )
        change = guidance.change(teacher, weaker, rows, tokens.rows([""] * count))
        target = target + (guidance_B - 1)[:, None, None, None] * change
    text = context(training.network.text_encoder, rows, length)
    guess = training.network(noisy, t_B, guidance_B, text, batch.reference_BCHW)
    error_B = (guess - target).square().mean((1, 2, 3))
    noisier = error_B.detach()[t_B > 0.75]
    return error_B.mean(), noisier.mean() if len(noisier) else error_B.detach().mean()


def _answers(
    network: Network, noisy: Tensor, t_B: Tensor, reference: Tensor | None, length: int
) -> guidance.Velocity:
    """What a frozen network says of these latents under any captions."""

    @torch.no_grad()
    def velocity(rows: list[list[int]]) -> Tensor:
        text = context(network.text_encoder, rows, length)
        result: Tensor = network(noisy, t_B, torch.ones_like(t_B), text, reference)
        return result

    return velocity
