"""From a request to its events. What is drawn: tests/parity; that it repeats: test_determinism."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import linocut.engine.engine as module
from linocut.catalog import AutoencoderConfig, ModelConfig
from linocut.engine import Engine
from linocut.engine.engine import check_parts_fit
from linocut.errors import CheckpointInvalid, CheckpointNotFound, DoesNotFit, LinocutError
from linocut.events import Decoding, Done, Encoding, Preview, Started, Step, to_json
from linocut.request import ImageRequest
from linocut.sampling import noise
from linocut.sampling.pictures import to_image
from linocut.weights.files import open_checkpoint
from linocut.weights.load import load_text_encoder

REQUEST = ImageRequest(prompt="a red apple", width=64, height=80, num_inference_steps=4, seed=3)


@contextmanager
def counted(network: nn.Module) -> Iterator[list[None]]:
    """A list that grows by one whenever the network runs."""
    calls: list[None] = []
    hook = network.register_forward_hook(lambda *_: calls.append(None))
    try:
        yield calls
    finally:
        hook.remove()


def transformer(engine: Engine) -> nn.Module:
    return engine._networks[torch.float32].transformer


@pytest.fixture
def fresh(tiny_folder: Path) -> Iterator[Engine]:
    """An engine that has drawn nothing yet."""
    with Engine.open(tiny_folder, device="cpu") as engine:
        yield engine


def variant(tiny_folder: Path, folder: Path, **said: Any) -> Path:
    """A copy of the tiny checkpoint that says something else of itself."""
    shutil.copytree(tiny_folder, folder)
    file = folder / "linocut.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | said), encoding="utf-8")
    return folder


def test_events_come_in_order(engine: Engine) -> None:
    events = list(engine.run(REQUEST))
    kinds = [type(event) for event in events]
    assert kinds == [Started, Encoding, Step, Step, Step, Step, Decoding, Done]
    assert events[0] == Started("tiny", "exact", 64, 80, 4)
    steps = [event for event in events if isinstance(event, Step)]
    assert [(step.i, step.n) for step in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert steps[-1].left == 0


def test_the_last_event_holds_everything_needed_to_draw_it_again(engine: Engine) -> None:
    *_, done = engine.run(REQUEST)
    assert isinstance(done, Done)
    assert (done.picture.width, done.picture.height) == (64, 80)
    assert (done.seed, done.mode, done.checkpoint) == (3, "exact", "tiny")
    assert (done.drawn_width, done.drawn_height) == (64, 80)
    assert (done.demo, done.warnings) == (False, ())
    assert set(done.timings) == {"encoding", "denoising", "decoding"}
    assert all(seconds >= 0 for seconds in done.timings.values())
    json.dumps(to_json(done))


def test_draw_is_the_last_event(engine: Engine) -> None:
    *_, done = engine.run(REQUEST)
    assert isinstance(done, Done)
    assert engine.draw(REQUEST).picture == done.picture


def test_closing_the_generator_stops_the_model(engine: Engine) -> None:
    with counted(transformer(engine)) as calls:
        run = engine.run(REQUEST)
        for event in run:
            if isinstance(event, Step) and event.i == 2:
                break
        assert len(calls) == 2
        run.close()  # type: ignore[attr-defined]
        assert len(calls) == 2
        with pytest.raises(StopIteration):
            next(run)
    assert len(calls) == 2


def test_nothing_runs_between_two_events_that_are_not_asked_for(fresh: Engine) -> None:
    encoder = fresh._networks[torch.float32].text_encoder
    with counted(transformer(fresh)) as drawn, counted(encoder) as read:
        seen = [(type(event), len(read), len(drawn)) for event in fresh.run(REQUEST)]
        assert seen[:2] == [(Started, 0, 0), (Encoding, 0, 0)]
        assert seen[2:6] == [(Step, 1, number) for number in (1, 2, 3, 4)]
        assert seen[6:] == [(Decoding, 1, 4), (Done, 1, 4)]


def test_inference_mode_does_not_leak_to_the_caller(engine: Engine) -> None:
    for _ in engine.run(REQUEST):
        assert not torch.is_inference_mode_enabled()


class Clock:
    """A clock on which every look takes `tick` seconds."""

    def __init__(self, tick: float) -> None:
        self.tick, self.now = tick, 0.0

    def perf_counter(self) -> float:
        self.now += self.tick
        return self.now


def test_time_left_is_that_of_the_steps_so_far(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "time", Clock(1.0))
    steps = [event for event in engine.run(REQUEST) if isinstance(event, Step)]
    assert [step.seconds for step in steps] == [1, 1, 1, 1]
    for step in steps:
        assert step.left == pytest.approx((2 * step.i - 1) / step.i * (4 - step.i))


def previews(engine: Engine, request: ImageRequest) -> list[Preview]:
    return [event for event in engine.run(request) if isinstance(event, Preview)]


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between previews."""
    monkeypatch.setattr(module, "PREVIEW_SECONDS", 0.0)


