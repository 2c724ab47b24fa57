"""Weights arrive exactly, or not at all, and cost no more memory than they must."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForImageTextToText, MistralConfig, MistralForCausalLM

from linocut.catalog import DEV
from linocut.errors import CheckpointInvalid
from linocut.model.autoencoder import Autoencoder
from linocut.model.transformer import Transformer
from linocut.weights import convert
from linocut.weights.files import Checkpoint, open_checkpoint
from linocut.weights.load import load_autoencoder, load_text_encoder, load_transformer
from linocut.weights.names import TRANSFORMER, autoencoder

TAPS = (1, 2, 3)
FP32 = {"device": "cpu", "dtype": torch.float32}
WEIGHTS = "diffusion_pytorch_model.safetensors"
DATA = Path(__file__).parent / "data"
Loader = Callable[..., nn.Module]
LOADERS: list[Loader] = [load_transformer, load_autoencoder, load_text_encoder]


def opened(folder: Path) -> Checkpoint:
    return open_checkpoint(folder, text_layers=TAPS)


def refusal(load_part: Loader, folder: Path) -> str:
    checkpoint = open_checkpoint(folder)
    with pytest.raises(CheckpointInvalid) as caught:
        load_part(checkpoint, **FP32)
    return f"{caught.value.message} | {caught.value.hint}"


def equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    same = [torch.equal(ours[name], theirs[name]) for name in ours if name in theirs]
    return all(same) and set(ours) == set(theirs)


# The right values


def test_the_transformer_holds_what_diffusers_loads(tiny: Path) -> None:
    theirs = Flux2Transformer2DModel.from_pretrained(tiny / "transformer").state_dict()
    ours = load_transformer(opened(tiny), **FP32).state_dict()
    assert equal(ours, convert.from_diffusers(TRANSFORMER, theirs))


def test_joined_and_swapped_rows_are_where_they_belong(tiny: Path) -> None:
    theirs = Flux2Transformer2DModel.from_pretrained(tiny / "transformer").state_dict()
    ours = load_transformer(opened(tiny), **FP32).state_dict()
    for stream, rows in (("img", "to_{}"), ("txt", "add_{}_proj")):
        qkv = ours[f"double_blocks.1.{stream}_attn.qkv.weight"].chunk(3)
        for name, part in zip("qkv", qkv, strict=True):
            held = theirs[f"transformer_blocks.1.attn.{rows.format(name)}.weight"]
            assert torch.equal(part, held)
    scale, shift = theirs["norm_out.linear.weight"].chunk(2)
    assert torch.equal(ours["final_layer.adaLN_modulation.1.weight"], torch.cat((shift, scale)))


def test_the_autoencoder_holds_what_diffusers_loads(tiny: Path) -> None:
    theirs = AutoencoderKLFlux2.from_pretrained(tiny / "vae").state_dict()
    ours = load_autoencoder(opened(tiny), **FP32).state_dict()
    assert equal(ours, convert.from_diffusers(autoencoder(3), theirs))


def test_the_text_encoder_holds_what_transformers_loads(tiny: Path) -> None:
    whole = AutoModelForImageTextToText.from_pretrained(tiny / "text_encoder")
    theirs = {f"model.{name}": x for name, x in whole.model.language_model.state_dict().items()}
    ours = load_text_encoder(opened(tiny), **FP32).state_dict()
    read = {
        name: x for name, x in theirs.items() if "layers.3." not in name and ".norm." not in name
    }
    assert equal(ours, read)


def test_shards_and_single_files_hold_the_same(tiny: Path, dev_like: Path, single: Path) -> None:
    for load_part in (load_transformer, load_autoencoder):
        expected = load_part(opened(tiny), **FP32).state_dict()
        assert equal(load_part(open_checkpoint(dev_like), **FP32).state_dict(), expected)
        assert equal(load_part(open_checkpoint(single), **FP32).state_dict(), expected)


def test_shards_that_are_not_needed_are_not_opened(dev_like: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dev"
    shutil.copytree(dev_like, folder)
    needed = open_checkpoint(folder).text_encoder
    assert needed is not None
    for shard in (folder / "text_encoder").glob("*.safetensors"):
        if shard not in needed.files:
            shard.write_bytes(b"never read")
    encoder = load_text_encoder(open_checkpoint(folder), **FP32)
    assert len(encoder.model.layers) == 30


@pytest.mark.parametrize("prefix", ["model.language_model.", "model."])
def test_an_encoder_under_any_of_its_published_names_is_the_same(copy: Path, prefix: str) -> None:
    expected = load_text_encoder(open_checkpoint(copy), **FP32).state_dict()
    file = copy / "text_encoder/model.safetensors"
    state = {
        name.replace("language_model.model.", prefix).replace(
            "language_model.lm_head", "lm_head"
        ): x
        for name, x in load_file(file).items()
    }
    save_file(state, file)
    assert equal(load_text_encoder(open_checkpoint(copy), **FP32).state_dict(), expected)


def test_a_mistral_without_eyes_is_read(copy: Path, edit: Callable[..., None]) -> None:
    shutil.rmtree(copy / "text_encoder")
    config = MistralConfig(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=20,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    MistralForCausalLM(config).save_pretrained(copy / "text_encoder")
    assert len(load_text_encoder(open_checkpoint(copy), **FP32).model.layers) == 3


@pytest.mark.parametrize("load_part", LOADERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_is_ready_to_run(tiny: Path, load_part: Loader, dtype: torch.dtype) -> None:
    network = load_part(opened(tiny), device="cpu", dtype=dtype)
    tensors = [*network.parameters(), *network.buffers()]
    assert not any(tensor.is_meta or tensor.requires_grad for tensor in tensors)
    assert not any(module.training for module in network.modules())
    assert all(parameter.dtype is dtype for parameter in network.parameters())


def test_what_is_no_weight_keeps_its_dtype(tiny: Path) -> None:
    pictures = load_autoencoder(opened(tiny), device="cpu", dtype=torch.bfloat16)
    assert pictures.bn.num_batches_tracked.dtype is torch.int64
    assert pictures.bn.running_mean.dtype is torch.bfloat16
    encoder = load_text_encoder(opened(tiny), device="cpu", dtype=torch.bfloat16)
    assert encoder.model.rotary_emb.inv_freq.dtype is torch.float32
    assert encoder.model.rotary_emb.inv_freq[0] == 1


def test_bf16_weights_widen_exactly(copy: Path) -> None:
    file = copy / "transformer" / WEIGHTS
    state = {name: tensor.bfloat16() for name, tensor in load_file(file).items()}
    save_file(state, file)
    ours = load_transformer(open_checkpoint(copy), **FP32).state_dict()
    expected = convert.from_diffusers(TRANSFORMER, {k: x.float() for k, x in state.items()})
    assert equal(ours, expected)


def test_statistics_without_their_counter_are_read(copy: Path) -> None:
    file = copy / "vae" / WEIGHTS
    state = load_file(file)
    del state["bn.num_batches_tracked"]
    save_file(state, file)
    assert load_autoencoder(open_checkpoint(copy), **FP32).bn.num_batches_tracked == 0


# Or not at all


def rewrite(file: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = load_file(file)
    change(state)
    save_file(state, file)


def test_missing_and_unknown_names_are_counted_and_the_first_is_named(copy: Path) -> None:
    def change(state: dict[str, torch.Tensor]) -> None:
        state["transformer_blocks.0.attn.to_qkv.weight"] = torch.zeros(1)
        for name in ("to_q", "to_k", "to_v"):
            del state[f"transformer_blocks.0.attn.{name}.weight"]

    rewrite(copy / "transformer" / WEIGHTS, change)
    message = refusal(load_transformer, copy)
    assert "3 missing, the first is transformer_blocks.0.attn.to_q.weight" in message
    assert "1 unknown, the first is transformer_blocks.0.attn.to_qkv.weight" in message
    assert str(copy / "transformer") in message


def test_a_configuration_with_more_blocks_than_the_file_is_noticed(
    copy: Path, edit: Callable[..., None]
) -> None:
    edit(copy / "transformer/config.json", num_layers=3)
    assert "missing, the first is transformer_blocks.2." in refusal(load_transformer, copy)
    edit(copy / "transformer/config.json", num_layers=1)
    assert "unknown, the first is transformer_blocks.1." in refusal(load_transformer, copy)


def test_a_wrong_shape_is_named_with_both_shapes(copy: Path, edit: Callable[..., None]) -> None:
    edit(copy / "transformer/config.json", timestep_guidance_channels=128)
    message = refusal(load_transformer, copy)
    assert "linear_1.weight has the shape (64, 256)" in message
    assert "asks for (64, 128)" in message


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8, torch.int64])
def test_quantised_weights_are_told_from_damaged_ones(copy: Path, dtype: torch.dtype) -> None:
    name = "proj_out.weight"
    rewrite(
        copy / "transformer" / WEIGHTS, lambda state: state.update({name: state[name].to(dtype)})
    )
    assert f"{name} is stored as" in refusal(load_transformer, copy)
    assert "no quantised files yet" in refusal(load_transformer, copy)
    assert "linocut pull flux-2-dev" in refusal(load_transformer, copy)


def test_tensors_that_only_quantised_files_have_are_told_from_foreign_ones(copy: Path) -> None:
    file, scale = copy / "transformer" / WEIGHTS, {"proj_out.scale": torch.ones(1)}
    rewrite(file, lambda state: state.update(scale))
    assert refusal(load_transformer, copy).endswith("| ")
    halved = {"proj_out.weight": torch.zeros(16, 64, dtype=torch.float8_e4m3fn)}
    rewrite(file, lambda state: state.update(halved))
    message = refusal(load_transformer, copy)
    assert "the first is proj_out.scale" in message
    assert "linocut pull flux-2-dev" in message


def test_an_encoder_with_a_foreign_tensor_is_refused(copy: Path) -> None:
    file = copy / "text_encoder/model.safetensors"
    rewrite(file, lambda state: state.update({"audio_tower.weight": torch.zeros(1)}))
    assert "1 unknown, the first is audio_tower.weight" in refusal(load_text_encoder, copy)


def test_an_encoder_without_embeddings_is_refused_when_it_is_opened(copy: Path) -> None:
    file = copy / "text_encoder/model.safetensors"
    rewrite(file, lambda state: state.pop("language_model.model.embed_tokens.weight"))
    with pytest.raises(CheckpointInvalid, match=r"name no embed_tokens\.weight"):
        open_checkpoint(copy)


def test_single_files_without_an_encoder_say_what_to_put_beside_them(single: Path) -> None:
    shutil.rmtree(single / "text_encoder")
    assert "put the folders text_encoder and tokenizer" in refusal(load_text_encoder, single)


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden_act": "no such function"},
        {"rope_parameters": {"rope_type": "no such type"}},
        {"rms_norm_eps": "small"},
        {"pad_token_id": 10**6},
        {"max_position_embeddings": "long"},
    ],
)
def test_an_encoder_that_transformers_cannot_build_is_no_traceback(
    copy: Path, fields: dict[str, Any]
) -> None:
    file = copy / "text_encoder/config.json"
    config = json.loads(file.read_text())
    config["text_config"] |= fields
    file.write_text(json.dumps(config))
    assert "transformers cannot build this" in refusal(load_text_encoder, copy)


def test_a_file_that_changed_since_it_was_opened_is_noticed(copy: Path) -> None:
    checkpoint = open_checkpoint(copy)
    (copy / "vae" / WEIGHTS).write_bytes(b"something else")
    with pytest.raises(CheckpointInvalid, match="cannot be read"):
        load_autoencoder(checkpoint, **FP32)


# Full size


def test_dev_has_the_published_tensors_and_size() -> None:
    with (DATA / "tensors_transformer.tsv").open(newline="") as file:
        lines = list(csv.reader(file, delimiter="\t"))[1:]
    published = {name: tuple(map(int, shape.split("x"))) for name, shape, *_ in lines}
    with torch.device("meta"):
        network = Transformer(DEV.transformer)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert len(shapes) == 299
    assert shapes == published
    assert sum(parameter.numel() for parameter in network.parameters()) == 32_223_281_152


def test_devs_autoencoder_has_the_published_tensors_and_size() -> None:
    with (DATA / "tensors_vae.tsv").open(newline="") as file:
        lines = list(csv.reader(file, delimiter="\t"))[1:]
    published = {
        name: () if shape == "scalar" else tuple(map(int, shape.split("x")))
        for name, shape, *_ in lines
    }
    with torch.device("meta"):
        network = Autoencoder(DEV.autoencoder)
    assert {name: tuple(x.shape) for name, x in network.state_dict().items()} == published
    assert sum(parameter.numel() for parameter in network.parameters()) == 84_046_115
