"""Small real things that many tests share: random networks, a tiny whole checkpoint, PostgreSQL.

Weights are N(0, 0.15), because with the usual tiny ones every input gives nearly the same output
and a test sees nothing. Nothing is fetched: everything is made here.
"""

# ruff: noqa: PLC0415 - diffusers takes seconds to import, and most tests do without it or a database
from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

from linocut.catalog import AutoencoderConfig, TransformerConfig
from linocut.request import Picture

sys.path.insert(0, str(Path(__file__).parent / "kit"))  # how tests find what they share

if TYPE_CHECKING:
    from private_postgresql import PostgreSQL

    from linocut.engine import Engine

# Before huggingface_hub and onnxruntime are imported: a test never goes out.
os.environ["HF_HUB_OFFLINE"] = os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# Networks this small gain nothing from threads, and threads of a busy machine wait for each other.
torch.set_num_threads(1)
# No deadline: a slow machine is no bug.
settings.register_profile("linocut", parent=settings(), deadline=None, max_examples=50)
settings.load_profile("linocut")

SPECIAL_IDS = {
    "<unk>": 0, "<s>": 1, "</s>": 2, "[INST]": 3, "[/INST]": 4, "[IMG]": 10, "<pad>": 11,
    "[IMG_BREAK]": 12, "[IMG_END]": 13, "[SYSTEM_PROMPT]": 17, "[/SYSTEM_PROMPT]": 18,
}  # fmt: skip
USER_TEMPLATE = (
    "{{ bos_token }}{% for message in messages if message['role'] == 'user' %}"
    "[INST]{% for part in message['content'] %}{{ part['text'] }}{% endfor %}[/INST]{% endfor %}"
)
TINY_TRANSFORMER = TransformerConfig(
    in_channels=16,
    context_channels=48,
    hidden_size=64,
    num_heads=2,
    num_double_blocks=2,
    num_single_blocks=3,
    axes=(8, 8, 8, 8),
)
TINY_AUTOENCODER = AutoencoderConfig(
    channels=(32, 64, 128, 128), layers_per_block=1, latent_channels=4
)
TINY_LAYERS = (1, 2, 3)
TINY_TOKENS = 24
JUDGED = {"a red apple": "", "a green pear": "violence"}  # prompt -> what a tiny judge finds in it


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """max|a - b| / max|b|; the shapes must agree, and b must not be near zero."""
    assert ours.shape == theirs.shape
    largest = theirs.abs().max()
    assert 1e-3 < largest < 1e4
    return (ours.float() - theirs.float()).abs().max().item() / largest.item()


def randomise(network: nn.Module, seed: int) -> None:
    """N(0, 0.15) in every weight; norms' scales around 1, statistics away from 0 and 1."""
    network.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        weight.copy_(0.15 * torch.randn(weight.shape, generator=generator))
        if weight.ndim == 1 and name.endswith(("weight", "scale")):
            weight.add_(1)
    for name, statistic in network.named_buffers():
        if name.endswith("running_mean"):
            statistic.copy_(torch.randn(statistic.shape, generator=generator))
        if name.endswith("running_var"):
            statistic.copy_(torch.rand(statistic.shape, generator=generator) + 0.5)


def their_transformer(config: TransformerConfig, seed: int) -> Any:
    """diffusers' transformer of a configuration, with random weights."""
    from diffusers import Flux2Transformer2DModel

    network = Flux2Transformer2DModel(
        in_channels=config.in_channels,
        num_layers=config.num_double_blocks,
        num_single_layers=config.num_single_blocks,
        attention_head_dim=config.head_dim,
        num_attention_heads=config.num_heads,
        joint_attention_dim=config.context_channels,
        timestep_guidance_channels=config.time_channels,
        mlp_ratio=config.mlp_ratio,
        axes_dims_rope=config.axes,
        rope_theta=config.rope_theta,
        eps=config.eps,
        guidance_embeds=config.guidance_embedding,
    )
    randomise(network, seed)
    return network.eval()


