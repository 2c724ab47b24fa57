"""Trains the velocity network, with the text encoder, on cached latents; then distils guidance in.

First stage: flow matching (arXiv 2210.02747), the target being noise - picture, at guidance 1.
Second stage: the guidance becomes an input (`linocut_training.guidance`). Its two teachers are
frozen copies: the end of the first stage, and an early step of it. Third stage: the guidance leads
away from a style that is not meant; the end of the second is its only teacher. Fourth stage: what
the third has learned of squares is taught on every canvas (`linocut_training.canvases`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from linocut.catalog import MINI
from linocut_training import binding, canvases, guidance, parallel
from linocut_training.batches import Batch, Source
from linocut_training.network import Network, compile_velocity
from linocut_training.optim import Average, Muon, rate_at, split_parameters
from linocut_training.plans import Plan
from linocut_training.state import Stretch, Training
from linocut_training.text_encoder import context, token_ids, token_spans

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
    training = Training(network, Average(network), optimisers, rates, stretch, plan.leads_away)
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
                log(step=step, loss=means[0], high=means[1], binding=means[2])
        if rank == 0 and training.step % plan.save_every == 0:
            training.save(work / "transformer.pt")
            saved = training.step
    if rank == 0 and training.step != saved:
        training.save(work / "transformer.pt")


def _learn(
    training: Training, plan: Plan, batch: Batch, tokens: Tokens, *,
    length: int, generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """One step of every parameter; the errors of `_Errors`, but for the last. [3]"""
    stretch = training.stretch
    with torch.autocast(stretch.device, torch.bfloat16, enabled=stretch.bf16):
        errors = _errors(training, batch, tokens, length, generator)
    errors.to_mend.backward()
    parallel.average_gradients(training.network.parameters())
    torch.nn.utils.clip_grad_norm_(training.network.parameters(), 1.0)
    for optimiser, rate in zip(training.optimisers, training.rates, strict=True):
        optimiser.param_groups[0]["lr"] = rate * rate_share(training.step, plan)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    # The averages of stages three and four begin anew: the steps before would weigh them down.
    begun = plan.styled_end if training.styled else plan.guided_end if training.guided else 0
    taken = training.step - begun
    training.average.update(training.network, min(0.993, (1 + taken) / (10 + taken)))
    training.step += 1
    return torch.stack((errors.velocity, errors.noisier, errors.binding)).detach().cpu()


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

    def named(self, batch: Batch, length: int) -> list[list[binding.Span] | None]:
        """Which of the text rows name each thing of a batch's pictures; None where not all do."""
        rows, result = self.rows(batch.captions), []
        for words, row, names in zip(batch.captions, rows, batch.names, strict=True):
            letters, before = binding.spans(words, names), length - len(row)
            spans = token_spans(self.tokenizer, words, letters or [])
            is_whole = bool(spans) and max(end for _, end in spans) < len(row)  # nothing cut off
            result.append([(before + a, before + b) for a, b in spans] if is_whole else None)
        return result


@dataclass(frozen=True, slots=True)
class _Errors:
    """Mean squared errors of the velocity, of its noisier half, and of a reference redrawn.

    And how far attention is from naming things right.
    """

    velocity: Tensor
    noisier: Tensor
    binding: Tensor
    redrawn: Tensor

    @property
    def to_mend(self) -> Tensor:
        """What a step makes smaller."""
        return self.velocity + REDRAWN_SHARE * self.redrawn + BINDING_SHARE * self.binding


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
            target = _guided(
                training, batch, tokens, noise=noise, t_B=t_B, scale_B=scale_B, length=length
            )
    with training.network.watched(is_watched=bool(batch.names)) as seen:
        guess, redrawn = training.network.beside(
            noisy, t_B, scale_B, text, batch.references, corner=batch.corner or (0, 0)
        )
        bound = _binding(seen, batch, tokens, length) if seen else guess.new_zeros(())
    error_B = (guess - target).square().mean((1, 2, 3))
    noisier = error_B.detach()[t_B > 0.75]
    return _Errors(
        error_B.mean(),
        noisier.mean() if len(noisier) else error_B.detach().mean(),
        bound,
        # As a velocity without noise, so that the noisy tokens have little to add.
        # Two things have no one place where they stand as they are given.
        (redrawn[0] + clean).square().mean() if len(redrawn) == 1 else error_B.new_zeros(()),
    )