@pytest.mark.usefixtures("always")
def test_previews_come_only_when_asked_for(engine: Engine) -> None:
    assert previews(engine, REQUEST) == []
    found = previews(engine, replace(REQUEST, preview=True))
    assert [preview.i for preview in found] == [1, 2, 3]  # the last step is the picture itself


@pytest.mark.usefixtures("always")
def test_previews_do_not_change_the_picture(engine: Engine) -> None:
    assert engine.draw(replace(REQUEST, preview=True)).picture == engine.draw(REQUEST).picture


def test_previews_come_at_most_once_a_second(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(REQUEST, preview=True, num_inference_steps=20)
    monkeypatch.setattr(module, "time", Clock(0.125))  # a step looks twice, a preview once more
    found = [preview.i for preview in previews(engine, request)]
    assert found == [5, 9, 13, 17]
    monkeypatch.setattr(module, "time", Clock(0.01))
    assert previews(engine, request) == []


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((64, 80), (64, 80)),
        ((256, 256), (256, 256)),
        ((320, 64), (256, 48)),
        ((64, 512), (32, 256)),
    ],
)
def test_a_preview_has_at_most_256_pixels_a_side(
    size: tuple[int, int], shown: tuple[int, int], engine: Engine
) -> None:
    request = replace(REQUEST, width=size[0], height=size[1], preview=True, num_inference_steps=2)
    (preview,) = previews(engine, request)
    assert (preview.picture.width, preview.picture.height) == shown


@pytest.mark.usefixtures("always")
def test_a_preview_is_where_the_drawing_is_heading(engine: Engine) -> None:
    """After the first of many steps, that is the picture of a single step."""
    shown = previews(engine, replace(REQUEST, preview=True))[0].picture
    picture = engine.draw(replace(REQUEST, num_inference_steps=1)).picture
    assert max(abs(a - b) for a, b in zip(shown.rgb, picture.rgb, strict=True)) <= 1


def test_a_request_beyond_the_checkpoints_size_is_drawn_smaller_and_resized(
    tiny_folder: Path, tmp_path: Path, small: SimpleNamespace
) -> None:
    folder = variant(tiny_folder, tmp_path / "native", native_max_tokens=24)
    with Engine.open(folder, device="cpu") as engine:
        native = engine.draw(replace(REQUEST, width=96, height=64))
        assert (native.drawn_width, native.drawn_height, native.warnings) == (96, 64, ())
        large = engine.draw(replace(REQUEST, width=144, height=96))
        assert (large.drawn_width, large.drawn_height) == (96, 64)
        assert large.warnings == ("drawn at 96 x 64 and resized to 144 x 96",)
        resized = to_image(native.picture).resize((144, 96), Image.Resampling.LANCZOS)
        assert large.picture.rgb == resized.tobytes()
        tall = engine.draw(replace(REQUEST, width=64, height=144))
        assert tall.drawn_width * tall.drawn_height <= 24 * 256
        assert (tall.picture.width, tall.picture.height) == (64, 144)
        # A reference is shrunk to what the checkpoint draws itself.
        latent = engine._reference(small.random_picture(144, 96, 1), count=1)
        assert latent.shape == (1, 16, 4, 6)