def their_autoencoder(config: AutoencoderConfig, seed: int) -> Any:
    """diffusers' autoencoder of a configuration, with random weights."""
    from diffusers import AutoencoderKLFlux2

    levels = len(config.channels)
    small = config.decoder_channels != config.channels
    network = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.channels,
        decoder_block_out_channels=config.decoder_channels if small else None,
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
        norm_num_groups=config.norm_groups,
        sample_size=64,
        use_quant_conv=config.quant_conv,
        use_post_quant_conv=config.post_quant_conv,
        mid_block_add_attention=config.mid_attention,
        batch_norm_eps=config.batch_norm_eps,
    )
    randomise(network, seed)
    return network.eval()


def their_text_encoder(
    seed: int, *, vocabulary: int = 300, layers: int = 4, width: int = 16
) -> Any:
    """A Mistral3 with random weights, whose pad row is zero as the published one's is."""
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    text = {
        "model_type": "mistral", "vocab_size": vocabulary, "hidden_size": width,
        "intermediate_size": 37, "num_hidden_layers": layers, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 4, "rms_norm_eps": 1e-5, "rope_theta": 1e9,
        "sliding_window": None, "max_position_embeddings": 1024,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 11,
    }  # fmt: skip
    vision = {
        "model_type": "pixtral", "hidden_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 4, "intermediate_size": 37, "image_size": 30, "patch_size": 6,
    }  # fmt: skip
    config = Mistral3Config(
        text_config=text, vision_config=vision, image_token_index=10, tie_word_embeddings=False
    )
    config._attn_implementation = "sdpa"
    network = Mistral3ForConditionalGeneration(config)
    randomise(network, seed)
    network.model.language_model.embed_tokens.weight[11] = 0
    return network.eval()


def byte_tokenizer(template: str, *, most: int = TINY_TOKENS, padding_side: str = "left") -> Any:
    """A tokenizer of single bytes with the published markers' ids."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = SPECIAL_IDS | {letter: 20 + index for index, letter in enumerate(alphabet)}
    bytes_only = Tokenizer(models.BPE(vocabulary, []))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    bytes_only.add_special_tokens(list(SPECIAL_IDS))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_only,
        bos_token="<s>",  # noqa: S106 - a marker's name
        eos_token="</s>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
        pad_token="<pad>",  # noqa: S106
        padding_side=padding_side,
        model_max_length=most,
    )
    tokenizer.chat_template = template
    return tokenizer


def their_pipeline(seed: int = 0, **parts: Any) -> Any:
    """A whole tiny `Flux2Pipeline`, made in memory; `parts` take the place of its own."""
    from diffusers import FlowMatchEulerDiscreteScheduler, Flux2Pipeline

    autoencoder = their_autoencoder(TINY_AUTOENCODER, seed)
    autoencoder.decoder.conv_out.weight.mul_(0.2)  # few pixels are cut off at black and white
    own = {
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        "vae": autoencoder,
        "text_encoder": their_text_encoder(seed + 1),
        "tokenizer": byte_tokenizer(USER_TEMPLATE),
        "transformer": their_transformer(TINY_TRANSFORMER, seed + 2),
    }
    pipeline = Flux2Pipeline(**(own | parts))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_checkpoint(pipeline: Any, folder: Path, **said: object) -> Path:
    """The pipeline as diffusers itself writes it, and a `linocut.json` if anything is said."""
    pipeline.save_pretrained(folder)
    if said:
        (folder / "linocut.json").write_text(json.dumps(said), encoding="utf-8")
    return folder


def random_picture(width: int, height: int, seed: int) -> Picture:
    """Large random blots, so that resizing keeps something to see."""
    generator = torch.Generator().manual_seed(seed)
    blots = torch.rand((1, 3, 5, 7), generator=generator)
    levels = nn.functional.interpolate(blots, size=(height, width), mode="bicubic").clamp(0, 1)
    rows = (levels[0] * 255).byte().permute(1, 2, 0).contiguous()
    return Picture(width, height, rows.numpy().tobytes())


@pytest.fixture(scope="session")
def small() -> SimpleNamespace:
    """The functions above, for tests: `small.relative_error(a, b)`."""
    makers: tuple[Callable[..., Any], ...] = (
        relative_error, randomise, their_transformer, their_autoencoder, their_text_encoder,
        byte_tokenizer, their_pipeline, save_checkpoint, random_picture,
    )  # fmt: skip
    return SimpleNamespace(
        **{maker.__name__: maker for maker in makers},
        transformer=TINY_TRANSFORMER,
        autoencoder=TINY_AUTOENCODER,
        layers=TINY_LAYERS,
        max_tokens=TINY_TOKENS,
        user_template=USER_TEMPLATE,
        judged=JUDGED,
    )


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder as diffusers itself writes it, and a `linocut.json`. Do not change it."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    return save_checkpoint(
        their_pipeline(), folder, text_layers=TINY_LAYERS, max_text_tokens=TINY_TOKENS
    )


@pytest.fixture(scope="session")
def single_files(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as single files, its text encoder and tokenizer beside them. Do not change it."""
    from safetensors.torch import load_file, save_file

    from linocut.weights import convert, names

    folder = tmp_path_factory.mktemp("single") / "tiny"
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(tiny_folder / part, folder / part)
    shutil.copy(tiny_folder / "linocut.json", folder)
    for part, file, vocabulary in (
        ("transformer", "flux2-dev.safetensors", names.TRANSFORMER),
        ("vae", "ae.safetensors", names.autoencoder(len(TINY_AUTOENCODER.channels))),
    ):
        theirs = load_file(tiny_folder / part / "diffusion_pytorch_model.safetensors")
        ours = convert.from_diffusers(vocabulary, theirs)
        save_file({name: tensor.contiguous() for name, tensor in ours.items()}, folder / file)
    return folder