def _binding(seen: list[Tensor], batch: Batch, tokens: Tokens, length: int) -> Tensor:
    """How far what the network looked at is from naming the things of a batch right."""
    rows, columns = batch.clean_BCHW.shape[-2:]
    own, other = binding.masks(tokens.named(batch, length), batch.tiles, (rows, columns), length)
    return binding.error(seen, own.to(seen[0].device), other.to(seen[0].device))


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
        _guided(training, asked, tokens, noise=noise, t_B=seen_B, scale_B=scales_B, length=length)
        for scales_B in (scale_B.clamp(max=LED_MOST), torch.ones_like(scale_B))
    )
    return batch.clean_BCHW - seen_B[:, None, None, None] * (led - plain)


def _guided(
    training: Training, batch: Batch, tokens: Tokens, *,
    noise: Tensor, t_B: Tensor, scale_B: Tensor, length: int,
) -> Tensor:  # fmt: skip
    """The velocity that a stage teaches under each guidance, of pictures without a reference."""
    clean, level = batch.clean_BCHW, t_B[:, None, None, None]
    rows = tokens.rows(batch.captions)
    noisy, target = torch.lerp(clean, noise, level), noise - clean
    answers = partial(_answers, noisy=noisy, t_B=t_B, length=length)
    if batch.is_new and training.is_guided:
        return target + _own(
            training.network, noisy, rows=rows, others=tokens.rows(batch.others), scale_B=scale_B,
            t_B=t_B, length=length,
        )  # fmt: skip
    if training.styled is not None:
        others = tokens.rows(batch.others) if training.leads_away else rows
        taught = partial(
            _taught, training, batch.known, rows=rows, others=others, scale_B=scale_B, t_B=t_B,
            length=length,
        )  # fmt: skip
        if batch.square_BCHW is None:
            return taught(noisy)
        middle = torch.lerp(batch.square_BCHW, canvases.middle(noise), level)
        return canvases.around(taught(middle), target, clean, batch.square_BCHW)
    if training.guided is not None:
        others = tokens.rows(batch.others)
        return guidance.styled(answers(training.guided), rows, others, scale_B)
    if training.teacher is not None:
        assert training.weaker is not None
        teacher, weaker = answers(training.teacher), answers(training.weaker)
        empty = tokens.rows([""] * len(rows))
        return target + guidance.change(teacher, weaker, rows, empty, scale_B)
    return target


def _own(
    network: Network, noisy: Tensor, *,
    rows: guidance.Rows, others: guidance.Rows, scale_B: Tensor, t_B: Tensor, length: int,
) -> Tensor:  # fmt: skip
    """What the network's own guidance adds; it is asked where the guidance is not 1 alone."""
    added = torch.zeros_like(noisy)
    mine = (scale_B != 1).nonzero().flatten().tolist()
    if mine:
        asked = _answers(network, noisy[mine], t_B[mine], length)
        its_rows, its_others = ([some[index] for index in mine] for some in (rows, others))
        added[mine] = guidance.own(asked, its_rows, its_others, scale_B[mine]).to(added.dtype)
    return added


def _taught(
    training: Training, known: list[bool], noisy: Tensor, *,
    rows: guidance.Rows, others: guidance.Rows, scale_B: Tensor, t_B: Tensor, length: int,
) -> Tensor:  # fmt: skip
    """What the teachers of stage four say: of what was known before, the checkpoint before.

    Where `others` are other words than `rows`, the answer leads away from them.
    """
    assert training.styled is not None
    velocity = torch.empty_like(noisy)
    earlier = training.earlier or training.styled
    for (teacher, its), is_rivalled in product(
        ((earlier, True), (training.styled, False)), (True, False)
    ):
        mine = [
            index
            for index, it in enumerate(known)
            if it is its and (rows[index] != others[index]) is is_rivalled
        ]
        if not mine:
            continue
        asked = _answers(teacher, noisy[mine], t_B[mine], length)
        its_rows, its_scale_B = [rows[index] for index in mine], scale_B[mine]
        if is_rivalled:
            away = [others[index] for index in mine]
            said = guidance.styled(asked, its_rows, away, its_scale_B)
        else:
            said = asked(its_rows, its_scale_B)
        velocity[mine] = said.to(velocity.dtype)
    return velocity


def _answers(
    network: Network, noisy: Tensor, t_B: Tensor, length: int, references: Sequence[Tensor] = ()
) -> guidance.Velocity:
    """What a network says of these latents under any words and guidance; it learns nothing."""

    @torch.no_grad()
    def velocity(rows: list[list[int]], scale_B: Tensor) -> Tensor:
        text = context(network.text_encoder, rows, length)
        result: Tensor = network(noisy, t_B, scale_B, text, references)
        return result

    return velocity
