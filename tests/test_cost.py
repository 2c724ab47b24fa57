"""The arithmetic of cost against PyTorch's counter, the published figures and the allocator."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from diffusers import Flux2Transformer2DModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop
from transformers import MistralConfig

from linocut import cost
from linocut.catalog import (
    DEV,
    KLEIN_4B,
    KLEIN_9B,
    MINI,
    SMALL_DECODER,
    AutoencoderConfig,
    ModelConfig,
    TextEncoderConfig,
    TransformerConfig,
)
from linocut.cost import Lengths
from linocut.engine import Engine
from linocut.model.autoencoder import Autoencoder
from linocut.model.text_encoder import TextEncoder
from linocut.model.transformer import Transformer
from linocut.request import ImageRequest, Picture
from linocut.sampling import tokens
from linocut.sampling.denoise import Velocity, bind

TERA: Final = 10**12
TRANSFORMERS: Final = {
    "dev": DEV.transformer,
    "klein 4B": KLEIN_4B,
    "klein 9B": KLEIN_9B,
    "mini": MINI.transformer,
}
AUTOENCODERS: Final = {
    "dev": DEV.autoencoder,
    "small decoder": SMALL_DECODER,
    "mini": MINI.autoencoder,
    "bare": AutoencoderConfig(
        channels=(16, 32),
        layers_per_block=1,
        latent_channels=4,
        norm_groups=4,
        quant_conv=False,
        post_quant_conv=False,
        mid_attention=False,
    ),
}
# The grids (rows, columns) of up to three references.
REFERENCES: Final = ((), ((64, 64),), ((40, 52), (64, 64)), ((64, 64), (31, 7), (1, 1)))


@st.composite
def random_transformers(draw: st.DrawFn) -> TransformerConfig:
    heads = draw(st.integers(1, 4))
    axes = tuple(2 * draw(st.integers(1, 4)) for _ in range(4))
    return TransformerConfig(
        in_channels=draw(st.integers(1, 20)),
        context_channels=draw(st.integers(1, 60)),
        hidden_size=heads * sum(axes),
        num_heads=heads,
        num_double_blocks=draw(st.integers(0, 3)),
        num_single_blocks=draw(st.integers(0, 3)),
        mlp_ratio=draw(st.sampled_from((1.0, 2.5, 3.0))),
        axes=axes,
        time_channels=2 * draw(st.integers(1, 20)),
        guidance_embedding=draw(st.booleans()),
    )


GRIDS: Final = st.tuples(st.integers(1, 12), st.integers(1, 12))


def counted(run: Callable[[], object]) -> int:
    """What PyTorch counts while `run` runs; its list lacks the CPU's attention kernel."""
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

    def attention(*shapes: Any, **_: object) -> int:
        return sdpa_flop(*shapes[:3])

    with FlopCounterMode(display=False, custom_mapping={fused: attention}) as counter:
        run()
    return int(counter.get_total_flops())


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def bound(
    network: Transformer, text: int, drawn: tuple[int, int], references: Any, steps: int
) -> tuple[Callable[[], Velocity], torch.Tensor]:
    """`bind` of zeros of these lengths, to be called, and the tokens that a step is given."""
    config, device = network.config, network.img_in.weight.device
    noise = tokens.picture_tokens(torch.zeros(1, config.in_channels, *drawn, device=device))
    words = tokens.text_tokens(torch.zeros(1, text, config.context_channels, device=device))
    latents = tuple(torch.zeros(1, config.in_channels, *at, device=device) for at in references)
    seen, levels = tokens.reference_tokens(latents), [0.5] * steps
    return (
        lambda: bind(network, noise, text=words, references=seen, guidance=4.0, levels=levels),
        noise.x_BLC,
    )


@lru_cache(maxsize=1)
def unreal(config: TransformerConfig) -> Transformer:
    """The network on the meta device: shapes without numbers."""
    with torch.device("meta"):
        return Transformer(config)


def check_count(
    config: TransformerConfig, text: int, drawn: tuple[int, int], references: Any, steps: int
) -> None:
    lengths = Lengths(
        text=text, drawn=math.prod(drawn), references=sum(math.prod(at) for at in references)
    )
    with torch.inference_mode(), torch.device("meta"):
        network = unreal(config)
        binding, x_BLC = bound(network, text, drawn, references, steps)
        kept: list[Velocity] = []
        assert counted(lambda: kept.append(binding())) == cost.bind_flops(config, lengths, steps)
        assert counted(lambda: kept[0](x_BLC, 0)) == cost.step_flops(config, lengths)
    assert parameters(network) == cost.transformer_parameters(config)