def test_the_shorter_side_may_be_limited_alone(
    tiny_folder: Path, tmp_path: Path, small: SimpleNamespace
) -> None:
    folder = variant(tiny_folder, tmp_path / "short", native_max_tokens=40, native_short_side=4)
    with Engine.open(folder, device="cpu") as engine:
        wide = engine.draw(replace(REQUEST, width=160, height=64))
        assert (wide.drawn_width, wide.drawn_height, wide.warnings) == (160, 64, ())
        square = engine.draw(replace(REQUEST, width=96, height=96))
        assert (square.drawn_width, square.drawn_height) == (64, 64)
        latent = engine._reference(small.random_picture(192, 96, 1), count=1)
        assert latent.shape == (1, 16, 4, 8)


def test_a_demo_says_that_it_is_one(tiny_folder: Path, tmp_path: Path) -> None:
    folder = variant(tiny_folder, tmp_path / "toy", demo=True)
    with Engine.open(folder, device="cpu") as engine:
        started, *_, done = engine.run(REQUEST)
    assert isinstance(started, Started)
    assert isinstance(done, Done)
    assert done.demo
    assert done.checkpoint == "toy"
    assert "toy" in done.warnings[0]
    assert "demo" in done.warnings[0]
    assert started.warnings == done.warnings


def test_what_was_cut_off_the_prompt_is_told(engine: Engine, small: SimpleNamespace) -> None:
    fits = "x" * (small.max_tokens - 3)  # <s>, [INST] and [/INST] take three
    assert engine.draw(replace(REQUEST, prompt=fits)).warnings == ()
    (warning,) = engine.draw(replace(REQUEST, prompt=fits + "yz")).warnings
    assert "2 tokens longer than the 24" in warning
    assert "its end was lost" in warning


def test_a_mode_that_cannot_run_here_names_those_that_can(engine: Engine) -> None:
    with pytest.raises(DoesNotFit, match="'fp8'") as caught:
        next(iter(engine.run(replace(REQUEST, mode="fp8"))))
    assert "exact, bf16" in caught.value.hint


def test_a_closed_engine_draws_no_more(tiny_folder: Path) -> None:
    with Engine.open(tiny_folder, device="cpu") as engine:
        engine.draw(replace(REQUEST, num_inference_steps=1))
    with pytest.raises(LinocutError, match="closed"):
        engine.draw(REQUEST)


def test_a_prompt_is_encoded_once(fresh: Engine) -> None:
    with counted(fresh._networks[torch.float32].text_encoder) as calls:
        fresh.draw(REQUEST)
        fresh.draw(replace(REQUEST, seed=5, width=64, height=64))
        fresh.draw(replace(REQUEST, prompt="a [IMG]red apple"))  # the same words are read
        assert len(calls) == 1
        fresh.draw(replace(REQUEST, prompt="a red pear"))
        assert len(calls) == 2


def test_a_reference_is_encoded_once_whatever_it_is_used_for(
    fresh: Engine, small: SimpleNamespace
) -> None:
    one, two = (small.random_picture(64, 80, seed) for seed in (1, 2))
    with counted(fresh._autoencoder.encoder) as calls:
        fresh.draw(replace(REQUEST, references=(one,)))
        fresh.draw(replace(REQUEST, references=(one, two, one), seed=4))
        fresh.draw(replace(REQUEST, references=(two,), prompt_strength=0.5))
    assert len(calls) == 2


def test_what_is_remembered_changes_no_picture(
    fresh: Engine, tiny_folder: Path, small: SimpleNamespace
) -> None:
    picture = small.random_picture(64, 80, 1)
    requests = [
        REQUEST,
        replace(REQUEST, references=(picture,)),
        replace(REQUEST, references=(picture,), prompt_strength=0.5),
        replace(REQUEST, mode="bf16"),
    ]
    for request in requests:
        fresh.draw(request)
    for request in requests:
        with Engine.open(tiny_folder, device="cpu") as forgetful:
            assert forgetful.draw(request).picture == fresh.draw(request).picture


