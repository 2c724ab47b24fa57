"""Our networks with diffusers' weights, and diffusers' steps with the pipeline around them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, Flux2Pipeline
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu
from torch import Tensor

from linocut.catalog import AutoencoderConfig, TransformerConfig
from linocut.model.autoencoder import Autoencoder
from linocut.model.transformer import Transformer
from linocut.weights import names
from linocut.weights.convert import from_diffusers


def our_transformer(theirs: Any, config: TransformerConfig) -> Transformer:
    """Ours with their weights."""
    ours = Transformer(config).requires_grad_(False)
    ours.load_state_dict(from_diffusers(names.TRANSFORMER, theirs.state_dict()))
    return ours.eval()


def our_autoencoder(theirs: Any, config: AutoencoderConfig) -> Autoencoder:
    """Ours with their weights."""
    ours = Autoencoder(config).requires_grad_(False)
    vocabulary = names.autoencoder(len(config.channels))
    ours.load_state_dict(from_diffusers(vocabulary, theirs.state_dict()))
    return ours.eval()


def their_latent(vae: Any, pixels_BCHW: Tensor) -> Tensor:
    """Normalised token latents, as the pipeline makes them."""
    holder = SimpleNamespace(vae=vae, _patchify_latents=Flux2Pipeline._patchify_latents)
    latent: Tensor = Flux2Pipeline._encode_vae_image(holder, pixels_BCHW, None)
    return latent


def their_picture(vae: Any, latent_BCHW: Tensor) -> Tensor:
    """The decoded picture before it is clamped, as the pipeline makes it."""
    mean = vae.bn.running_mean.view(1, -1, 1, 1)
    deviation = torch.sqrt(vae.bn.running_var.view(1, -1, 1, 1) + vae.config.batch_norm_eps)
    cells = Flux2Pipeline._unpatchify_latents(latent_BCHW * deviation + mean)
    picture: Tensor = vae.decode(cells, return_dict=False)[0]
    return picture


def their_velocity(
    network: Any,
    latent_BCHW: Tensor,
    *,
    context_BTC: Tensor,
    references: tuple[Tensor, ...],
    level: Tensor,
    guidance: Tensor,
) -> Tensor:
    """The velocity of the drawn tokens, put together as the pipeline does it."""
    x_BLC = Flux2Pipeline._pack_latents(latent_BCHW)
    at_BLA = Flux2Pipeline._prepare_latent_ids(latent_BCHW)
    if references:
        packed = [Flux2Pipeline._pack_latents(latent) for latent in references]
        x_BLC = torch.cat((x_BLC, *packed), 1)
        at_BLA = torch.cat((at_BLA, Flux2Pipeline._prepare_image_ids(list(references))), 1)
    velocity: Tensor = network(
        hidden_states=x_BLC,
        timestep=level,
        guidance=guidance,
        encoder_hidden_states=context_BTC,
        txt_ids=Flux2Pipeline._prepare_text_ids(context_BTC),
        img_ids=at_BLA,
        return_dict=False,
    )[0]
    return velocity[:, : latent_BCHW[0, 0].numel()]


def their_schedule(num_tokens: int, num_steps: int) -> Any:
    """The scheduler, set as the pipeline sets it."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    even = torch.linspace(1.0, 1 / num_steps, num_steps, dtype=torch.float64).numpy()
    scheduler.set_timesteps(sigmas=even, mu=compute_empirical_mu(num_tokens, num_steps))
    return scheduler


@pytest.fixture(scope="session")
def oracle() -> SimpleNamespace:
    """The functions above, for tests: `oracle.their_latent(vae, pixels)`."""
    makers = (
        our_transformer, our_autoencoder, their_latent, their_picture, their_velocity,
        their_schedule,
    )  # fmt: skip
    return SimpleNamespace(**{maker.__name__: maker for maker in makers})
