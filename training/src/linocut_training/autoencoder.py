"""Trains the picture autoencoder on random crops of composited icons.

Loss: L1, plus L1 of the gradients (edges), plus L1 of a blurred copy (colour), plus a light KL.
Source of the recipe: a prototype's measurements, told in the model card.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from linocut.catalog import MINI
from linocut.model.autoencoder import Autoencoder, patchify
from linocut_training import parallel
from linocut_training.optim import Average, Muon, rate_at, split_parameters

CROP = 128
INITIAL_LOG_VARIANCE = -4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how fast; defaults are the shipped checkpoint's."""

    steps: int = 950
    batch: int = 8
    muon_rate: float = 2e-3
    adam_rate: float = 1e-3
    kl: float = 5e-4
    seed: int = 0
    save_every: int = 100


def pack(folders: list[Path], target: Path, side: int = 256) -> Path:
    """All pictures below `folders` as one uint8 array [N, side, side, RGBA], mapped by readers."""
    files = sorted(file for folder in folders for file in folder.rglob("*.png"))
    if not files:
        raise SystemExit(f"no pictures below {', '.join(map(str, folders))}: rasterise first")
    if target.exists() and len(np.load(target, mmap_mode="r")) == len(files):
        return target
    partial = target.with_suffix(".partial.npy")
    array = np.lib.format.open_memmap(
        partial, mode="w+", dtype=np.uint8, shape=(len(files), side, side, 4)
    )
    for index, file in enumerate(files):
        with Image.open(file) as image:
            array[index] = np.asarray(image.convert("RGBA").resize((side, side)))
    array.flush()
    partial.rename(target)
    return target


def crops(icons: np.ndarray, count: int, rng: np.random.Generator) -> Tensor:
    """Random crops of icons on random colours, RGB in [-1, 1]. [count, 3, CROP, CROP]"""
    side = icons.shape[1]
    batch = np.empty((count, CROP, CROP, 3), np.float32)
    for index in range(count):
        icon = icons[rng.integers(len(icons))]
        reach = int(CROP * (side / CROP) ** rng.random())  # from full detail to the whole object
        top, left = rng.integers(0, side - reach + 1, 2)
        piece = Image.fromarray(np.ascontiguousarray(icon[top : top + reach, left : left + reach]))
        premultiplied = piece.convert("RGBa").resize((CROP, CROP), Image.Resampling.LANCZOS)
        pixels = np.asarray(premultiplied, dtype=np.float32) / 255
        batch[index] = pixels[..., :3] + (1 - pixels[..., 3:]) * _backdrop(rng)
        if rng.random() < 0.5:
            batch[index] = batch[index, :, ::-1]
    return torch.from_numpy(batch.clip(0, 1) * 2 - 1).permute(0, 3, 1, 2)


