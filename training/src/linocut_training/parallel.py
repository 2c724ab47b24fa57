"""Two processes of one thread each, averaging gradients over gloo.

On a small machine two single-threaded processes train faster than one process with two threads,
because the threads' barriers spin whenever anything else wants a core.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

# glibc gives every large tensor fresh pages and takes them back at once; on a small machine the
# page faults cost as much as the arithmetic, and five times as much on some virtual machines once a
# process is old: fewer and larger pages end that. Read by the C library when a process starts.
KEEP_PAGES = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(10**11),
    "MALLOC_TOP_PAD_": str(500 * 10**6),
}
PEER_IS_GONE = "closed by peer"  # as gloo says it
PATIENCE_SECONDS = 10.0  # until the launching process ends those whose peer has failed


def launch(worker: Callable[..., None], *args: object, processes: int = 2) -> None:
    """Run `worker(rank, processes, *args)` in each process and wait; a failure ends them all."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ.update(KEEP_PAGES)
    spawn(_enter, args=(worker, processes, port, args), nprocs=processes)


def _enter(
    rank: int, worker: Callable[..., None], processes: int, port: int, args: tuple[object, ...]
) -> None:
    torch.set_num_threads(1)
    os.nice(5)
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=processes)
    try:
        worker(rank, processes, *args)
    except RuntimeError as error:
        if PEER_IS_GONE in str(error):  # its own complaint, which says why, comes first
            time.sleep(PATIENCE_SECONDS)
        raise
    # Only after success: the others would fail at once of a group that is left in good order, and
    # the caller would hear their complaint instead of the cause.
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)  # without the interpreter's end, at which gloo's threads now and then abort


@cache
def has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32, as it turns out.

    Some have the instructions and are twice as slow with them.
    """
    seconds = {dtype: _seconds_of_products(dtype) for dtype in (torch.bfloat16, torch.float32)}
    return seconds[torch.bfloat16] < seconds[torch.float32]


def _seconds_of_products(dtype: torch.dtype) -> float:
    """The quickest of a few products like those of the training."""
    rows, weights = torch.ones(1024, 320, dtype=dtype), torch.ones(960, 320, dtype=dtype)
    took = []
    for _ in range(8):
        began = time.perf_counter()
        torch.nn.functional.linear(rows, weights)
        took.append(time.perf_counter() - began)
    return min(took)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Every gradient becomes the mean over the processes, in one message."""
    if dist.get_world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    offset = 0
    for gradient in gradients:
        gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
        offset += gradient.numel()


def average(value: Tensor) -> Tensor:
    """The mean of `value` over the processes."""
    dist.all_reduce(value)
    return value / dist.get_world_size()


def agreed(here: bool) -> bool:  # noqa: FBT001 - what is asked has one answer a process
    """Whether any of the processes says so: all of them get the same answer."""
    said = torch.tensor(float(here))
    dist.all_reduce(said)
    return said.item() > 0


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a resumable state whole or not at all."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


class Log:
    """One JSON object a line, with the seconds since the start; read it with `tail -f`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.began = time.monotonic()

    def __call__(self, **values: object) -> None:
        line = json.dumps({"seconds": round(time.monotonic() - self.began, 1), **values})
        with self.path.open("a") as file:
            file.write(line + "\n")