@pytest.mark.parametrize("references", REFERENCES, ids=len)
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_bind_and_a_step_of_a_published_size_cost_what_is_counted(
    name: str, references: Any
) -> None:
    check_count(TRANSFORMERS[name], 512, (64, 64), references, 1 if name == "dev" else 28)


@settings(max_examples=25)
@given(random_transformers(), st.integers(1, 30), GRIDS, st.lists(GRIDS, max_size=3),
       st.integers(1, 50))  # fmt: skip
def test_bind_and_a_step_of_any_size_cost_what_is_counted(
    config: TransformerConfig, text: int, drawn: tuple[int, int], references: Any, steps: int
) -> None:
    check_count(config, text, drawn, references, steps)


@pytest.mark.parametrize("references", [0, 30])
def test_bind_and_a_step_together_cost_what_diffusers_computes_in_a_step(references: int) -> None:
    config, lengths = MINI.transformer, Lengths(text=64, drawn=80, references=references)
    with torch.device("meta"), torch.no_grad():
        theirs = Flux2Transformer2DModel(
            in_channels=config.in_channels,
            num_layers=config.num_double_blocks,
            num_single_layers=config.num_single_blocks,
            attention_head_dim=config.head_dim,
            num_attention_heads=config.num_heads,
            joint_attention_dim=config.context_channels,
            axes_dims_rope=config.axes,
        )
        count = counted(
            lambda: theirs(
                hidden_states=torch.zeros(1, lengths.pictures, config.in_channels),
                encoder_hidden_states=torch.zeros(1, lengths.text, config.context_channels),
                timestep=torch.zeros(1),
                guidance=torch.zeros(1),
                img_ids=torch.zeros(lengths.pictures, 4),
                txt_ids=torch.zeros(lengths.text, 4),
            )
        )
    assert count == cost.bind_flops(config, lengths, 1) + cost.step_flops(config, lengths)


@pytest.mark.parametrize(
    ("config", "drawn", "references", "tera"),
    [
        (DEV.transformer, 32 * 32, 0, 87.8),
        (DEV.transformer, 48 * 48, 0, 165.8),
        (DEV.transformer, 64 * 64, 0, 282.6),
        (DEV.transformer, 85 * 48, 0, 281.5),
        (DEV.transformer, 96 * 96, 0, 665.0),
        (DEV.transformer, 128 * 128, 0, 1321.7),
        (DEV.transformer, 64 * 64, 1 * 4096, 582.8),
        (DEV.transformer, 64 * 64, 2 * 4096, 929.1),
        (DEV.transformer, 64 * 64, 4 * 4096, 1760.4),
        (DEV.transformer, 64 * 64, 6 * 4096, 2776.3),
        (DEV.transformer, 64 * 64, 8 * 4096, 3977.0),
        (DEV.transformer, 64 * 64, 10 * 4096, 5362.4),
        (DEV.transformer, 64 * 64, 126 * 126, 1703.4),
        (DEV.transformer, 128 * 128, 4 * 4096, 3353.6),
        (KLEIN_9B, 64 * 64, 0, 75.5),
        (KLEIN_4B, 64 * 64, 0, 34.8),
    ],
)
def test_a_step_of_512_text_tokens_costs_the_published_figure(
    config: TransformerConfig, drawn: int, references: int, tera: float
) -> None:
    lengths, width = Lengths(text=512, drawn=drawn, references=references), config.hidden_size
    whole = cost.bind_flops(config, lengths, 1) + cost.step_flops(config, lengths)
    # The published formula leaves out what the last product does for the references.
    figure = whole - 2 * config.in_channels * width * references
    assert round(figure / TERA, 1) == tera
    blocks = config.num_double_blocks + config.num_single_blocks
    vectors = cost.bind_flops(config, Lengths(text=0, drawn=0), 1)
    assert figure == (
        26 * width**2 * lengths.total * blocks
        + 4 * width * lengths.total**2 * blocks
        + 2 * width * config.context_channels * 512
        + 2 * width * config.in_channels * (lengths.pictures + drawn)
        + vectors
    )


