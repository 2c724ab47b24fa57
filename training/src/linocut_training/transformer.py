"""Trains the velocity network, with the text encoder, on cached latents; then distils guidance in.

First stage: flow matching (arXiv 2210.02747), the target being noise - picture, at guidance 1.
Second stage: the guidance becomes an input (`linocut_training.guidance`). Its two teachers are
frozen copies: the end of the first stage, and an early step of it. Third stage: the guidance leads
away from a style that is not meant; the end of the second is its only teacher. Fourth stage: what
the third has learned of squares is taught on every canvas (`linocut_training.canvases`). In every
stage what pictures and references show is to be recognised (`linocut_training.recognition`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from linocut_training import binding, guidance, parallel, recognition, teachers
from linocut_training.batches import Batch, Source
from linocut_training.network import Network, compile_velocity
from linocut_training.optim import Average, Muon, rate_at, split_parameters
from linocut_training.plans import Plan
from linocut_training.recognition import Readers
from linocut_training.state import Stretch, Training
from linocut_training.text_encoder import context
from linocut_training.tokens import Tokens

STAGE_TWO_SHARE = 0.4  # of the learning rates, where stage two begins
STAGE_THREE_SHARE = 0.04  # and stage three, which has little to learn
LEAN = 0.8  # of the noise levels' logits towards noise
# What a thing is has to be seen in the reference. Nobody learns that from wanted pictures that show
# through their noise, and in noise of 0.97 they still do: many edits are noise alone, and of their
# loss counts, too, how far what comes out where the reference stands is from the wanted picture.
NOISE_ALONE_SHARE = 0.5
REDRAWN_SHARE = 0.5
# Of edits: those in whose noise not the wanted picture shows, but what the network takes it for at
# sight of noise alone. Sampling starts so; else what is wrong at first is never put right.
MISTAKEN_SHARE = 0.75
MISTAKEN_FROM = 0.5  # of the noise levels: with less noise that picture has done its harm
# The noise level at which teachers are asked about the wanted picture of an edit that has more: it
# still shows through, and with it where the reference stands.
LED_UP_TO = 0.9
LED_MOST = 3.0  # of the guidance of edits: with more, colours begin to run over
BINDING_SHARE = 0.5  # of how far attention is from the right names, beside the velocity's error
RECOGNITION_SHARE = 0.05  # of how far the network is from knowing what pictures show
EARLIER = "earlier.pt"  # in the work folder: the checkpoint that the training went on from
WARM_UP = 10  # steps of stages three and four, which may begin with new optimisers


def noise_levels(count: int, generator: torch.Generator, noise_alone_share: float = 0) -> Tensor:
    """Logit-normal levels in (0, 1], leaning towards noise, where the layout is decided. [count]

    noise_alone_share: how many are 1; the others are below.
    """
    alone = torch.rand(count, generator=generator) < noise_alone_share
    levels = torch.sigmoid(torch.randn(count, generator=generator) + LEAN)
    return torch.where(alone, 1.0, levels)


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
    readers = Readers().to(stretch.device)
    training = Training(
        network, readers, Average(network), optimisers, rates, stretch, plan.leads_away
    )
    if stretch.compiled:
        compile_velocity(network)
    if (file := work / "transformer.pt").exists():
        training.load(file)
    if plan.known != "nothing":
        training.earlier = training.frozen_from(work / EARLIER)
    return training


def rate_share(step: int, plan: Plan) -> float:
    """Share of the learning rates at a step: stage two goes on from where stage one ended."""
    if step < plan.steps:
        done = step / plan.steps
        return max(STAGE_TWO_SHARE, rate_at(done, decay_from=0.5)) if done > 0.5 else rate_at(done)
    if step < plan.guided_end:
        return STAGE_TWO_SHARE * (1 - (step - plan.steps) / plan.guided_steps)
    if step < plan.styled_end:
        taken, steps, share = step - plan.guided_end, plan.styled_steps, STAGE_THREE_SHARE
    else:
        taken, steps = step - plan.styled_end, plan.shaped_steps
        share = plan.last_stage_share
    return share * min(1, taken / WARM_UP) * (1 - taken / steps)


def train(
    rank: int, processes: int, work: Path, plan: Plan, stretch: Stretch | None = None
) -> None:
    """One process's share of all stages; resumes from `work/transformer.pt`."""
    stretch = stretch or Stretch()
    training, source = begin(work, plan, stretch), Source(work, plan)
    tokens, log = Tokens(work), parallel.Log(work / "transformer.log")
    saved = training.step
    while training.step < plan.end and not parallel.agreed(stretch.is_over):
        step = training.step
        training.take_copies(plan)
        generator = torch.Generator().manual_seed((plan.seed * 1_000_003 + step) * 64 + rank)
        length = tokens.full if plan.has_full_text(step) else plan.short_text
        batch = source.batch(step, rank).to(stretch.device)
        losses = _learn(training, plan, batch, tokens, length=length, generator=generator)
        if step % 10 == 0:
            means = parallel.average(losses).tolist()
            if rank == 0:
                log(step=step, **dict(zip(_Errors.LOGGED, means, strict=True)))
        if rank == 0 and training.step % plan.save_every == 0:
            training.save(work / "transformer.pt")
            saved = training.step
    if rank == 0 and training.step != saved:
        training.save(work / "transformer.pt")


