"""The files of one network, and what their headers say is in them. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from linocut.errors import CheckpointInvalid
from linocut.fields import read_fields
from linocut.weights.headers import Stored, read_header

PICKLES: Final = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")
WHY_NO_PICKLE: Final = (
    "linocut reads safetensors only, because opening a pickle runs whatever code its author put in"
)
COMFY_PREFIX: Final = "model.diffusion_model."

Needed = Callable[[Iterable[str]], frozenset[str]]


@dataclass(frozen=True, slots=True)
class Part:
    """The stored tensors of one network by their published names; `where` is for messages."""

    where: Path
    tensors: Mapping[str, Stored]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold them, sorted."""
        return tuple(sorted({stored.file for stored in self.tensors.values()}))

    def __repr__(self) -> str:
        return f"Part({self.where}, {len(self.tensors)} tensors in {len(self.files)} files)"


def one_file(file: Path) -> Part:
    """The tensors of a single file, without the prefix that some tools put before every name."""
    tensors = read_header(file)
    if any(name.startswith(COMFY_PREFIX) for name in tensors):
        tensors = {name.removeprefix(COMFY_PREFIX): stored for name, stored in tensors.items()}
    return Part(file, tensors)


def folder_part(folder: Path, stem: str, needed: Needed = frozenset) -> Part:
    """The tensors of a folder that holds one file, or several shards and their index.

    stem: "diffusion_pytorch_model" or "model". needed: which of all names are read; a shard that
    holds none of them is neither looked at nor missed.
    """
    single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if single.is_file() and index.is_file():
        raise CheckpointInvalid(
            f"{folder} holds both {single.name} and {index.name}",
            hint="one of them is left over from another version; remove it",
        )
    if single.is_file():
        return _read(folder, read_header(single), needed)
    if not index.is_file():
        raise CheckpointInvalid(f"{folder} has no {single.name}", hint=hint_without(folder))
    promised = read_index(index)
    shards = sorted({promised[name] for name in needed(promised)})
    absent = [shard for shard in shards if not (folder / shard).is_file()]
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise CheckpointInvalid(f"{folder} lacks {absent[0]}{more}, which {index.name} names")
    tensors = {
        name: stored for shard in shards for name, stored in read_header(folder / shard).items()
    }
    for name, shard in promised.items():
        if shard in shards and (name not in tensors or tensors[name].file.name != shard):
            raise CheckpointInvalid(f"{folder / shard} does not hold {name}, as {index.name} says")
    return _read(folder, tensors, needed)


def _read(folder: Path, tensors: Mapping[str, Stored], needed: Needed) -> Part:
    read = needed(tensors)
    return Part(folder, {name: stored for name, stored in tensors.items() if name in read})


def read_index(file: Path) -> dict[str, str]:
    """Tensor name -> shard's file name, as an index says; CheckpointInvalid if it is no index."""
    promised = read_fields(file).inner("weight_map").values
    result = {}
    for name, shard in promised.items():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise CheckpointInvalid(f"{file}: {name} is in {shard!r}, which is no file name")
        if not shard.endswith(".safetensors"):
            raise CheckpointInvalid(f"{file} names {shard}", hint=WHY_NO_PICKLE)
        result[name] = shard
    if not result:
        raise CheckpointInvalid(f"{file} names no tensors")
    return result


def pickles(folder: Path) -> list[Path]:
    """The pickle files in a folder and one level below."""
    files = [*folder.glob("*"), *folder.glob("*/*")]
    return sorted(file for file in files if file.suffix in PICKLES and file.is_file())


def hint_without(folder: Path) -> str:
    """What may be the matter with a folder that lacks its safetensors files."""
    if found := pickles(folder):
        return f"it holds {found[0].name}: {WHY_NO_PICKLE}"
    others = sorted(file.name for file in folder.glob("*.safetensors"))
    return f"it holds {others[0]}; rename it if it is what is meant" if others else ""


@contextmanager
def about(file: Path) -> Iterator[None]:
    """Puts the file before the message of a CheckpointInvalid that does not name it."""
    try:
        yield
    except CheckpointInvalid as error:
        if str(file) in error.message:
            raise
        raise CheckpointInvalid(f"{file}: {error.message}", hint=error.hint) from error
