"""Loading costs no more memory than the network and its largest tensor."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from linocut.catalog import TransformerConfig
from linocut.model.transformer import Transformer
from linocut.weights import convert, load
from linocut.weights.names import TRANSFORMER, Form

WEIGHTS = "diffusion_pytorch_model.safetensors"
MEASURED = TransformerConfig(
    in_channels=16,
    context_channels=48,
    hidden_size=768,
    num_heads=6,
    num_double_blocks=2,
    num_single_blocks=2,
)
CHILD = """
import sys, torch
from linocut.weights import convert
from linocut.weights.files import open_checkpoint
from linocut.weights.load import load_transformer
from linocut.weights.names import TRANSFORMER
from safetensors.torch import load_file

def all_at_once(checkpoint, *, device, dtype):
    stored = load_file(checkpoint.transformer.files[0])
    read = {name: tensor.to(dtype, copy=True) for name, tensor in stored.items()}
    return {name: x.clone() for name, x in convert.from_diffusers(TRANSFORMER, read).items()}

torch.set_num_threads(1)
checkpoint = open_checkpoint(sys.argv[1], text_layers=(1, 2, 3))
for order in sys.argv[2:]:
    whose, dtype = order.split(":")
    load = {"ours": load_transformer, "naive": all_at_once}[whose]
    print("ready", flush=True)
    sys.stdin.readline()
    network = load(checkpoint, device="cpu", dtype=getattr(torch, dtype))
    print("loaded", flush=True)
    sys.stdin.readline()
    del network
"""


@dataclass(frozen=True)
class Growth:
    """Bytes by which a process's own memory grew while it loaded."""

    most: int
    final: int


@pytest.fixture(scope="module")
def large(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny` with a transformer of 56 million bf16 parameters."""
    folder = tmp_path_factory.mktemp("large") / "large"
    shutil.copytree(tiny, folder)
    state = convert.to_diffusers(TRANSFORMER, Transformer(MEASURED).bfloat16().state_dict())
    stored = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    save_file(stored, folder / "transformer" / WEIGHTS)
    config = json.loads((folder / "transformer/config.json").read_text())
    config |= {
        "attention_head_dim": 128,
        "num_attention_heads": 6,
        "num_single_layers": 2,
        "axes_dims_rope": [32, 32, 32, 32],
    }
    (folder / "transformer/config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def grown(large: Path) -> dict[str, Growth]:
    """How a process of its own grows with each way of loading, watched from outside."""
    orders = ("ours:bfloat16", "ours:float32", "naive:float32")
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(large), *orders],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(load.__file__).parents[2])},
        text=True,
    ) as child:
        return {order: watched(child) for order in orders}


def watched(child: subprocess.Popen[str]) -> Growth:
    """What one load costs the child, looked at a thousand times a second."""
    assert child.stdin
    assert child.stdout
    assert child.stdout.readline() == "ready\n"
    before = most = anonymous(child.pid)
    print(file=child.stdin, flush=True)
    while not select.select([child.stdout], [], [], 0.001)[0]:
        most = max(most, anonymous(child.pid))
    assert child.stdout.readline() == "loaded\n"
    final = anonymous(child.pid)
    print(file=child.stdin, flush=True)
    return Growth(max(most, final) - before, final - before)


def anonymous(pid: int) -> int:
    """Bytes of a process's memory that no file stands behind."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024


def sizes(dtype: torch.dtype) -> tuple[int, int, int]:
    """Bytes of all tensors, of the largest, and of those that are joined or swapped."""
    with torch.device("meta"):
        state = Transformer(MEASURED).to(dtype).state_dict()
    bytes_of = {name: tensor.nbytes for name, tensor in state.items()}
    made = [size for name, size in bytes_of.items() if TRANSFORMER.of_ours(name).form != Form.SAME]
    return sum(bytes_of.values()), max(bytes_of.values()), sum(made)


SLACK = 4 * 2**20  # modules, names and headers, and what the allocator keeps


def test_equal_tensors_stay_mapped_and_the_others_are_made_one_at_a_time(
    grown: dict[str, Growth],
) -> None:
    every, largest, made = sizes(torch.bfloat16)
    ours = grown["ours:bfloat16"]
    assert ours.final <= made + SLACK < every / 3
    assert ours.most <= ours.final + largest + SLACK


def test_conversion_needs_no_more_than_the_model_and_its_largest_tensor(
    grown: dict[str, Growth],
) -> None:
    every, largest, _ = sizes(torch.float32)
    ours = grown["ours:float32"]
    assert abs(ours.final - every) <= SLACK
    assert ours.most <= every + largest + SLACK


def test_the_measurement_sees_a_loader_that_holds_everything_twice(
    grown: dict[str, Growth],
) -> None:
    every, largest, _ = sizes(torch.float32)
    assert grown["naive:float32"].most > every + 3 * largest
