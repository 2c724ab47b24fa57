"""Trains the velocity network, with the text encoder, on cached latents; then distils guidance in.

First stage: flow matching (arXiv 2210.02747), the target being noise - picture, at guidance 1.
Second stage: the guidance becomes an input (`linocut_training.guidance`). Its two teachers are
frozen copies: the end of the first stage, and an early step of it.
"""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from linocut.catalog import MINI
from linocut.model import attention
from linocut.model.text_encoder import TextEncoder
from linocut.model.transformer import Transformer
from linocut_training import captions, guidance, parallel, views
from linocut_training.concepts import CONCEPTS
from linocut_training.optim import Average, Muon, rate_at, split_parameters
from linocut_training.text_encoder import context, new_encoder, token_ids

EMPTY_SHARE = 0.1  # captions left out, so that "no caption" is known too
REFERENCE_TIME = 10
STAGE_TWO_SHARE = 0.4  # of the learning rates, where stage two begins
# Of a concept's placements on the square grid: words do not say where a thing stands, and a network
# that has to average over many places draws soft edges. References show where: edits have them all.
ASKED_PLACEMENTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how fast; defaults are the shipped checkpoint's.

    weaker_after: the share of stage one after which its network is what stage two calls weaker.
    edit_share, other_share: batches with a reference picture, and batches off the square grid.
    short_text: text rows of most steps, or the longest caption's: it leaves most of the padding
    out. full_text_every: a step in so many has all rows, as drawing has.
    """

    steps: int = 2900
    guided_steps: int = 350
    weaker_after: float = 0.35
    batch: int = 40
    muon_rate: float = 2e-3
    adam_rate: float = 1e-3
    text_share: float = 0.25
    edit_share: float = 0.16
    other_share: float = 0.25
    short_text: int = 12
    full_text_every: int = 8
    seed: int = 0
    save_every: int = 50


@dataclass(frozen=True, slots=True)
class Batch:
    """Clean latents, their captions, and references that stand on the same grid."""

    clean_BCHW: Tensor
    captions: list[str]
    reference_BCHW: Tensor | None


class Network(nn.Module):
    """Text encoder and transformer together: what is trained, averaged and saved as one."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.text_encoder: TextEncoder = new_encoder(seed)
        torch.manual_seed(seed)
        self.transformer = Transformer(MINI.transformer, attention.spelled_out)
        initialise(self.transformer)

    def forward(
        self, noisy_BCHW: Tensor, t_B: Tensor, guidance_B: Tensor, text_BTC: Tensor,
        reference_BCHW: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """Velocity of the noisy latents, shaped like them."""
        network, (rows, columns) = self.transformer, noisy_BCHW.shape[-2:]
        tokens = [noisy_BCHW.flatten(2).transpose(1, 2)]
        positions = [text_positions(text_BTC.shape[1]), grid_positions(rows, columns, 0)]
        if reference_BCHW is not None:
            tokens.append(reference_BCHW.flatten(2).transpose(1, 2))
            positions.append(grid_positions(rows, columns, REFERENCE_TIME))
        velocity_BLC = network(
            network.img_in(torch.cat(tokens, 1)),
            network.txt_in(text_BTC),
            rotary=network.rotary(torch.cat(positions)),
            modulation=network.modulation(t_B, guidance_B),
        )[:, : rows * columns]
        result: Tensor = velocity_BLC.transpose(1, 2).reshape(noisy_BCHW.shape)
        return result


def text_positions(count: int) -> Tensor:
    """Positions of the last `count` of all text rows. [count, 4]"""
    at_LA = torch.zeros(count, 4, dtype=torch.long)
    at_LA[:, 3] = torch.arange(MINI.conditioning.max_tokens - count, MINI.conditioning.max_tokens)
    return at_LA


def grid_positions(rows: int, columns: int, time: int) -> Tensor:
    """Positions of a grid's tokens, row by row. [rows · columns, 4]"""
    at = torch.cartesian_prod(
        torch.tensor([time]), torch.arange(rows), torch.arange(columns), torch.tensor([0])
    )
    return at.reshape(-1, 4)


@torch.no_grad()
def initialise(network: Transformer) -> None:
    """Every block starts as the identity; only the shifts are random.

    Without biases a position can enter queries and keys only through what the shift adds.
    """
    for modulation, parts in (
        (network.double_stream_modulation_img.lin, 6),
        (network.double_stream_modulation_txt.lin, 6),
        (network.single_stream_modulation.lin, 3),
    ):
        shifts = torch.randn_like(modulation.weight) * 0.02
        rows = shifts.view(parts, -1, shifts.shape[1])
        keep = torch.zeros(parts, 1, 1)
        keep[::3] = 1
        modulation.weight.copy_((rows * keep).flatten(0, 1))
    network.final_layer.linear.weight.zero_()
    for parameter in network.final_layer.adaLN_modulation.parameters():
        parameter.zero_()


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
        state = torch.load(file, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.values = state["average"]
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.step = state["step"]
        self.weaker, self.teacher = (
            self._frozen(state[name]) if state[name] else None for name in ("weaker", "teacher")
        )

    def averaged(self) -> Network:
        """The averaged network as it is now; it learns no more."""
        network = frozen_copy(self.network)
        self.average.copy_to(network)
        return network

    def _frozen(self, state: dict[str, Any]) -> Network:
        network = frozen_copy(self.network)
        network.load_state_dict(state)
        return network


def frozen_copy(network: Network) -> Network:
    """A copy that learns no more."""
    return copy.deepcopy(network).requires_grad_(False)


def begin(work: Path, plan: Plan) -> Training:
    """A training at its first step, the text encoder distilled, or one resumed from `work`."""
    network = Network(plan.seed)
    network.text_encoder.load_state_dict(torch.load(work / "text_encoder.pt", weights_only=True))
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
    training = Training(network, Average(network), optimisers, rates)
    if (file := work / "transformer.pt").exists():
        training.load(file)
    return training


def rate_share(step: int, plan: Plan) -> float:
    """Share of the learning rates at a step: stage two goes on from where stage one ended."""
    if step < plan.steps:
        done = step / plan.steps
        return max(STAGE_TWO_SHARE, rate_at(done, decay_from=0.5)) if done > 0.5 else rate_at(done)
    return STAGE_TWO_SHARE * (1 - (step - plan.steps) / plan.guided_steps)


def train(rank: int, processes: int, work: Path, plan: Plan) -> None:
    """One process's share of both stages; resumes from `work/transformer.pt`."""
    training, source = begin(work, plan), Source(work, plan)
    tokens = Tokens(work)
    log = parallel.Log(work / "transformer.log")
    last = plan.steps + plan.guided_steps
    while training.step < last:
        step = training.step
        if step >= plan.steps * plan.weaker_after and training.weaker is None:
            training.weaker = training.averaged()
        if step >= plan.steps and training.teacher is None:
            training.teacher = training.averaged()
        generator = torch.Generator().manual_seed((plan.seed * 1_000_003 + step) * 64 + rank)
        length = plan.short_text if step % plan.full_text_every else tokens.full
        loss, high = _loss(training, source.batch(step, rank), tokens, length, generator)
        loss.backward()
        parallel.average_gradients(training.network.parameters())
        torch.nn.utils.clip_grad_norm_(training.network.parameters(), 1.0)
        for optimiser, rate in zip(training.optimisers, training.rates, strict=True):
            optimiser.param_groups[0]["lr"] = rate * rate_share(step, plan)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        training.average.update(training.network, min(0.993, (1 + step) / (10 + step)))
        training.step += 1
        if step % 10 == 0:
            means = parallel.average(torch.stack((loss.detach(), high.detach())))
            if rank == 0:
                log(step=step, loss=means[0].item(), high=means[1].item())
        if rank == 0 and (training.step % plan.save_every == 0 or training.step == last):
            training.save(work / "transformer.pt")


def averaged(work: Path) -> Network:
    """The trained network with its averaged values, from `work/transformer.pt`."""
    network = Network(0)
    state = torch.load(work / "transformer.pt", weights_only=True)
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
    noise = torch.randn(clean.shape, generator=generator)
    t_B = noise_levels(count, generator)
    level = t_B[:, None, None, None]
    noisy, target = torch.lerp(clean, noise, level), noise - clean
    guidance_B = torch.ones(count)
    if training.teacher is not None:
        assert training.weaker is not None
        guidance_B = guidance.scales(count, generator)
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