def _backdrop(rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.3:
        return np.ones(3, np.float32)
    first = rng.random(3, dtype=np.float32)
    if rng.random() < 0.7:
        return first
    second = rng.random(3, dtype=np.float32)
    blend = np.linspace(0, 1, CROP, dtype=np.float32)[:, None, None]
    return first * (1 - blend) + second * blend


def loss_of(drawn: Tensor, wanted: Tensor) -> Tensor:
    """L1 of pixels, of edges at two scales, and of a blurred copy. Scalar"""
    error = drawn - wanted
    small = F.avg_pool2d(error, 2)
    edges = sum((x.diff(dim=-1).abs().mean() + x.diff(dim=-2).abs().mean()) for x in (error, small))
    return error.abs().mean() + edges + F.avg_pool2d(error, 8).abs().mean()


def optimisers_of(model: Autoencoder, plan: Plan) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the matrices, AdamW for the rest."""
    matrices, rest = split_parameters(model, lambda name: "conv_out" in name)
    return Muon(matrices, plan.muon_rate), torch.optim.AdamW(rest, plan.adam_rate)


def train(rank: int, processes: int, work: Path, plan: Plan) -> None:
    """One process's share of the training; resumes from `work/autoencoder.pt`."""
    torch.manual_seed(plan.seed)
    model = Autoencoder(MINI.autoencoder)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.no_grad():
        bias = model.encoder.quant_conv.get_parameter("bias")
        bias[MINI.autoencoder.latent_channels :] = INITIAL_LOG_VARIANCE
    optimisers = optimisers_of(model, plan)
    rates = (plan.muon_rate, plan.adam_rate)
    average = Average(model)
    state_file, first = work / "autoencoder.pt", 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        average.values = state["average"]
        for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        first = state["step"]
    objects = np.load(work / "objects.npy", mmap_mode="r")
    variety = np.load(work / "variety.npy", mmap_mode="r")
    log = parallel.Log(work / "autoencoder.log")
    for step in range(first, plan.steps):
        rng = np.random.default_rng((plan.seed, step, rank))
        half = plan.batch // 2
        wanted = torch.cat((crops(objects, half, rng), crops(variety, plan.batch - half, rng)))
        wanted = wanted.contiguous(memory_format=torch.channels_last)
        mean, log_variance = model.encoder(wanted).chunk(2, 1)
        log_variance = log_variance.clamp(-12, 6)
        drawn = model.decoder(mean + torch.randn_like(mean) * torch.exp(log_variance / 2))
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        fit = loss_of(drawn, wanted)
        (fit + plan.kl * kl).backward()
        parallel.average_gradients(model.parameters())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser, rate in zip(optimisers, rates, strict=True):
            optimiser.param_groups[0]["lr"] = rate * rate_at(step / plan.steps, decay_from=0.6)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        average.update(model, min(0.995, (1 + step) / (10 + step)))
        if rank == 0 and (step % 20 == 0 or step + 1 == plan.steps):
            error = (drawn.clamp(-1, 1) - wanted).square().mean().item()
            psnr = -10 * float(np.log10(error / 4))
            log(step=step, loss=fit.item(), kl=kl.item(), l1=(drawn - wanted).abs().mean().item(),
                psnr=round(psnr, 2))  # fmt: skip
        if rank == 0 and ((step + 1) % plan.save_every == 0 or step + 1 == plan.steps):
            state = {"model": model.state_dict(), "average": average.values, "step": step + 1,
                     "optimisers": [o.state_dict() for o in optimisers]}  # fmt: skip
            parallel.save_state(state_file, state)


def trained(work: Path) -> Autoencoder:
    """The averaged autoencoder with its latent statistics; those it came with stay."""
    model = Autoencoder(MINI.autoencoder)
    state = torch.load(work / "autoencoder.pt", weights_only=True)
    model.load_state_dict(state["model"])
    for parameter, value in zip(model.parameters(), state["average"], strict=True):
        parameter.data.copy_(value)
    if not model.bn.num_batches_tracked:
        _set_statistics(model, np.load(work / "objects.npy", mmap_mode="r"))
    return model.eval().requires_grad_(False)


def _set_statistics(model: Autoencoder, objects: np.ndarray) -> None:
    """Mean and variance of every token channel, from 512 whole pictures."""
    rng = np.random.default_rng(1)
    with torch.inference_mode():
        means = [
            patchify(model.encoder(_whole(objects, 16, rng)).chunk(2, 1)[0]) for _ in range(32)
        ]
        tokens = torch.cat(means).transpose(0, 1).flatten(1)
    model.bn.running_mean.copy_(tokens.mean(1))
    model.bn.running_var.copy_(tokens.var(1))
    model.bn.num_batches_tracked.fill_(1)


def _whole(icons: np.ndarray, count: int, rng: np.random.Generator) -> Tensor:
    pictures = []
    for index in rng.integers(0, len(icons), count):
        pixels = np.asarray(Image.fromarray(icons[index]).convert("RGBa"), np.float32) / 255
        backdrop = _backdrop(rng)
        if backdrop.ndim > 1:
            backdrop = backdrop[0, 0]
        pictures.append(pixels[..., :3] + (1 - pixels[..., 3:]) * backdrop)
    return torch.from_numpy(np.stack(pictures) * 2 - 1).permute(0, 3, 1, 2)
