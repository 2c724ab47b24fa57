"""Every published tensor has its place in both vocabularies, and values survive the way back."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from linocut.errors import CheckpointInvalid
from linocut.weights.names import (
    TRANSFORMER,
    Form,
    Names,
    autoencoder,
    language_names,
    text_names,
    text_prefix,
)

DATA = Path(__file__).parent / "data"
FORMS = {
    "same": Form.SAME,
    "rename": Form.SAME,
    "split rows into 3 equal parts q,k,v": Form.JOINED,
    "swap halves: [shift;scale] -> [scale;shift]": Form.SWAPPED,
    "squeeze 1x1 conv to linear": Form.SQUEEZED,
}
Row = tuple[str, tuple[int, ...], tuple[str, ...], tuple[int, ...], Form]


def shape_of(text: str) -> tuple[int, ...]:
    return () if text == "scalar" else tuple(int(side) for side in text.split("x"))


def published(table: str) -> list[Row]:
    with (DATA / table).open(newline="") as file:
        lines = list(csv.reader(file, delimiter="\t"))[1:]
    return [
        (ours, shape_of(shape), tuple(theirs.split(" | ")), shape_of(their_shape), FORMS[how])
        for ours, shape, theirs, their_shape, how in lines
    ]


TABLES = [
    pytest.param(TRANSFORMER, published("tensors_transformer.tsv"), 331, id="transformer"),
    pytest.param(autoencoder(4), published("tensors_vae.tsv"), 251, id="autoencoder"),
]


@pytest.mark.parametrize(("names", "rows", "theirs_in_all"), TABLES)
def test_our_names_become_theirs(names: Names, rows: list[Row], theirs_in_all: int) -> None:
    assert sum(len(theirs) for _, _, theirs, _, _ in rows) == theirs_in_all
    for ours, shape, theirs, their_shape, form in rows:
        pair = names.of_ours(ours)
        assert (pair.ours, pair.theirs, pair.form) == (ours, theirs, form)
        assert pair.their_shape(shape) == their_shape


@pytest.mark.parametrize(("names", "rows", "theirs_in_all"), TABLES)
def test_their_names_become_ours(names: Names, rows: list[Row], theirs_in_all: int) -> None:
    back = {name: names.of_theirs(name).ours for _, _, theirs, _, _ in rows for name in theirs}
    assert len(back) == theirs_in_all
    assert back == {name: ours for ours, _, theirs, _, _ in rows for name in theirs}


@pytest.mark.parametrize(
    ("names", "name"),
    [
        (TRANSFORMER, "double_blocks.0.img_attn.qkv.bias"),
        (TRANSFORMER, "double_blocks.x.img_attn.qkv.weight"),
        (TRANSFORMER, "model.diffusion_model.img_in.weight"),
        (TRANSFORMER, "x_embedder.weight"),
        (autoencoder(4), "decoder.up.4.block.0.conv1.weight"),
        (autoencoder(4), "encoder.down.0.block.0.conv3.weight"),
        (autoencoder(4), ""),
    ],
)
def test_a_foreign_name_is_refused_by_name(names: Names, name: str) -> None:
    with pytest.raises(CheckpointInvalid, match=r"is no tensor of the FLUX\.2"):
        names.of_ours(name)


def test_our_name_is_none_of_theirs() -> None:
    with pytest.raises(CheckpointInvalid, match=r"img_in\.weight is no tensor .* of diffusers"):
        TRANSFORMER.of_theirs("img_in.weight")


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model.", "model."])
def test_the_encoders_prefix_is_found_and_what_is_dead_weight_is_known(prefix: str) -> None:
    assert text_prefix([f"{prefix}embed_tokens.weight", "lm_head.weight"]) == prefix
    unused = {
        f"{prefix}layers.29.mlp.up_proj.weight": False,
        f"{prefix}layers.30.mlp.up_proj.weight": True,
        f"{prefix}norm.weight": True,
        f"{prefix}embed_tokens.weight": False,
        "lm_head.weight": True,
        "language_model.lm_head.weight": True,
        "vision_tower.patch_conv.weight": True,
        "model.multi_modal_projector.linear_1.weight": True,
        "model.audio_tower.weight": False,
    }
    read = text_names(unused, depth=30)
    assert {name: name not in read for name in unused} == unused
    seeing = {name for name in unused if "vision" in name or "multi_modal" in name}
    assert len(seeing) == 2
    assert language_names(unused) == set(unused) - seeing


def test_an_encoder_without_embeddings_is_refused() -> None:
    with pytest.raises(CheckpointInvalid, match="embed_tokens"):
        text_prefix(["encoder.block.0.layer.0.weight"])
