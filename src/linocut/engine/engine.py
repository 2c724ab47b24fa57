"""The engine: one request in, its events out.

It knows networks, tensors and pictures; it knows no files but the checkpoint's, no database, no
HTTP and no keys. Whoever runs it owns progress, cancel (stop iterating) and what becomes of the
picture.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from linocut.catalog import CHECKPOINTS, ModelConfig
from linocut.engine.cache import ContentCache
from linocut.engine.memory import check_room, memory_errors, room_on
from linocut.engine.placement import Placement, place
from linocut.engine.precision import full_precision
from linocut.errors import CheckpointInvalid, LinocutError
from linocut.events import Decoding, Done, Encoding, Event, Preview, Started, Step
from linocut.model.autoencoder import Autoencoder
from linocut.model.text_encoder import TextEncoder
from linocut.model.transformer import Transformer
from linocut.prompt.encode import encode
from linocut.prompt.tokenizer import PromptTokenizer, open_tokenizer
from linocut.repertoire import Repertoire
from linocut.request import ImageRequest, Picture
from linocut.sampling import noise, pictures, schedule, tokens
from linocut.sampling.denoise import DenoiseStep, bind, denoise
from linocut.sizes import start_index
from linocut.weights.files import Checkpoint, open_checkpoint, text_encoder_of
from linocut.weights.load import load_autoencoder, load_text_encoder, load_transformer

CACHE_BYTES = 256 * 1024**2
PREVIEW_TOKENS = 16  # a side, at most
PREVIEW_PIXELS = 256
PREVIEW_SECONDS = 1.0
DEMO_WARNING = (
    "drawn by {name}, a small demo checkpoint that knows a few hundred pictograms; "
    "it is not FLUX.2 [dev]"
)


@dataclass(frozen=True, slots=True)
class Networks:
    """The two networks that a speed mode computes in its own dtype."""

    transformer: Transformer
    text_encoder: TextEncoder

    def to(self, dtype: torch.dtype) -> Networks:
        """A copy in another dtype."""
        encoder = copy.deepcopy(self.text_encoder).to(dtype)
        # The rotary frequencies are computed, not weights: rounded, they would turn far words by
        # a wrong angle.
        encoder.model.rotary_emb = self.text_encoder.model.rotary_emb
        return Networks(copy.deepcopy(self.transformer).to(dtype), encoder)


@dataclass(frozen=True, slots=True)
class Plan:
    """A request as this checkpoint draws it: everything that is known before anything runs."""

    request: ImageRequest
    mode: str
    dtype: torch.dtype
    width: int
    height: int
    rows: int
    columns: int
    levels: tuple[float, ...]
    start: int
    warnings: tuple[str, ...]

    @property
    def from_source(self) -> bool:
        """Whether the drawing starts from reference 1 instead of plain noise."""
        return bool(self.request.references) and self.request.prompt_strength < 1


class Engine:
    """A loaded checkpoint that draws. One at a time per thread; requests never affect each other.

    Made by `Engine.open`; `close` frees its memory. Usable as a context manager.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        placement: Placement,
        networks: Networks,
        autoencoder: Autoencoder,
        tokenizer: PromptTokenizer,
    ) -> None:
        self.checkpoint = checkpoint
        self.placement = placement
        self.tokenizer = tokenizer
        self._networks = {placement.dtype: networks}
        self._autoencoder: Autoencoder | None = autoencoder
        self._pads_are_zero = networks.text_encoder.pads_are_zero(tokenizer.pad_token_id)
        self._cache = ContentCache(CACHE_BYTES)

    @classmethod
    def open(
        cls,
        checkpoint: str | Path = "linocut-mini",
        *,
        home: Path | None = None,
        device: str = "auto",
        dtype: str | None = None,
        text_layers: tuple[int, ...] | None = None,
    ) -> Engine:
        """The engine of a checkpoint named by catalog name or by path.

        home: where `linocut pull` keeps checkpoints. device: "auto", "cpu", "cuda", "cuda:N".
        dtype: "float32" or "bfloat16"; by default float32 on a CPU and bfloat16 on a GPU.
        text_layers: the text encoder's tapped states, where the checkpoint does not name them.
        Raises CheckpointNotFound, CheckpointInvalid, DoesNotFit; MemoryError if there is too
        little.
        """
        placement = place(device, dtype)
        found = open_checkpoint(checkpoint, home=home, text_layers=text_layers)
        check_parts_fit(found.config)
        text_encoder_of(found)
        tokenizer = tokenizer_of(found)
        where, dtype_of_all = placement.device, placement.dtype
        with memory_errors():
            check_room(found, placement, room_on(where))
            networks = Networks(
                load_transformer(found, device=where, dtype=dtype_of_all).eval(),
                load_text_encoder(found, device=where, dtype=dtype_of_all).eval(),
            )
            autoencoder = load_autoencoder(found, device=where, dtype=torch.float32).eval()
            return cls(found, placement, networks, autoencoder, tokenizer)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the weights; the engine draws no more."""
        self._networks.clear()
        self._autoencoder = None
        self._cache = ContentCache(0)

    @property
    def text_encoder(self) -> TextEncoder:
        """The encoder that draws, in the weights' own dtype; for reading, and to share tensors."""
        self._check_open()
        return self._networks[self.placement.dtype].text_encoder

    def draw(self, request: ImageRequest) -> Done:
        """The finished picture and what is known about it; for callers who want no progress."""
        for event in self.run(request):
            if isinstance(event, Done):
                return event
        raise LinocutError("the run ended without a picture")

    def plan(self, request: ImageRequest) -> Plan:
        """How this checkpoint would draw the request. Raises DoesNotFit for a mode it has not."""
        config = self.checkpoint.config
        p = config.autoencoder.pixels_per_token
        width, height = config.drawn_size(request.width, request.height)
        rows, columns = height // p, width // p
        steps, start = request.num_inference_steps, 0
        if request.references:
            start = start_index(steps, request.prompt_strength)
        return Plan(
            request=request,
            mode=request.mode,
            dtype=self.placement.dtype_of(request.mode),
            width=width,
            height=height,
            rows=rows,
            columns=columns,
            levels=schedule.noise_levels(rows * columns, steps),
            start=start,
            warnings=self._warnings(request, width, height),
        )

    def run(self, request: ImageRequest) -> Iterator[Event]:
        """Draw the request, telling what happens: Started, Encoding, Step…, Decoding, Done.

        Stop iterating to cancel: nothing runs between two events that are not asked for. Raises
        LinocutError; MemoryError if there is too little.
        """
        events = self._run(request)
        with memory_errors(), closing(events):
            while (event := _computed(events)) is not None:
                yield event

    def _run(self, request: ImageRequest) -> Generator[Event]:
        self._check_open()
        plan = self.plan(request)
        levels = plan.levels[plan.start :]
        name, mode, n = self.checkpoint.name, plan.mode, len(levels) - 1
        yield Started(name, mode, plan.width, plan.height, n, plan.warnings)
        yield Encoding()
        clock = time.perf_counter
        began = clock()
        networks = self._networks_in(plan.dtype)
        context, truncated = self._context(networks.text_encoder, plan)
        drawn = tokens.picture_tokens(self._start(plan))
        velocity = bind(
            networks.transformer,
            drawn,
            text=tokens.text_tokens(context),
            references=tokens.reference_tokens(self._references(request)),
            guidance=request.guidance,
            levels=levels[:-1],
        )
        x_BLC, encoded = drawn.x_BLC, clock()
        stepped, previewed = encoded, encoded
        for step in denoise(velocity, x_BLC, levels):
            x_BLC, now = step.x_BLC, clock()
            i = step.index + 1
            yield Step(i, n, now - stepped, (now - encoded) / i * (n - i))
            if request.preview and i < n and now - previewed >= PREVIEW_SECONDS:
                yield Preview(i, self._preview(step, plan))
                previewed = clock()
            stepped = clock()
        yield Decoding()
        denoised = clock()
        picture = self._decode(tokens.to_latent(x_BLC, plan.rows, plan.columns))
        timings = {
            "encoding": encoded - began,
            "denoising": denoised - encoded,
            "decoding": clock() - denoised,
        }
        yield Done(
            picture=pictures.cover(picture, request.width, request.height),
            seed=request.seed,
            drawn_width=plan.width,
            drawn_height=plan.height,
            mode=mode,
            checkpoint=name,
            demo=self.checkpoint.demo,
            threads=torch.get_num_threads() if self.placement.device.type == "cpu" else None,
            warnings=plan.warnings + _truncation(truncated, self.tokenizer),
            timings=timings,
        )

    def _check_open(self) -> Autoencoder:
        """The autoencoder, which an engine has until it is closed; then LinocutError."""
        if self._autoencoder is None:
            raise LinocutError("this engine is closed", hint="open another one")
        return self._autoencoder

    def _warnings(self, request: ImageRequest, width: int, height: int) -> tuple[str, ...]:
        said = []
        if self.checkpoint.demo:
            said.append(DEMO_WARNING.format(name=self.checkpoint.name))
        if self.checkpoint.repertoire and not request.references:
            said += _untaught(self.checkpoint.name, self.checkpoint.repertoire, request.prompt)
        if (width, height) != (request.width, request.height):
            said.append(
                f"drawn at {width} x {height} and resized to {request.width} x {request.height}"
            )
        if request.prompt_strength < 1 and not request.references:
            said.append("prompt_strength has no effect without a reference picture")
        return tuple(said)

    def _networks_in(self, dtype: torch.dtype) -> Networks:
        if dtype not in self._networks:
            self._networks[dtype] = self._networks[self.placement.dtype].to(dtype)
        return self._networks[dtype]

    def _context(self, encoder: TextEncoder, plan: Plan) -> tuple[Tensor, int]:
        prompt = self.tokenizer.ids(plan.request.prompt)
        key = (b"context", str(plan.dtype).encode(), repr(prompt.ids).encode())
        context = self._cache.get(
            key,
            lambda: encode(encoder, prompt, self.tokenizer, pads_are_zero=self._pads_are_zero),
        )
        return context, prompt.truncated

    def _references(self, request: ImageRequest) -> tuple[Tensor, ...]:
        count = len(request.references)
        return tuple(self._reference(picture, count) for picture in request.references)

    def _reference(self, picture: Picture, count: int) -> Tensor:
        config = self.checkpoint.config
        p = config.autoencoder.pixels_per_token
        prepared = pictures.reference(
            picture, count=count, multiple=p, most_pixels=config.most_pixels,
            short_side=config.short_side_pixels,
        )  # fmt: skip
        return self._encoded(prepared)

    def _start(self, plan: Plan) -> Tensor:
        """Where the walk starts: noise, or the noised source. fp32 [1, C, rows, columns]"""
        channels = self.checkpoint.config.transformer.in_channels
        drawn = noise.draw(plan.request.seed, channels, plan.rows, plan.columns)
        # The mode's own dtype rounds the draw, as the published pipelines draw in that dtype.
        drawn = drawn.to(plan.dtype).float().to(self.placement.device)
        if not plan.from_source:
            return drawn
        source = pictures.cover(plan.request.references[0], plan.width, plan.height)
        clean = self._encoded(pictures.to_tensor(pictures.to_image(source)))
        level = plan.levels[plan.start]
        return level * drawn + (1 - level) * clean

    @torch.inference_mode()
    def _encoded(self, pixels_BCHW: Tensor) -> Tensor:
        key = (b"latent", repr(tuple(pixels_BCHW.shape)).encode(), pixels_BCHW.numpy().tobytes())
        on_device, autoencoder = pixels_BCHW.to(self.placement.device), self._check_open()
        return self._cache.get(key, lambda: autoencoder.encode(on_device))

    @torch.inference_mode()
    def _decode(self, latent_BCHW: Tensor) -> Picture:
        return pictures.to_picture(self._check_open().decode(latent_BCHW))

    @torch.inference_mode()
    def _preview(self, step: DenoiseStep, plan: Plan) -> Picture:
        most = min(PREVIEW_TOKENS, PREVIEW_PIXELS // (plan.width // plan.columns))
        clean = tokens.to_latent(step.clean(), plan.rows, plan.columns)
        shrink = min(1.0, most / max(plan.rows, plan.columns))
        size = (max(1, int(plan.rows * shrink)), max(1, int(plan.columns * shrink)))
        return self._decode(torch.nn.functional.adaptive_avg_pool2d(clean, size))


@full_precision()
def _computed(events: Iterator[Event]) -> Event | None:
    """The next event; between two of them PyTorch is set as the caller has it."""
    return next(events, None)


def check_parts_fit(config: ModelConfig) -> None:
    """Nothing, or CheckpointInvalid if the checkpoint's networks do not belong together."""
    tokens_of_autoencoder = config.autoencoder.token_channels
    if config.transformer.in_channels != tokens_of_autoencoder:
        raise CheckpointInvalid(
            f"the transformer takes {config.transformer.in_channels} channels a token, "
            f"the autoencoder gives {tokens_of_autoencoder}",
            hint="the folder mixes parts of different checkpoints",
        )


def tokenizer_of(checkpoint: Checkpoint) -> PromptTokenizer:
    """The checkpoint's tokenizer; CheckpointInvalid if it has none that its encoder can read."""
    conditioning = checkpoint.config.conditioning
    tokenizer = open_tokenizer(
        checkpoint.tokenizer,
        max_tokens=conditioning.max_tokens,
        pad_token_id=conditioning.pad_token_id,
    )
    words, rows = tokenizer.tokenizer.get_vocab_size(), checkpoint.config.text_encoder.vocab_size
    if max(words, tokenizer.pad_token_id + 1) > rows:
        raise CheckpointInvalid(
            f"{checkpoint.tokenizer} knows {words} tokens and pads with {tokenizer.pad_token_id}, "
            f"but the text encoder has embeddings for {rows}",
            hint="the folder mixes parts of different checkpoints",
        )
    return tokenizer


def _untaught(name: str, repertoire: Repertoire, prompt: str) -> tuple[str, ...]:
    """What to know about a prompt that names nothing the checkpoint was taught."""
    if not prompt.strip() or repertoire.named(prompt):
        return ()
    count, meant = len(repertoire.things), repertoire.meant(prompt)
    listed = (
        f"`linocut info {name} --things` lists them" if name in CHECKPOINTS else "see GET /models"
    )
    said = (
        f"the prompt names none of the {count:,} things that {name} was taught ({listed}); it "
        "draws the nearest that it knows, or a blob"
    )
    return (said, f"did you mean {' or '.join(meant)}?") if meant else (said,)


def _truncation(lost: int, tokenizer: PromptTokenizer) -> tuple[str, ...]:
    if not lost:
        return ()
    end = "beginning" if tokenizer.cuts_left else "end"
    return (
        f"the prompt is {lost} tokens longer than the {tokenizer.max_tokens} that are read; "
        f"its {end} was lost",
    )