def test_parameters_are_the_published_ones() -> None:
    dev = DEV.transformer
    assert cost.transformer_parameters(dev) == 32_223_281_152
    assert cost.transformer_parameters(KLEIN_4B) == 3_875_544_576
    assert cost.transformer_parameters(KLEIN_9B) == 9_078_581_248
    more = dataclasses.replace
    for block, weights in (
        (more(dev, num_double_blocks=9), 981_467_648),
        (more(dev, num_single_blocks=49), 490_733_824),
        (more(dev, guidance_embedding=False), -39_321_600),
        (more(dev, context_channels=0), -94_371_840),
    ):
        assert cost.transformer_parameters(block) - 32_223_281_152 == weights
    assert cost.autoencoder_parameters(DEV.autoencoder) == 84_046_115
    small = cost.decode_work(SMALL_DECODER, 0, 0).parameters
    assert round(small / 1e6, 2) == 27.95
    text = DEV.text_encoder
    assert cost.text_work(text, 0, 0).parameters == 671_088_640
    assert cost.text_work(text, 0, 1).parameters - 671_088_640 == 555_755_520


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_encoding_and_decoding_cost_what_is_counted(name: str) -> None:
    config = AUTOENCODERS[name]
    p = config.pixels_per_token
    with torch.inference_mode(), torch.device("meta"):
        network = Autoencoder(config)
        for rows, columns in ((1, 1), (3, 5), (32, 32)):
            size, height, width = (columns * p, rows * p), rows * p, columns * p
            pixels_BCHW = torch.zeros(1, 3, height, width)
            latent_BCHW = torch.zeros(1, config.token_channels, rows, columns)
            encoding, decoding = cost.encode_work(config, *size), cost.decode_work(config, *size)
            assert counted(partial(network.encode, pixels_BCHW)) == encoding.flops
            assert counted(partial(network.decode, latent_BCHW)) == decoding.flops
    assert parameters(network) == cost.autoencoder_parameters(config)


def test_encoding_and_decoding_cost_the_published_figures() -> None:
    for side, encoded, decoded, small in (
        (512, 1.12, 2.52, 1.42),
        (1024, 4.89, 10.5, 6.0),
        (2048, 26.1, 48.5, 28.9),
    ):
        for figure, work in (
            (encoded, cost.encode_work(DEV.autoencoder, side, side)),
            (decoded, cost.decode_work(DEV.autoencoder, side, side)),
            (small, cost.decode_work(SMALL_DECODER, side, side)),
        ):
            assert float(f"{work.flops / TERA:.3g}") == figure


def mistral(config: TextEncoderConfig, layers: tuple[int, ...]) -> TextEncoder:
    stated = dataclasses.asdict(config)
    stated["num_attention_heads"] = stated.pop("num_heads")
    stated["num_key_value_heads"] = stated.pop("num_kv_heads")
    stated["num_hidden_layers"] = stated.pop("num_layers")
    return TextEncoder(MistralConfig(**stated, sliding_window=None, pad_token_id=11), layers)


@pytest.mark.parametrize("model", [DEV, MINI], ids=["dev", "mini"])
def test_reading_a_prompt_costs_what_is_counted(model: ModelConfig) -> None:
    layers = model.conditioning.layers
    with torch.inference_mode(), torch.device("meta"):
        network = mistral(model.text_encoder, layers)
        # Eager, because on the meta device nobody can ask a mask whether it is needed.
        network.model.config._attn_implementation = "eager"
        for length in (1, 37, 512):
            ids = torch.zeros(1, length, dtype=torch.long)
            work = cost.text_work(model.text_encoder, length, max(layers))
            assert counted(partial(network, ids, torch.ones_like(ids))) == work.flops
    assert parameters(network) == work.parameters


def picture(width: int, height: int, seed: int = 0) -> Picture:
    return Picture(width, height, random.Random(seed).randbytes(3 * width * height))  # noqa: S311


