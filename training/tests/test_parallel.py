"""Two real processes that train as one, and what they leave behind on disk."""

import json
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import ProcessRaisedException

from linocut_training import parallel
from linocut_training.optim import Muon

ROOT = Path(__file__).parents[2]
SHAPES = ((4, 6), (3, 5), (2, 2, 3, 3))


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a process that is started find the functions of this file, and forgets what it sets."""
    monkeypatch.syspath_prepend(str(ROOT))
    for name in parallel.KEEP_PAGES:
        monkeypatch.setenv(name, "1")


def gradients(rank: int) -> list[torch.Tensor]:
    """What one process finds."""
    generator = torch.Generator().manual_seed(rank)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def weights_without_a_gradient_too() -> list[nn.Parameter]:
    """A weight a shape, and one that is never used."""
    return [*(nn.Parameter(torch.ones(shape)) for shape in SHAPES), nn.Parameter(torch.ones(2))]


def share(rank: int, processes: int, out: Path) -> None:
    """One process's step, its results written down."""
    parameters = weights_without_a_gradient_too()
    for parameter, gradient in zip(parameters, gradients(rank), strict=False):
        parameter.grad = gradient
    parallel.average_gradients(parameters)
    mean = parallel.average(torch.tensor([float(rank), 10.0]))
    averaged = [parameter.grad for parameter in parameters]
    Muon(parameters, lr=0.1).step()
    seen = {
        "processes": processes, "threads": torch.get_num_threads(), "mean": mean,
        "averaged": averaged, "weights": [parameter.detach() for parameter in parameters],
        "pages": {name: os.environ[name] for name in parallel.KEEP_PAGES},
    }  # fmt: skip
    torch.save(seen, out / f"{rank}.pt")


def stumble(rank: int, processes: int) -> None:
    """The second process fails while the first waits for its gradients."""
    if rank == 1:
        raise ValueError(f"process {rank} of {processes} stumbled")
    dist.all_reduce(torch.ones(1))


def test_two_processes_train_as_one(importable, tmp_path) -> None:
    parallel.launch(share, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert (first["processes"], first["threads"]) == (2, 1)
    assert first["pages"] == parallel.KEEP_PAGES
    assert first["mean"].tolist() == [0.5, 10.0]
    wanted = [(ours + theirs) / 2 for ours, theirs in zip(gradients(0), gradients(1), strict=True)]
    single = weights_without_a_gradient_too()
    for parameter, gradient in zip(single, wanted, strict=False):
        parameter.grad = gradient
    Muon(single, lr=0.1).step()
    for seen in (first, second):
        assert seen["averaged"][-1] is None
        for found, mean in zip(seen["averaged"], wanted, strict=False):
            assert torch.equal(found, mean)
        for found, parameter in zip(seen["weights"], single, strict=True):
            assert torch.equal(found, parameter.detach())


def test_a_process_that_fails_ends_all_and_says_why(importable) -> None:
    with pytest.raises(ProcessRaisedException, match="process 1 of 2 stumbled"):
        parallel.launch(stumble)


def test_a_state_is_written_whole_or_not_at_all(tmp_path) -> None:
    file = tmp_path / "state.pt"
    parallel.save_state(file, {"step": 1, "weight": torch.ones(3)})
    with pytest.raises(Exception, match=r"(?i)pickle|lambda"):
        parallel.save_state(file, {"step": 2, "weight": torch.zeros(3), "bad": lambda: None})
    assert torch.load(file)["step"] == 1
    parallel.save_state(file, {"step": 3})
    assert torch.load(file) == {"step": 3}
    assert list(tmp_path.iterdir()) == [file]


def test_a_log_is_lines_of_json_that_go_on(tmp_path) -> None:
    for start in (0, 2):
        log = parallel.Log(tmp_path / "a.log")
        for step in range(start, start + 2):
            log(step=step, loss=0.1, word='a "quoted"\nline')
    lines = [json.loads(line) for line in (tmp_path / "a.log").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert all(line["seconds"] >= 0 and line["word"] == 'a "quoted"\nline' for line in lines)


@pytest.mark.parametrize(("half", "whole", "expected"), [(1e-3, 2e-3, True), (2e-3, 1e-3, False)])
def test_bfloat16_is_taken_where_it_turns_out_to_be_faster(
    half, whole, expected, monkeypatch
) -> None:
    took = {torch.bfloat16: half, torch.float32: whole}
    parallel.has_bf16.cache_clear()
    monkeypatch.setattr(parallel, "_seconds_of_products", took.__getitem__)
    assert parallel.has_bf16() is expected
    parallel.has_bf16.cache_clear()