def test_a_mode_computes_in_its_own_dtype_and_the_autoencoder_in_fp32(tiny_folder: Path) -> None:
    with Engine.open(tiny_folder, device="cpu") as engine:
        engine.draw(replace(REQUEST, mode="bf16"))
        for dtype, networks in engine._networks.items():
            for network in (networks.transformer, networks.text_encoder):
                assert {weight.dtype for weight in network.parameters()} == {dtype}
        assert set(engine._networks) == {torch.float32, torch.bfloat16}
        assert {weight.dtype for weight in engine._autoencoder.parameters()} == {torch.float32}
    with Engine.open(tiny_folder, device="cpu", dtype="bfloat16") as engine:
        assert {weight.dtype for weight in engine._autoencoder.parameters()} == {torch.float32}


def test_bf16_is_the_same_as_a_mode_and_as_the_weights_dtype(
    tiny_folder: Path, engine: Engine
) -> None:
    request = replace(REQUEST, mode="bf16")
    with Engine.open(tiny_folder, device="cpu", dtype="bfloat16") as other:
        assert other.draw(request).picture == engine.draw(request).picture
    assert engine.draw(REQUEST).picture != engine.draw(request).picture


def test_rotary_frequencies_of_the_text_stay_fp32_in_bf16(
    tiny_folder: Path, engine: Engine
) -> None:
    engine.draw(replace(REQUEST, mode="bf16"))
    mode = engine._networks[torch.bfloat16].text_encoder
    loaded = load_text_encoder(open_checkpoint(tiny_folder), device="cpu", dtype=torch.bfloat16)
    for encoder in (mode, loaded):
        assert encoder.model.rotary_emb.inv_freq.dtype == torch.float32
    ids = torch.randint(20, 200, (1, 24), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    assert torch.equal(mode(ids, mask), loaded(ids, mask))


def test_bf16_rounds_the_draw_and_exact_does_not(engine: Engine) -> None:
    drawn = noise.draw(3, 16, 5, 4)
    assert torch.equal(engine._start(engine.plan(REQUEST)), drawn)
    rounded = engine._start(engine.plan(replace(REQUEST, mode="bf16")))
    assert torch.equal(rounded, drawn.bfloat16().float())


def test_the_taps_can_be_said_by_the_caller(tiny_folder: Path) -> None:
    with Engine.open(tiny_folder, device="cpu", text_layers=(0, 1, 2)) as engine:
        assert engine._networks[torch.float32].text_encoder.layers == (0, 1, 2)


def test_a_folder_without_taps_is_refused_and_names_the_option(
    tiny_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "silent")
    (tmp_path / "silent" / "linocut.json").unlink()
    with pytest.raises(CheckpointInvalid) as caught:
        Engine.open(tmp_path / "silent", device="cpu")
    assert "--text-layers" in caught.value.hint


def test_a_tokenizer_of_another_checkpoint_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = variant(tiny_folder, tmp_path / "mixed")
    file = folder / "tokenizer" / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"] |= {f"word{number}": 300 + number for number in range(50)}
    file.write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(CheckpointInvalid, match="embeddings for 300"):
        Engine.open(folder, device="cpu")


def test_parts_of_different_checkpoints_are_refused() -> None:
    mixed = ModelConfig(autoencoder=AutoencoderConfig(latent_channels=16))
    with pytest.raises(CheckpointInvalid, match="128 channels a token, the autoencoder gives 64"):
        check_parts_fit(mixed)


def test_a_checkpoint_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound):
        Engine.open(tmp_path / "nothing", device="cpu")


def test_an_unknown_device_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(DoesNotFit, match="abacus"):
        Engine.open(tmp_path / "nothing", device="abacus")


def test_the_encoder_that_draws_can_be_shared_until_the_engine_is_closed(
    tiny_folder: Path,
) -> None:
    with Engine.open(tiny_folder, device="cpu") as engine:
        assert engine.text_encoder is engine._networks[torch.float32].text_encoder
        engine.draw(replace(REQUEST, mode="bf16"))  # which draws with a copy
        assert engine.text_encoder.model.embed_tokens.weight.dtype == torch.float32
        assert engine.tokenizer.max_tokens == engine.checkpoint.config.conditioning.max_tokens
    with pytest.raises(LinocutError, match="closed"):
        _ = engine.text_encoder
