"""What a request costs, known before it runs: operations and bytes as exact arithmetic. Torch-free.

T text tokens   N drawn tokens   R reference tokens   S all three   D width   M width of the MLP

Counted are matrix products and convolutions, a multiplication and an addition being two
operations, as PyTorch's own counter does; norms, activations, rotations and biases are left out.
Attention is two products, 4 · S² · D a block, whole also where a mask hides half of it.
What runs once in a request (`bind`) and what runs in every step are kept apart: one step of the
published network is `bind_flops` of one step plus `step_flops`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from linocut.catalog import AutoencoderConfig, ModelConfig, TextEncoderConfig, TransformerConfig
from linocut.request import ImageRequest, Picture
from linocut.sizes import covering_size, reference_size, start_index

FULL: Final = 4  # bytes of fp32, which the autoencoder and the rotary tables are always in
HALF: Final = 2  # bytes of bf16, the smallest that the networks compute in
MODULATIONS: Final = 6 + 6 + 3 + 2  # shifts, scales, gates: image, text, single blocks, final layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How many tokens a step sees, by kind."""

    text: int
    drawn: int
    references: int = 0

    @property
    def pictures(self) -> int:
        """The tokens of the image stream."""
        return self.drawn + self.references

    @property
    def total(self) -> int:
        """All that attend to one another."""
        return self.text + self.pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class Flops:
    """Operations of one request, stage by stage.

    text: the prompt through the text encoder. pictures: references and source through the
    autoencoder. bind: what is the same in every step. denoise: all steps. decode: to pixels.
    """

    text: int
    pictures: int
    bind: int
    denoise: int
    decode: int

    @property
    def total(self) -> int:
        """All stages together."""
        return self.text + self.pictures + self.bind + self.denoise + self.decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of one request, part by part.

    transformer, text_encoder, autoencoder: their weights. kept: what a request holds from its
    first step to its last. working: the most tensors alive beside that at any one moment; what
    a kernel takes for itself comes on top.
    """

    transformer: int
    text_encoder: int
    autoencoder: int
    kept: int
    working: int

    @property
    def weights(self) -> int:
        """What is held before any request."""
        return self.transformer + self.text_encoder + self.autoencoder

    @property
    def total(self) -> int:
        """The peak."""
        return self.weights + self.kept + self.working


@dataclass(frozen=True, slots=True)
class Cost:
    """A request as a checkpoint draws it, in numbers; `steps` are those that run."""

    drawn_width: int
    drawn_height: int
    lengths: Lengths
    steps: int
    flops: Flops
    memory: Memory


@dataclass(frozen=True, slots=True)
class Product:
    """Matrix products of one shape, [rows, inner] x [inner, columns].

    count: one after another, each with a weight of its own. batch: at once, without weights.
    """

    rows: int
    inner: int
    columns: int
    count: int = 1
    batch: int = 1

    @property
    def flops(self) -> int:
        """Operations of all of them."""
        return 2 * self.rows * self.inner * self.columns * self.count * self.batch


@dataclass(frozen=True, slots=True)
class Work:
    """What a network or a piece of it takes: weights, operations, values alive at its fullest."""

    parameters: int
    flops: int
    alive: int


def request_cost(
    request: ImageRequest,
    model: ModelConfig,
    *,
    bytes_per_weight: float = 2.0,
    prompt_tokens: int | None = None,
) -> Cost:
    """The cost of drawing `request` on that configuration.

    bytes_per_weight: of transformer and text encoder (fp32 4, bf16 2, fp8 1, nf4 0.5 and its
    scales). prompt_tokens: how many the text encoder runs; None is as many as it ever does.
    Nothing counts as remembered from earlier requests; what occurs twice in this one is encoded
    once, as the engine does. Previews are not counted: the clock decides how many there are.
    """
    p, size = model.autoencoder.pixels_per_token, (request.width, request.height)
    width, height = model.drawn_size(*size)
    references = [prepared(picture, request, model) for picture in request.references]
    lengths = Lengths(
        text=model.conditioning.max_tokens,
        drawn=(width // p) * (height // p),
        references=sum((cut.width // p) * (cut.height // p) for cut in references),
    )
    cuts = set(references)
    if request.references and request.prompt_strength < 1:
        cuts.add(covering(request.references[0], width, height))
    prompt = lengths.text if prompt_tokens is None else prompt_tokens
    read = text_work(model.text_encoder, prompt, max(model.conditioning.layers))
    seen = [encode_work(model.autoencoder, cut.width, cut.height) for cut in cuts]
    shown = decode_work(model.autoencoder, width, height)
    steps, compute = executed_steps(request), max(HALF, math.ceil(bytes_per_weight))
    flops = Flops(
        text=read.flops,
        pictures=sum(work.flops for work in seen),
        bind=bind_flops(model.transformer, lengths, steps),
        denoise=steps * step_flops(model.transformer, lengths),
        decode=shown.flops,
    )
    in_fp32 = max(work.alive for work in (*seen, shown))
    in_compute = max(read.alive, step_alive(model.transformer, lengths))
    memory = Memory(
        transformer=math.ceil(bytes_per_weight * transformer_parameters(model.transformer)),
        text_encoder=math.ceil(bytes_per_weight * read.parameters),
        autoencoder=FULL * autoencoder_parameters(model.autoencoder),
        kept=kept_bytes(model.transformer, lengths, steps, compute),
        working=max(FULL * in_fp32, compute * in_compute),
    )
    return Cost(width, height, lengths, steps, flops, memory)


@dataclass(frozen=True, slots=True)
class Cut:
    """What the autoencoder is given of a picture: scaled to a size, its middle cut out."""

    picture: Picture
    scaled: tuple[int, int]
    width: int
    height: int


def prepared(picture: Picture, request: ImageRequest, model: ModelConfig) -> Cut:
    """A reference as it is encoded."""
    p, count = model.autoencoder.pixels_per_token, len(request.references)
    width, height = reference_size(
        (picture.width, picture.height), count=count, most_pixels=model.most_pixels,
        short_side=model.short_side_pixels,
    )  # fmt: skip
    return Cut(picture, (width, height), width // p * p, height // p * p)


def covering(picture: Picture, width: int, height: int) -> Cut:
    """A source as it is encoded."""
    scaled = covering_size((picture.width, picture.height), width, height)
    return Cut(picture, scaled, width, height)


def executed_steps(request: ImageRequest) -> int:
    """The steps that run: fewer than asked for where the drawing starts from a picture."""
    steps = request.num_inference_steps
    return steps - (start_index(steps, request.prompt_strength) if request.references else 0)


def transformer_parameters(config: TransformerConfig) -> int:
    """Weights of the velocity network."""
    width, mlp = config.hidden_size, config.mlp_size
    stream = 4 * width * width + 3 * width * mlp + 2 * config.head_dim
    embedders = 2 if config.guidance_embedding else 1
    return (
        (2 * config.num_double_blocks + config.num_single_blocks) * stream
        + (2 * config.in_channels + config.context_channels) * width
        + (embedders * (config.time_channels + width) + MODULATIONS * width) * width
    )


def bind_products(config: TransformerConfig, lengths: Lengths, steps: int) -> tuple[Product, ...]:
    """What runs once: text and references projected, the modulations of all steps."""
    width = config.hidden_size
    embedders = 2 if config.guidance_embedding else 1
    return (
        Product(lengths.text, config.context_channels, width),
        Product(lengths.references, config.in_channels, width),
        Product(steps, config.time_channels, width, count=embedders),
        Product(steps, width, width, count=embedders),
        Product(steps, width, MODULATIONS * width),
    )


def step_products(config: TransformerConfig, lengths: Lengths) -> tuple[Product, ...]:
    """What runs in every step; the final layer runs for the references too."""
    width, mlp, head, every = config.hidden_size, config.mlp_size, config.head_dim, lengths.total
    doubles, singles = config.num_double_blocks, config.num_single_blocks
    shapes = ((width, 3 * width), (width, width), (width, 2 * mlp), (mlp, width))
    streams = (lengths.text, lengths.pictures)
    return (
        Product(lengths.drawn, config.in_channels, width),
        *(Product(rows, *shape, count=doubles) for rows in streams for shape in shapes),
        Product(every, width, 3 * width + 2 * mlp, count=singles),
        Product(every, width + mlp, width, count=singles),
        Product(every, head, every, count=doubles + singles, batch=config.num_heads),
        Product(every, every, head, count=doubles + singles, batch=config.num_heads),
        Product(lengths.pictures, width, config.in_channels),
    )


def bind_flops(config: TransformerConfig, lengths: Lengths, steps: int) -> int:
    """Operations of `bind` for that many steps."""
    return sum(product.flops for product in bind_products(config, lengths, steps))


def step_flops(config: TransformerConfig, lengths: Lengths) -> int:
    """Operations of one step: (8 D² + 6 D M) · S + 4 · S² · D a block, and both ends."""
    return sum(product.flops for product in step_products(config, lengths))


def kept_bytes(config: TransformerConfig, lengths: Lengths, steps: int, compute: int) -> int:
    """What `bind` made, the context and the latents; `compute` is the bytes of an activation."""
    width = config.hidden_size
    bound = (lengths.text + lengths.references + steps * MODULATIONS) * width
    context = lengths.text * config.context_channels
    latents = (3 * lengths.drawn + 2 * lengths.references) * config.in_channels
    rotary = lengths.total * config.head_dim
    return compute * (bound + context) + FULL * (latents + rotary)


def step_alive(config: TransformerConfig, lengths: Lengths) -> int:
    """Values alive at a step's fullest moment.

    That is in the longer stream's MLP of a double block, which still holds queries, keys and
    values, or where a single block joins its two halves.
    """
    width, mlp, every = config.hidden_size, config.mlp_size, lengths.total
    double = single = 0
    if config.num_double_blocks:
        double = 12 * width * every + (width + 4 * mlp) * max(lengths.text, lengths.pictures)
    if config.num_single_blocks:
        streams = width if config.num_double_blocks else 0  # what the last double block gave
        single = (9 * width + 4 * mlp + streams) * every
    return lengths.pictures * width + max(double, single)


def text_work(config: TextEncoderConfig, tokens: int, layers: int) -> Work:
    """The text encoder up to its `layers`-th layer, the last that is read, on `tokens` tokens.

    Alive are, at the fullest, all states so far and three of the last layer's MLP.
    """
    width, mlp, head = config.hidden_size, config.intermediate_size, config.head_dim
    heads = 2 * config.num_heads + 2 * config.num_kv_heads  # queries and output; keys and values
    layer = width * (heads * head + 3 * mlp)
    attention = 4 * tokens * tokens * config.num_heads * head
    return Work(
        config.vocab_size * width + layers * (layer + 2 * width),
        layers * (2 * tokens * layer + attention),
        tokens * ((layers + 3) * width + 3 * mlp),
    )


def language_model_parameters(config: TextEncoderConfig) -> int:
    """Weights of the whole language model: every layer, the norm behind them, the word head."""
    layers = text_work(config, 0, config.num_layers).parameters
    return layers + (config.vocab_size + 1) * config.hidden_size


def autoencoder_parameters(config: AutoencoderConfig) -> int:
    """Weights of both halves; the statistics between them are stored, not learned."""
    return encode_work(config, 0, 0).parameters + decode_work(config, 0, 0).parameters


def encode_work(config: AutoencoderConfig, width: int, height: int) -> Work:
    """The encoder on a picture of that many pixels."""
    return _together(_encoder(config, width * height))


@lru_cache(maxsize=1024)  # every request asks, and few sizes are asked for
def decode_work(config: AutoencoderConfig, width: int, height: int) -> Work:
    """The decoder to a picture of that many pixels."""
    return _together(_decoder(config, width * height))


def _together(parts: Iterator[Work]) -> Work:
    works = tuple(parts)
    return Work(
        sum(work.parameters for work in works),
        sum(work.flops for work in works),
        max(work.alive for work in works),
    )


def _encoder(config: AutoencoderConfig, cells: int) -> Iterator[Work]:
    widths, inputs, moments = config.channels, config.channels[0], 2 * config.latent_channels
    yield _convolution(3, inputs, cells)
    for level, width in enumerate(widths):
        if level:
            cells //= 4
            yield _convolution(inputs, inputs, cells)
        for block in range(config.layers_per_block):
            yield from _residual(inputs, width, cells, is_first=not block)
        inputs = width
    yield from _middle(config, inputs, cells)
    yield from (_norm(inputs), _convolution(inputs, moments, cells))
    if config.quant_conv:
        yield _convolution(moments, moments, cells, side=1)


def _decoder(config: AutoencoderConfig, pixels: int) -> Iterator[Work]:
    widths, latent = config.decoder_channels, config.latent_channels
    cells, inputs = pixels // config.factor**2, widths[-1]
    if config.post_quant_conv:
        yield _convolution(latent, latent, cells, side=1)
    yield _convolution(latent, inputs, cells)
    yield from _middle(config, inputs, cells)
    for level, width in reversed(tuple(enumerate(widths))):
        for block in range(config.layers_per_block + 1):
            yield from _residual(inputs, width, cells, is_first=not block)
        if level:
            cells *= 4
            yield _convolution(width, width, cells)
            yield Work(0, 0, (13 * width + inputs) * cells // 4)  # the smaller ones are held, too
        inputs = width
    yield from (_norm(inputs), _convolution(inputs, 3, cells))


def _middle(config: AutoencoderConfig, width: int, cells: int) -> Iterator[Work]:
    yield from _residual(width, width, cells)
    if config.mid_attention:
        yield _norm(width)
        yield from (_convolution(width, width, cells, side=1) for _ in range(4))
        yield Work(0, 4 * cells * cells * width, 8 * width * cells)
    yield from _residual(width, width, cells)


def _residual(level: int, outputs: int, cells: int, *, is_first: bool = True) -> Iterator[Work]:
    """A block of a level that was entered with `level` channels, which are held throughout."""
    inputs, held = (level, 0) if is_first else (outputs, level)
    yield from (_norm(inputs), _norm(outputs))
    yield from (_convolution(inputs, outputs, cells), _convolution(outputs, outputs, cells))
    if inputs != outputs:
        yield _convolution(inputs, outputs, cells, side=1)
    # In either convolution: what came in, what it reads, its kernel's copy of that, what comes out.
    yield Work(0, 0, (held + max(3 * inputs + outputs, inputs + 4 * outputs)) * cells)


def _convolution(inputs: int, outputs: int, cells: int, side: int = 3) -> Work:
    weights = inputs * outputs * side * side
    return Work(weights + outputs, 2 * weights * cells, (2 * inputs + outputs) * cells)


def _norm(channels: int) -> Work:
    return Work(2 * channels, 0, 0)