@pytest.fixture
def without_encoder(single_files: Path, tmp_path: Path) -> Path:
    """The two single files alone, as somebody has them who fetched nothing else."""
    folder = tmp_path / "alone"
    folder.mkdir()
    for file in single_files.glob("*.safetensors"):
        shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="session")
def engine(tiny_folder: Path) -> Engine:
    """The tiny checkpoint, open in exact mode on the CPU."""
    from linocut.engine import Engine

    return Engine.open(tiny_folder, device="cpu")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A server of databases that all tests share; none may stop it."""
    from private_postgresql import running_postgresql

    with running_postgresql() as server:
        server.add_migrated()
        yield server


@pytest.fixture(scope="session")
def judging_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with FLUX.2 [dev]'s 40 text layers, which has an opinion. Do not change it.

    Its word head was fitted to its own last states: it says yes where `JUDGED` says so.
    """
    tokenizer = byte_tokenizer(USER_TEMPLATE)
    tokenizer.add_tokens(["yes", "no"])
    encoder = their_text_encoder(1, layers=40)
    fit_opinion(encoder, tokenizer.backend_tokenizer)
    pipeline = their_pipeline(tokenizer=tokenizer, text_encoder=encoder)
    pipeline.vae.decoder.conv_out.weight.mul_(0.1)  # grey: no picture check finds anything in it
    return save_checkpoint(
        pipeline,
        tmp_path_factory.mktemp("judging") / "judging",
        max_text_tokens=TINY_TOKENS,
        native_max_tokens=64,
    )


def fit_opinion(encoder: Any, tokenizer: Any) -> None:
    """Give a random Mistral3 a row for "yes", so that its answers are those of `JUDGED`."""
    from linocut.safety.text_encoder import QUESTIONS, TextEncoderCheck

    asking = TextEncoderCheck(encoder, tokenizer)
    states, logits = [], []
    for prompt, category in JUDGED.items():
        for name, question in QUESTIONS.items():
            ids = torch.tensor([asking.ids(prompt, question)])
            states.append(encoder.model.language_model(input_ids=ids).last_hidden_state[0, -1])
            logits.append(3.0 if name == category else -3.0)
    fitted = torch.linalg.lstsq(
        torch.stack(states).double(), torch.tensor(logits)[:, None].double()
    )
    yes, no = (tokenizer.token_to_id(word) for word in ("yes", "no"))
    encoder.lm_head.weight[yes] = fitted.solution[:, 0].float()
    encoder.lm_head.weight[no] = 0