@pytest.mark.parametrize(
    ("references", "strength"),
    [
        ((), 1.0),
        ((picture(96, 64),), 1.0),
        ((picture(96, 64), picture(64, 80), picture(96, 64)), 1.0),  # one twice
        ((picture(90, 70), picture(64, 80)), 0.55),
        ((picture(80, 64),), 0.55),  # encoded once: it is source and reference alike
        ((picture(96, 64),), 0.0),
    ],
)
def test_a_whole_request_costs_what_is_counted(
    tiny_folder: Path, references: tuple[Picture, ...], strength: float
) -> None:
    request = ImageRequest(
        prompt="a house", width=80, height=64, num_inference_steps=7,
        references=references, prompt_strength=strength,
    )  # fmt: skip
    engine = Engine.open(tiny_folder, device="cpu")  # its own, so that nothing is remembered
    letters_and_markers = len(request.prompt) + 3
    ours = cost.request_cost(request, engine.checkpoint.config, prompt_tokens=letters_and_markers)
    plan = engine.plan(request)
    assert (ours.drawn_width, ours.drawn_height) == (plan.width, plan.height)
    assert ours.steps == len(plan.levels) - 1 - plan.start
    assert ours.lengths.drawn == plan.rows * plan.columns
    assert counted(lambda: engine.draw(request)) == ours.flops.total


@given(random_transformers(), st.integers(1, 9), GRIDS, st.integers(0, 99), st.integers(1, 50))
def test_more_tokens_of_any_kind_never_cost_less(
    config: TransformerConfig, text: int, drawn: tuple[int, int], references: int, steps: int
) -> None:
    less = Lengths(text=text, drawn=math.prod(drawn), references=references)
    for kind in ("text", "drawn", "references"):
        more = dataclasses.replace(less, **{kind: getattr(less, kind) + 1})
        assert cost.step_flops(config, more) >= cost.step_flops(config, less)
        assert cost.bind_flops(config, more, steps) >= cost.bind_flops(config, less, steps)
        assert cost.step_alive(config, more) >= cost.step_alive(config, less)


def peak(run: Callable[[], object]) -> int:
    """The most bytes that tensors held while `run` ran, beyond what was there before."""
    with (
        torch.inference_mode(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled,
    ):
        run()
    assert profiled.profiler is not None
    events = profiled.profiler.kineto_results.events()
    changes = [event for event in events if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    return max(accumulate(int(event.nbytes()) for event in changes))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("blocks", [(2, 2), (0, 3), (3, 0)])
@pytest.mark.parametrize("references", [(), ((12, 12),)])
def test_a_step_holds_as_much_as_is_measured(
    dtype: torch.dtype, blocks: tuple[int, int], references: Any
) -> None:
    config = TransformerConfig(
        in_channels=16, context_channels=96, hidden_size=128, num_heads=2, axes=(16, 16, 16, 16),
        num_double_blocks=blocks[0], num_single_blocks=blocks[1],
    )  # fmt: skip
    lengths = Lengths(text=100, drawn=99, references=144 if references else 0)
    with torch.inference_mode():
        binding, x_BLC = bound(Transformer(config).to(dtype), 100, (9, 11), references, 1)
        velocity = binding()
        velocity(x_BLC, 0)
    measured = peak(lambda: velocity(x_BLC, 0))
    assert measured == pytest.approx(dtype.itemsize * cost.step_alive(config, lengths), rel=0.02)


@pytest.mark.parametrize("name", ["mini", "narrow dev"])
def test_encoding_and_decoding_hold_about_as_much_as_is_measured(name: str) -> None:
    config = MINI.autoencoder
    if name != "mini":
        config = AutoencoderConfig(channels=(32, 64, 128, 128))
    network, side = Autoencoder(config), 128
    picture_BCHW = torch.zeros(1, 3, side, side)
    latent_BCHW = torch.zeros(1, config.token_channels, *[side // config.pixels_per_token] * 2)
    for work, run in (
        (cost.encode_work(config, side, side), lambda: network.encode(picture_BCHW)),
        (cost.decode_work(config, side, side), lambda: network.decode(latent_BCHW)),
    ):
        # What a convolution takes for itself differs between processors.
        assert 0.7 < peak(run) / (4 * work.alive) < 1.2


def test_reading_a_prompt_holds_about_as_much_as_is_measured() -> None:
    network, ids = mistral(MINI.text_encoder, (2, 4, 6)), torch.ones(1, 64, dtype=torch.long)
    work = cost.text_work(MINI.text_encoder, 64, 6)
    assert 0.9 < peak(lambda: network(ids, torch.ones_like(ids))) / (4 * work.alive) < 1.1
