"""A training in small files, so that it can go to another machine and come back.

`pack` takes what the transformer's training needs and cannot make again there: the cut-outs at the
size they are drawn at, and of tokenizer, autoencoder and text encoder what has been made here; with
`--from` a checkpoint that is there already brings these. `wrap` takes a whole folder: the
checkpoint that came of it. Both write parts of at most `PART_BYTES`, which `unpack` puts together.
Here, there, and here again:

    python -m linocut_training.parcel pack build/train-mini parcel

    python -m linocut_training.parcel unpack parcel work
    python -m linocut_training --work work --out made --card card \\
        --only views transformer export --processes 14 --device cuda --minutes 8
    python -m linocut_training.parcel wrap made back

    python -m linocut_training.parcel unpack back made
    python -m linocut_training.evaluate made build/train-mini evaluation
"""

from __future__ import annotations

import argparse
import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import torch
from PIL import Image

from linocut.model.autoencoder import Autoencoder
from linocut_training.autoencoder import trained
from linocut_training.concepts import DRAWN_SOURCES

PART_BYTES: Final = 15_000_000
CUTOUT_SIDE: Final = 256  # of the largest picture's shorter side
Entry = tuple[str, bytes]


def pack(work: Path, out: Path) -> list[Path]:
    """The parts of a training that is ready for its transformer."""
    return _write(_what_is_needed(work), out)


def wrap(folder: Path, out: Path) -> list[Path]:
    """The parts of every file below a folder."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    if not files:
        raise SystemExit(f"{folder}: no files there")
    return _write(((str(file.relative_to(folder)), file.read_bytes()) for file in files), out)


def unpack(folder: Path, work: Path) -> None:
    """All files of a parcel below `work`; what stands there already stays."""
    parts = sorted(folder.glob("part-*"))
    if not parts:
        raise SystemExit(f"{folder}: no part-* there")
    whole = io.BytesIO(b"".join(part.read_bytes() for part in parts))
    work.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=whole) as tar:
        missing = [entry for entry in tar if not (work / entry.name).exists()]
        tar.extractall(work, missing, filter="data")


def _what_is_needed(work: Path) -> Iterator[Entry]:
    for file in sorted((work / "tokenizer").glob("*")):
        yield f"tokenizer/{file.name}", file.read_bytes()
    if (work / "text_encoder.pt").exists():
        yield "text_encoder.pt", (work / "text_encoder.pt").read_bytes()
    if (work / "autoencoder.pt").exists():
        yield "autoencoder.pt", _without_optimisers(trained(work))
    for source in DRAWN_SOURCES:  # the others are made from these
        for file in sorted((work / "cutouts" / source).glob("*.png")):
            yield f"cutouts/{source}/{file.name}", _smaller(file)


def _without_optimisers(model: Autoencoder) -> bytes:
    """The state that `trained` reads; what stands in it twice is written once."""
    stream = io.BytesIO()
    averages = [parameter.detach() for parameter in model.parameters()]
    torch.save({"model": model.state_dict(), "average": averages}, stream)
    return stream.getvalue()


def _smaller(file: Path) -> bytes:
    """A cut-out no larger than it is ever drawn, as PNG."""
    stream = io.BytesIO()
    with Image.open(file) as picture:
        size = (min(CUTOUT_SIDE, picture.width), min(CUTOUT_SIDE, picture.height))
        small = picture.convert("RGBa").resize(size, Image.Resampling.HAMMING, reducing_gap=3.0)
        small.convert("RGBA").save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _write(entries: Iterable[Entry], out: Path) -> list[Path]:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("part-*"):
        old.unlink()
    content, parts = whole.getvalue(), []
    for number, start in enumerate(range(0, len(content), PART_BYTES)):
        parts.append(out / f"part-{number:02}")
        parts[-1].write_bytes(content[start : start + PART_BYTES])
    return parts


VERBS: Final[dict[str, Callable[[Path, Path], object]]] = {
    "pack": pack, "wrap": wrap, "unpack": unpack
}  # fmt: skip


def main() -> None:
    """Do what the first word says from the first folder to the second."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    VERBS[given.verb](given.source, given.target)


if __name__ == "__main__":
    main()