def _learn(
    training: Training, plan: Plan, batch: Batch, tokens: Tokens, *,
    length: int, generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """One step of every parameter; the errors that are logged. [5]"""
    stretch = training.stretch
    with torch.autocast(stretch.device, torch.bfloat16, enabled=stretch.bf16):
        errors = _errors(training, batch, tokens, length, generator)
    errors.to_mend.backward()
    parallel.average_gradients([*training.network.parameters(), *training.readers.parameters()])
    torch.nn.utils.clip_grad_norm_(training.network.parameters(), 1.0)
    for optimiser, rate in zip(training.optimisers, training.rates, strict=True):
        optimiser.param_groups[0]["lr"] = rate * rate_share(training.step, plan)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    training.reading.step()
    training.reading.zero_grad(set_to_none=True)
    # The averages of stages three and four begin anew: the steps before would weigh them down.
    begun = plan.styled_end if training.styled else plan.guided_end if training.guided else 0
    taken = training.step - begun
    training.average.update(training.network, min(0.993, (1 + taken) / (10 + taken)))
    training.step += 1
    return torch.stack(errors.all).detach().cpu()


def averaged(work: Path) -> Network:
    """The trained network with its averaged values, from `work/transformer.pt`."""
    network = Network(0)
    state = torch.load(work / "transformer.pt", weights_only=True, map_location="cpu")
    network.load_state_dict(state["network"])
    average = Average(network)
    average.values = state["average"]
    average.copy_to(network)
    return network.eval().requires_grad_(False)


@dataclass(frozen=True, slots=True)
class _Errors:
    """Mean squared errors of the velocity, of its noisier half, and of a reference redrawn.

    And how far attention is from naming things right, and the network from recognising them.
    """

    velocity: Tensor
    noisier: Tensor
    binding: Tensor
    redrawn: Tensor
    recognition: Tensor

    LOGGED: ClassVar = ("loss", "high", "binding", "redrawn", "recognition")

    @property
    def all(self) -> tuple[Tensor, ...]:
        """Every one of them, in the order of `LOGGED`."""
        return (self.velocity, self.noisier, self.binding, self.redrawn, self.recognition)

    @property
    def to_mend(self) -> Tensor:
        """What a step makes smaller."""
        return (
            self.velocity
            + REDRAWN_SHARE * self.redrawn
            + BINDING_SHARE * self.binding
            + RECOGNITION_SHARE * self.recognition
        )


def _errors(
    training: Training, batch: Batch, tokens: Tokens, length: int, generator: torch.Generator
) -> _Errors:
    """What is wrong with the network's answers for a batch, at levels and guidances of its own."""
    clean, count = batch.clean_BCHW, len(batch.captions)
    rows = tokens.rows(batch.captions)
    length = max(length, *map(len, rows + tokens.rows(batch.told + batch.others)))
    noise = torch.randn(clean.shape, generator=generator).to(clean.device)
    is_edit = bool(batch.references)
    t_B = noise_levels(count, generator, NOISE_ALONE_SHARE if is_edit else 0).to(clean.device)
    scale_B = torch.ones_like(t_B)
    if training.is_guided and batch.corner is None:
        plain = guidance.PLAIN_SHARE if is_edit else guidance.NEW_PLAIN_SHARE * batch.is_new
        scale_B = guidance.scales(count, generator, plain_share=plain).to(clean.device)
    text = context(training.network.text_encoder, rows, length)
    if is_edit:
        shown = _shown(training.network, batch, noise=noise, t_B=t_B, scale_B=scale_B, text=text,
                       generator=generator)  # fmt: skip
        noisy = torch.lerp(shown, noise, t_B[:, None, None, None])
        levels = {"noise": noise, "t_B": t_B, "scale_B": scale_B}
        wanted = _wanted(training, batch, tokens, **levels, length=length)
        target = (noisy - wanted) / t_B[:, None, None, None]
    else:
        noisy = torch.lerp(clean, noise, t_B[:, None, None, None])
        target = noise - clean
        if batch.corner is None:
            target = teachers.guided(
                training, batch, tokens, noise=noise, t_B=t_B, scale_B=scale_B, length=length
            )
    with training.network.watched(is_watched=bool(batch.names)) as seen:
        guess, redrawn = training.network.beside(
            noisy, t_B, scale_B, text, batch.references, corner=batch.corner or (0, 0)
        )
        bound = _binding(seen, batch, tokens, length) if seen else guess.new_zeros(())
    unread = _unread(training, batch, length)
    error_B = (guess - target).square().mean((1, 2, 3))
    noisier = error_B.detach()[t_B > 0.75]
    return _Errors(
        error_B.mean(),
        noisier.mean() if len(noisier) else error_B.detach().mean(),
        bound,
        # As a velocity without noise, so that the noisy tokens have little to add.
        # Two things have no one place where they stand as they are given.
        (redrawn[0] + clean).square().mean() if len(redrawn) == 1 else error_B.new_zeros(()),
        unread,
    )


def _binding(seen: list[Tensor], batch: Batch, tokens: Tokens, length: int) -> Tensor:
    """How far what the network looked at is from naming the things of a batch right."""
    rows, columns = batch.clean_BCHW.shape[-2:]
    own, other = binding.masks(tokens.named(batch, length), batch.tiles, (rows, columns), length)
    return binding.error(seen, own.to(seen[0].device), other.to(seen[0].device))


def _unread(training: Training, batch: Batch, length: int) -> Tensor:
    """How far what the network has just said inside is from what the batch shows.

    Its tokens are text, picture and reference, in this order.
    """
    readers, many = training.readers, batch.clean_BCHW[0, 0].numel()
    early_BLC, late_BLC = training.network.early.taken(), training.network.late.taken()
    errors = batch.clean_BCHW.new_zeros(())
    if batch.shown_things:
        shown_BLC = late_BLC[:, length : length + many]
        errors = errors + recognition.error(readers.shown, shown_BLC, batch.shown_things)
    if batch.given_things:
        given_BLC = early_BLC[:, length + many : length + 2 * many]
        errors = errors + recognition.error(readers.given, given_BLC, batch.given_things)
    return errors


@torch.no_grad()
def _shown(
    network: Network, batch: Batch, *, noise: Tensor, t_B: Tensor, scale_B: Tensor, text: Tensor,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """What shows through the noise of edits: wanted pictures, and some of the network's own."""
    shown_BCHW = batch.clean_BCHW.clone()
    chosen_B = torch.rand(len(t_B), generator=generator).to(t_B.device) < MISTAKEN_SHARE
    chosen_B &= (t_B > MISTAKEN_FROM) & (t_B < 1)  # through noise alone nothing shows
    if chosen_B.any():
        alone, references = noise[chosen_B], [it[chosen_B] for it in batch.references]
        ones = torch.ones_like(t_B[chosen_B])
        velocity = network(alone, ones, scale_B[chosen_B], text[chosen_B], references)
        shown_BCHW[chosen_B] = (alone - velocity).to(shown_BCHW.dtype)
    return shown_BCHW


def _wanted(
    training: Training, batch: Batch, tokens: Tokens, *,
    noise: Tensor, t_B: Tensor, scale_B: Tensor, length: int,
) -> Tensor:  # fmt: skip
    """What edits are to become, moved by their guidance as it moves what words for it ask for."""
    wanted_BCHW = batch.clean_BCHW.clone()
    for its in (True, False):
        mine = [at for at, it in enumerate(batch.known) if it is its and scale_B[at] > 1]
        if mine:
            asked = batch.chosen(mine)
            levels = {"noise": noise[mine], "t_B": t_B[mine], "scale_B": scale_B[mine]}
            wanted_BCHW[mine] = _moved(training, asked, tokens, **levels, length=length)
    return wanted_BCHW


def _moved(
    training: Training, batch: Batch, tokens: Tokens, *,
    noise: Tensor, t_B: Tensor, scale_B: Tensor, length: int,
) -> Tensor:  # fmt: skip
    """The same of edits that are all known, whose teachers are asked, or all new."""
    seen_B, is_new, known = t_B.clamp(max=LED_UP_TO), not any(batch.known), [False] * len(t_B)
    asked = Batch(batch.clean_BCHW, batch.told, others=batch.others, known=known, is_new=is_new)
    led, plain = (
        teachers.guided(
            training, asked, tokens, noise=noise, t_B=seen_B, scale_B=scales_B, length=length
        )
        for scales_B in (scale_B.clamp(max=LED_MOST), torch.ones_like(scale_B))
    )
    return batch.clean_BCHW - seen_B[:, None, None, None] * (led - plain)
