"""Known configurations and checkpoints, as data. Torch-free.

A configuration is the shape of a network and nothing else; published ones are constants here, all
others come from a checkpoint's own `config.json` (see `linocut.weights.files`).
Source of the published sizes: the FLUX.2 [dev] and klein model repositories of Black Forest Labs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from linocut.errors import CheckpointInvalid
from linocut.request import MAX_PIXELS, MAX_SIDE
from linocut.sizes import covering_grid, drawn_size


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig:
    """Shape of the velocity network. Defaults are FLUX.2 [dev]'s.

    `axes` are the rotary channels of (time, row, column, word); they add up to the head's width.
    """

    in_channels: int = 128
    context_channels: int = 15360
    hidden_size: int = 6144
    num_heads: int = 48
    num_double_blocks: int = 8
    num_single_blocks: int = 48
    mlp_ratio: float = 3.0
    axes: tuple[int, ...] = (32, 32, 32, 32)
    rope_theta: float = 2000.0
    time_channels: int = 256
    guidance_embedding: bool = True
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_heads:
            raise CheckpointInvalid(
                f"hidden_size {self.hidden_size} does not divide into {self.num_heads} heads"
            )
        if sum(self.axes) != self.head_dim or len(self.axes) != 4 or any(a % 2 for a in self.axes):
            raise CheckpointInvalid(
                f"rotary axes {self.axes} must be four even numbers that add up to the head's "
                f"width, {self.head_dim}"
            )

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def mlp_size(self) -> int:
        """Width of the gated MLP between its two products."""
        return int(self.hidden_size * self.mlp_ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderConfig:
    """Shape of the picture autoencoder. Defaults are FLUX.2's.

    `decoder_channels` differs from `channels` in the published small decoder only.
    """

    channels: tuple[int, ...] = (128, 256, 512, 512)
    decoder_channels: tuple[int, ...] = ()
    layers_per_block: int = 2
    latent_channels: int = 32
    norm_groups: int = 32
    quant_conv: bool = True
    post_quant_conv: bool = True
    mid_attention: bool = True
    norm_eps: float = 1e-6
    batch_norm_eps: float = 1e-4

    def __post_init__(self) -> None:
        if not self.decoder_channels:
            object.__setattr__(self, "decoder_channels", self.channels)
        if len(self.decoder_channels) != len(self.channels):
            raise CheckpointInvalid(
                f"decoder widths {self.decoder_channels} and encoder widths {self.channels} "
                "must have as many levels"
            )
        if self.pixels_per_token > MAX_SIDE:
            raise CheckpointInvalid(
                f"an autoencoder of {len(self.channels)} levels has tokens of "
                f"{self.pixels_per_token:,} pixels a side; a picture has at most {MAX_SIDE:,}"
            )

    @property
    def factor(self) -> int:
        """Picture pixels per latent cell along a side: 8 for dev."""
        return int(2 ** (len(self.channels) - 1))

    @property
    def pixels_per_token(self) -> int:
        """Picture pixels per token along a side (the 2 x 2 patch included): 16 for dev."""
        return self.factor * 2

    @property
    def token_channels(self) -> int:
        """Channels of one token: 2 x 2 latent cells, 128 for dev."""
        return self.latent_channels * 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoderConfig:
    """Shape of the Mistral decoder as far as its cost needs it. Defaults are FLUX.2 [dev]'s."""

    vocab_size: int = 131072
    hidden_size: int = 5120
    intermediate_size: int = 32768
    num_heads: int = 32
    num_kv_heads: int = 8
    head_dim: int = 128
    num_layers: int = 40


