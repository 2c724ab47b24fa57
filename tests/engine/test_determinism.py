"""Same seed, machine and mode: the same bytes, whatever runs beside it, before it or elsewhere."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import linocut
from linocut.engine import Engine
from linocut.events import Done
from linocut.request import ImageRequest, Picture

PLAIN = ImageRequest(prompt="a red apple", width=64, height=80, num_inference_steps=3, seed=3)
CHILD = """
import hashlib, sys, torch
from linocut.engine import Engine
from linocut.request import ImageRequest
torch.set_num_threads(int(sys.argv[2]))
engine = Engine.open(sys.argv[1], device="cpu")
for mode in ("exact", "bf16", "exact"):
    request = ImageRequest(prompt="a red apple", width=64, height=80, num_inference_steps=3,
                           seed=3, mode=mode)
    print(hashlib.sha256(engine.draw(request).picture.rgb).hexdigest())
"""


@pytest.fixture(scope="module")
def requests(small: SimpleNamespace) -> dict[str, ImageRequest]:
    """One of every kind."""
    picture = small.random_picture(64, 80, 1)
    return {
        "plain": PLAIN,
        "another seed": replace(PLAIN, seed=4),
        "another size": replace(PLAIN, width=96, height=64),
        "a reference": replace(PLAIN, references=(picture,)),
        "from a picture": replace(PLAIN, references=(picture,), prompt_strength=0.5),
        "bf16": replace(PLAIN, mode="bf16"),
    }


@pytest.fixture(scope="module")
def drawn(requests: dict[str, ImageRequest], tiny_folder: Path) -> dict[str, Picture]:
    """Each request's picture, drawn by an engine that drew nothing else."""
    pictures = {}
    for name, request in requests.items():
        with Engine.open(tiny_folder, device="cpu") as engine:
            pictures[name] = engine.draw(request).picture
    assert len(set(pictures.values())) == len(pictures)
    return pictures


def test_twenty_runs_in_any_order_give_the_same_bytes(
    requests: dict[str, ImageRequest], drawn: dict[str, Picture], engine: Engine
) -> None:
    order = ["plain"] * 20 + [name for name in requests if name != "plain"] * 2
    random.Random(0).shuffle(order)  # noqa: S311 - repeatable chance
    for name in order:
        assert engine.draw(requests[name]).picture == drawn[name], name


@pytest.fixture
def all_threads() -> Iterator[None]:
    """Two threads, as a real run has them."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("all_threads")
def test_runs_with_several_threads_give_the_same_bytes(engine: Engine) -> None:
    runs = [engine.draw(PLAIN) for _ in range(20)]
    assert len({done.picture for done in runs}) == 1
    assert {done.threads for done in runs} == {2}


def test_requests_that_take_turns_step_by_step_give_the_same_bytes(
    requests: dict[str, ImageRequest], drawn: dict[str, Picture], engine: Engine
) -> None:
    runs = {name: engine.run(request) for name, request in requests.items()}
    found: dict[str, Picture] = {}
    while runs:
        for name, run in list(runs.items()):
            event = next(run)
            if isinstance(event, Done):
                found[name] = event.picture
                del runs[name]
    assert found == drawn


def test_a_request_that_was_canceled_leaves_nothing_behind(
    requests: dict[str, ImageRequest], drawn: dict[str, Picture], engine: Engine
) -> None:
    for stop in range(1, 6):
        run = engine.run(requests["another seed"])
        for _ in range(stop):
            next(run)
        run.close()  # type: ignore[attr-defined]
        assert engine.draw(PLAIN).picture == drawn["plain"]


def test_requests_in_threads_of_their_own_give_the_same_bytes(
    requests: dict[str, ImageRequest], drawn: dict[str, Picture], engine: Engine
) -> None:
    found: dict[str, Picture] = {}

    def draw(name: str) -> None:
        torch.set_num_threads(1)
        found[name] = engine.draw(requests[name]).picture

    threads = [threading.Thread(target=draw, args=(name,)) for name in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == drawn


def test_a_second_process_and_one_after_a_restart_give_the_same_bytes(
    drawn: dict[str, Picture], tiny_folder: Path
) -> None:
    """Two processes at the same time, while a third has long drawn the same."""
    source = str(Path(linocut.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": source}
    command = [sys.executable, "-c", CHILD, str(tiny_folder), str(torch.get_num_threads())]
    children = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [child.communicate()[0].split() for child in children]
    digests = {name: hashlib.sha256(drawn[name].rgb).hexdigest() for name in ("plain", "bf16")}
    assert answers == [[digests["plain"], digests["bf16"], digests["plain"]]] * 2
