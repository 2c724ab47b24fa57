"""The network's names, sizes and habits. That it computes the published function: tests/parity."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from linocut.catalog import DEV, KLEIN_4B, KLEIN_9B, TransformerConfig
from linocut.model.transformer import Transformer

PUBLISHED = Path(__file__).parents[1] / "weights" / "data" / "tensors_transformer.tsv"


def on_meta(config: TransformerConfig) -> Transformer:
    with torch.device("meta"):
        return Transformer(config)


def test_full_size_dev_has_the_published_tensors_and_no_other() -> None:
    with PUBLISHED.open(newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    published = {row[0]: tuple(int(side) for side in row[1].split("x")) for row in rows}
    state = on_meta(DEV.transformer).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == published
    assert len(state) == 299
    assert sum(tensor.numel() for tensor in state.values()) == 32_223_281_152


def test_a_double_and_a_single_block_have_the_published_sizes() -> None:
    network = on_meta(DEV.transformer)
    for block, count in (
        (network.double_blocks[0], 981_467_648),
        (network.single_blocks[0], 490_733_824),
    ):
        assert sum(weight.numel() for weight in block.parameters()) == count


@pytest.mark.parametrize(
    ("config", "count"), [(KLEIN_4B, 3_875_544_576), (KLEIN_9B, 9_078_581_248)]
)
def test_klein_has_as_many_parameters_as_published(config: TransformerConfig, count: int) -> None:
    network = on_meta(config)
    assert sum(weight.numel() for weight in network.parameters()) == count
    assert not [name for name in network.state_dict() if name.startswith("guidance_in")]


def test_without_guidance_there_is_no_embedder_for_it(small: SimpleNamespace) -> None:
    config = TransformerConfig(
        in_channels=4, context_channels=8, hidden_size=16, num_heads=2, num_double_blocks=1,
        num_single_blocks=1, axes=(2, 2, 2, 2), guidance_embedding=False,
    )  # fmt: skip
    network = Transformer(config)
    assert not [name for name in network.state_dict() if "guidance" in name]
    small.randomise(network, 0)
    levels = torch.tensor([0.5])
    unguided = network.modulation(levels, None)
    assert torch.equal(unguided.image_N6C, network.modulation(levels, levels).image_N6C)


def test_the_modulation_of_many_steps_is_that_of_each(small: SimpleNamespace) -> None:
    network = Transformer(small.transformer)
    small.randomise(network, 0)
    levels, guidance = torch.tensor([1.0, 0.7, 0.2]), torch.tensor([3.0, 3.0, 4.5])
    together = network.modulation(levels, guidance)
    for step in range(3):
        one = slice(step, step + 1)
        alone, picked = network.modulation(levels[one], guidance[one]), together.at(step)
        for part in ("image_N6C", "text_N6C", "single_N3C", "final_N2C"):
            assert small.relative_error(getattr(picked, part), getattr(alone, part)) < 1e-6
    assert together.image_N6C.shape == (3, 6, 64)
    assert together.single_N3C.shape == (3, 3, 64)
    assert together.final_N2C.shape == (3, 2, 64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_in_the_network_changes_the_dtype(
    dtype: torch.dtype, small: SimpleNamespace
) -> None:
    network = Transformer(small.transformer)
    small.randomise(network, 0)
    network.to(dtype)
    guidance = torch.tensor([3.0])
    modulation = network.modulation(torch.tensor([0.5]), guidance)
    assert modulation.single_N3C.dtype == dtype
    img, txt = network.img_in(torch.randn(1, 6, 16).to(dtype)), torch.randn(1, 3, 64).to(dtype)
    at = torch.zeros(9, 4, dtype=torch.long)
    velocity = network(img, txt, rotary=network.rotary(at), modulation=modulation)
    assert velocity.dtype == dtype
    assert velocity.shape == (1, 6, 16)
