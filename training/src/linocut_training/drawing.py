"""Pictures as files, each drawn once: an evaluation that was stopped goes on where it was.

A file says in itself what it was drawn of: the weights, the code that draws, and the request. What
is there already by the same three is left as it is; all else is drawn anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.multiprocessing as mp
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import linocut
from linocut.engine import Engine
from linocut.request import ImageRequest, Picture
from linocut_training.gates import Pixels

Draw = Callable[[ImageRequest], Picture]

DRAWN_OF: Final = "drawn of"  # the key of a file's text


def draw_in_processes(
    checkpoint: Path, requests: dict[str, ImageRequest], folder: Path, processes: int
) -> None:
    """Every picture into `folder`, each process with an engine and a thread of its own."""
    if not checkpoint.is_dir():
        raise SystemExit(f"{checkpoint}: no such checkpoint folder")
    source = f"{fingerprint(checkpoint)}/{_code()}"
    asked = {name: it for name, it in requests.items() if not _is_there(folder, name, source, it)}
    shares = [dict(list(asked.items())[rank::processes]) for rank in range(processes)]
    if asked:
        mp.spawn(  # type: ignore[attr-defined, no-untyped-call]
            _draw_mine,
            args=(shares, checkpoint, folder, source),
            nprocs=min(processes, len(asked)),
        )


def _draw_mine(
    rank: int, shares: list[dict[str, ImageRequest]], checkpoint: Path, folder: Path, source: str
) -> None:
    torch.set_num_threads(1)
    os.nice(10)
    with Engine.open(checkpoint, device="cpu", dtype="float32") as engine:
        draw_share(
            lambda request: engine.draw(request).picture, shares[rank], folder, source=source
        )


def draw_share(
    draw: Draw, requests: dict[str, ImageRequest], folder: Path, *, source: str = ""
) -> None:
    """Each request's picture as a file of its name; source: the weights and code of `draw`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, request in requests.items():
        picture = draw(request)
        image = Image.frombytes("RGB", (picture.width, picture.height), picture.rgb)
        drawn_of = PngInfo()
        drawn_of.add_text(DRAWN_OF, _digest(source, request))
        partial = folder / f"{name}.partial"
        image.save(partial, "PNG", compress_level=1, pnginfo=drawn_of)
        partial.replace(folder / f"{name}.png")


def _is_there(folder: Path, name: str, source: str, request: ImageRequest) -> bool:
    file = folder / f"{name}.png"
    if not file.exists():
        return False
    with Image.open(file) as image:
        return bool(image.info.get(DRAWN_OF) == _digest(source, request))


def _digest(source: str, request: ImageRequest) -> str:
    return hashlib.sha256(f"{source}/{request}".encode()).hexdigest()


def _code() -> str:
    """SHA-256 of what has a say in a picture: linocut's own files, and PyTorch's version."""
    digest, root = hashlib.sha256(torch.__version__.encode()), Path(linocut.__file__).parent
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def to_picture(pixels: Pixels) -> Picture:
    """Height x width x 3 bytes as the engine takes them."""
    height, width, _ = pixels.shape
    return Picture(width, height, pixels.tobytes())


def read(file: Path) -> Pixels:
    """A picture's pixels."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def fingerprint(checkpoint: Path) -> str:
    """SHA-256 of the checkpoint's tensors, file by file in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(checkpoint.rglob("*.safetensors")):
        digest.update(file.relative_to(checkpoint).as_posix().encode() + b"\0")
        digest.update(file.read_bytes())
    return digest.hexdigest()