# Of single files that come without one: it costs nothing, and answers no questions.
NO_TEXT_ENCODER: Final = TextEncoderConfig(
    vocab_size=0,
    hidden_size=0,
    intermediate_size=0,
    num_heads=0,
    num_kv_heads=0,
    head_dim=0,
    num_layers=0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConditioning:
    """How a checkpoint reads a prompt. Defaults are FLUX.2 [dev]'s.

    `layers` index the encoder's hidden states, 0 being the embeddings; `max_tokens` is the length
    that every prompt is padded to.
    """

    layers: tuple[int, ...] = (10, 20, 30)
    max_tokens: int = 512
    pad_token_id: int = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """All of a checkpoint's shapes together, and how large it draws by itself.

    `native_max_tokens` and `native_short_side`, where it states them, are those of the largest
    picture that it draws well.
    """

    transformer: TransformerConfig = TransformerConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    text_encoder: TextEncoderConfig = TextEncoderConfig()
    conditioning: TextConditioning = TextConditioning()
    native_max_tokens: int | None = None
    native_short_side: int | None = None

    @property
    def most_tokens(self) -> int:
        """How many tokens it draws at most; no request has more pixels than MAX_PIXELS."""
        every = MAX_PIXELS // self.autoencoder.pixels_per_token**2
        return min(self.native_max_tokens or every, every)

    @property
    def most_pixels(self) -> int:
        """How many pixels it draws at most."""
        return self.most_tokens * self.autoencoder.pixels_per_token**2

    @property
    def short_side_pixels(self) -> int | None:
        """How many pixels the shorter side has at most, where that is limited."""
        side = self.native_short_side
        return side and side * self.autoencoder.pixels_per_token

    def drawn_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) that it draws for such a request."""
        p = self.autoencoder.pixels_per_token
        if self.native_max_tokens is None and self.native_short_side is None:
            return covering_grid(width, height, pixels_per_token=p)
        return drawn_size(
            width,
            height,
            pixels_per_token=p,
            native_max_tokens=self.most_tokens,
            native_short_side=self.native_short_side,
        )


DEV = ModelConfig()
SMALL_DECODER = AutoencoderConfig(decoder_channels=(96, 192, 384, 384))
KLEIN_4B = TransformerConfig(
    context_channels=7680,
    hidden_size=3072,
    num_heads=24,
    num_double_blocks=5,
    num_single_blocks=20,
    guidance_embedding=False,
)
KLEIN_9B = TransformerConfig(
    context_channels=12288,
    hidden_size=4096,
    num_heads=32,
    num_double_blocks=8,
    num_single_blocks=24,
    guidance_embedding=False,
)
MINI = ModelConfig(
    transformer=TransformerConfig(
        context_channels=576,
        hidden_size=320,
        num_heads=5,
        num_double_blocks=2,
        num_single_blocks=4,
        axes=(16, 16, 16, 16),
        rope_theta=40.0,
    ),
    autoencoder=AutoencoderConfig(
        channels=(12, 24, 48, 96, 144), layers_per_block=1, norm_groups=4
    ),
    text_encoder=TextEncoderConfig(
        vocab_size=4096,
        hidden_size=192,
        intermediate_size=512,
        num_heads=6,
        num_kv_heads=2,
        head_dim=32,
        num_layers=7,
    ),
    conditioning=TextConditioning(layers=(2, 4, 6), max_tokens=64),
    native_max_tokens=256,
    native_short_side=8,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A checkpoint that linocut knows by name, and where it comes from.

    Either `repo` and `revision` (on the Hugging Face hub) or `package` (an importable one whose
    `path()` is the folder). `unsupported` says why it cannot be used yet, if it cannot.
    """

    name: str
    summary: str
    transformer: TransformerConfig
    licence: str
    repo: str = ""
    revision: str = ""
    gated: bool = False
    package: str = ""
    install: str = ""
    text_layers: tuple[int, ...] = ()
    unsupported: str = ""


FLUX_DEV_LICENCE: Final = "FLUX Non-Commercial License"
_NO_QWEN: Final = "its text encoder, Qwen3, is not supported yet"
CHECKPOINTS: Final = {
    known.name: known
    for known in (
        Known(
            name="linocut-mini",
            summary="the demo: small things, on a CPU, in seconds",
            transformer=MINI.transformer,
            licence="Apache-2.0",
            package="linocut_mini",
            install="pip install ./checkpoints/linocut-mini",
            text_layers=MINI.conditioning.layers,
        ),
        Known(
            name="flux-2-dev",
            summary="FLUX.2 [dev], 32 billion parameters, bf16",
            transformer=DEV.transformer,
            licence=FLUX_DEV_LICENCE,
            repo="black-forest-labs/FLUX.2-dev",
            revision="26afe3a78bb242c0a8bb181dcc8937bb16e5c66c",
            gated=True,
            text_layers=DEV.conditioning.layers,
        ),
        Known(
            name="flux-2-klein-4b",
            summary="FLUX.2 [klein], 4 billion parameters, four steps",
            transformer=KLEIN_4B,
            licence="Apache-2.0",
            repo="black-forest-labs/FLUX.2-klein-4B",
            revision="main",
            unsupported=_NO_QWEN,
        ),
        Known(
            name="flux-2-klein-9b",
            summary="FLUX.2 [klein], 9 billion parameters, four steps",
            transformer=KLEIN_9B,
            licence=FLUX_DEV_LICENCE,
            repo="black-forest-labs/FLUX.2-klein-9B",
            revision="main",
            gated=True,
            unsupported=_NO_QWEN,
        ),
    )
}
