"""Finding a checkpoint and saying what it is, before a single weight is read. Torch-free.

Two layouts are read: a diffusers folder (`model_index.json` and a folder a part), and Black Forest
Labs' single files in a folder (`flux2-dev.safetensors` and `ae.safetensors`), recognised by what is
in them. Beside either may stand a `linocut.json` and a `repertoire.json`. Nothing is concluded from
a folder's name.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from linocut.catalog import CHECKPOINTS, NO_TEXT_ENCODER, Known, ModelConfig
from linocut.errors import CheckpointInvalid, CheckpointNotFound
from linocut.fields import read_fields
from linocut.repertoire import Repertoire, read_repertoire
from linocut.weights import configs
from linocut.weights.encoder import find_encoder
from linocut.weights.parts import (
    PICKLES,
    WHY_NO_PICKLE,
    Part,
    about,
    folder_part,
    one_file,
    pickles,
)

Layout = Literal["diffusers", "bfl"]

DIFFUSERS_FILES: Final = (
    "transformer/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "tokenizer/tokenizer.json",
)
OTHER_PIPELINES: Final = {
    "Flux2Klein": "FLUX.2 klein, whose text encoder, Qwen3, is not supported yet",
    "Flux2": "a variant of FLUX.2 that linocut does not know",
    "Flux": "FLUX.1, another architecture",
    "StableDiffusion": "Stable Diffusion, another architecture",
}
# A tensor that only this network has, and what the network is.
_SINGLE_FILES: Final = {
    "single_stream_modulation.lin.weight": "transformer",
    "bn.running_mean": "autoencoder",
}
_FOREIGN_FILES: Final = {
    "double_blocks.0.img_mod.lin.weight": "a FLUX.1 transformer",
    "decoder.up.0.block.0.conv1.weight": "an autoencoder, but not that of FLUX.2",
    "input_blocks.0.0.weight": "a Stable Diffusion network",
    "x_embedder.weight": "a transformer with diffusers' names; it belongs in a diffusers folder",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint on disk, described.

    Single files may come without a text encoder; then `text_encoder` is None, its shape in `config`
    is that of none, and there need be nothing at `tokenizer`. repertoire: all that it was taught,
    where it says so; None for one that was taught everything.
    """

    name: str
    folder: Path
    layout: Layout
    config: ModelConfig
    demo: bool
    transformer: Part
    autoencoder: Part
    text_encoder: Part | None
    text_config: Mapping[str, object] = field(repr=False)
    tokenizer: Path
    repertoire: Repertoire | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A known checkpoint as `linocut ls` shows it; `problem` says why it cannot be used, if so."""

    known: Known
    folder: Path | None
    size: int
    problem: str


def default_home(environ: Mapping[str, str]) -> Path:
    """The folder of pulled checkpoints: LINOCUT_HOME, else ~/.cache/linocut."""
    return Path(environ.get("LINOCUT_HOME") or "~/.cache/linocut").expanduser()


def open_checkpoint(
    name_or_path: str | Path,
    *,
    home: Path | None = None,
    text_layers: tuple[int, ...] | None = None,
) -> Checkpoint:
    """The checkpoint of a catalog name or at a path, checked as far as its headers go.

    home: where pulled checkpoints are. text_layers: which hidden states are read, over what the
    checkpoint itself says. Raises CheckpointNotFound and CheckpointInvalid.
    """
    known = CHECKPOINTS.get(str(name_or_path))
    if known is None:
        folder = _folder_at(Path(name_or_path))
        return _open(folder, folder.resolve().name, text_layers)
    found = folder_of(known, home)
    if found is None:
        raise _not_here(known, home)
    try:
        return _open(found, known.name, text_layers)
    except CheckpointInvalid as error:
        if known.repo and not error.hint:
            error.hint = f"linocut pull {known.name} fetches what is missing"
        raise


def text_encoder_of(checkpoint: Checkpoint) -> Part:
    """What reads its prompts; CheckpointInvalid where single files came without it."""
    if checkpoint.text_encoder is None:
        raise CheckpointInvalid(
            f"{checkpoint.folder} has no text encoder",
            hint="put the folders text_encoder and tokenizer of FLUX.2-dev beside the single files",
        )
    return checkpoint.text_encoder


def folder_of(known: Known, home: Path | None) -> Path | None:
    """The folder of a known checkpoint, or None if it is not on this computer."""
    if known.package:
        try:
            module = importlib.import_module(known.package)
        except ModuleNotFoundError as error:
            if error.name != known.package:
                raise
            return None
        return Path(module.path())
    folder = home / known.name if home else None
    return folder if folder and folder.is_dir() else None


def listing(home: Path) -> tuple[Listed, ...]:
    """Every known checkpoint: where it is, how large it is on disk, whether it can be used."""
    return tuple(_listed(known, home) for known in CHECKPOINTS.values())


def _listed(known: Known, home: Path) -> Listed:
    folder = folder_of(known, home)
    if folder is None:
        return Listed(known=known, folder=None, size=0, problem=known.unsupported)
    size = _size(folder)
    try:
        text_encoder_of(_open(folder, known.name, None))
    except CheckpointInvalid as error:
        return Listed(known=known, folder=folder, size=size, problem=error.message)
    return Listed(known=known, folder=folder, size=size, problem="")


def _size(folder: Path) -> int:
    size = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a pull may be renaming it at this moment
            size += file.stat().st_size if file.is_file() else 0
    return size


def _not_here(known: Known, home: Path | None) -> CheckpointNotFound:
    if known.package:
        return CheckpointNotFound(f"{known.name} is not installed", hint=known.install)
    if known.unsupported:
        return CheckpointNotFound(f"{known.name} cannot be used: {known.unsupported}")
    where = f"in {home}" if home else "here"
    return CheckpointNotFound(f"{known.name} is not {where}", hint=f"linocut pull {known.name}")


def _folder_at(path: Path) -> Path:
    try:
        path = path.expanduser()
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, RuntimeError) as error:  # too long, forbidden, the home of nobody
        raise CheckpointNotFound(f"{path} cannot be looked at: {error}") from error
    if is_folder:
        return path
    if path.suffix in PICKLES:
        raise CheckpointInvalid(
            f"{path} is a pickle; {WHY_NO_PICKLE}",
            hint="name a folder with safetensors files; `linocut ls` lists what is known",
        )
    if exists:
        raise CheckpointInvalid(
            f"{path} is a file; a checkpoint is a folder", hint=f"try {path.parent}"
        )
    close = difflib.get_close_matches(str(path), CHECKPOINTS, n=1)
    raise CheckpointNotFound(
        f"there is no checkpoint {str(path)!r}: it is no known name and no folder",
        hint=f"did you mean {close[0]}?" if close else f"known names: {', '.join(CHECKPOINTS)}",
    )


def _open(folder: Path, name: str, text_layers: tuple[int, ...] | None) -> Checkpoint:
    said = folder / "linocut.json"
    declared = configs.declared(read_fields(said)) if said.is_file() else configs.Declared()
    if text_layers is not None:
        declared = replace(declared, text_layers=text_layers)
    if (folder / "model_index.json").is_file():
        return _open_diffusers(folder, name, declared)
    return _open_single_files(folder, name, declared)


def _open_diffusers(folder: Path, name: str, declared: configs.Declared) -> Checkpoint:
    _check_pipeline(folder / "model_index.json")
    missing = [file for file in DIFFUSERS_FILES if not (folder / file).is_file()]
    if missing:
        raise CheckpointInvalid(f"{folder} is not whole: it lacks {', '.join(missing)}")
    network, pictures = folder / "transformer", folder / "vae"
    with about(network / "config.json"):
        transformer = configs.transformer_config(read_fields(network / "config.json"))
    with about(pictures / "config.json"):
        autoencoder = configs.autoencoder_config(read_fields(pictures / "config.json"))
    return _described(
        folder,
        ModelConfig(transformer=transformer, autoencoder=autoencoder),
        folder_part(network, "diffusion_pytorch_model"),
        folder_part(pictures, "diffusion_pytorch_model"),
        name=name,
        layout="diffusers",
        declared=declared,
    )


def _check_pipeline(index: Path) -> None:
    made = " ".join(read_fields(index).words("_class_name"))
    if made == "Flux2Pipeline":
        return
    for beginning, what in OTHER_PIPELINES.items():
        if made.startswith(beginning):
            raise CheckpointInvalid(f"{index.parent} is {what} ({made}); linocut draws FLUX.2")
    raise CheckpointInvalid(
        f"{index} names the pipeline {made or '(none)'}; linocut draws FLUX.2, a Flux2Pipeline"
    )


def _open_single_files(folder: Path, name: str, declared: configs.Declared) -> Checkpoint:
    found: dict[str, Part] = {}
    foreign = ""
    for file in sorted(path for path in folder.glob("*.safetensors") if path.is_file()):
        part = one_file(file)
        kind = _first(_SINGLE_FILES, part)
        if kind in found:
            raise CheckpointInvalid(
                f"{folder} holds two files with the {kind}: {found[kind].where.name}, {file.name}",
                hint="leave one of them in the folder",
            )
        if kind:
            found[kind] = part
        elif what := _first(_FOREIGN_FILES, part):
            foreign = f"{file.name} is {what}"
    if len(found) < len(_SINGLE_FILES):
        raise _no_checkpoint(folder, found, foreign)
    network, pictures = found["transformer"], found["autoencoder"]
    with about(network.where):
        transformer = configs.inferred_transformer(network.tensors)
    with about(pictures.where):
        autoencoder = configs.inferred_autoencoder(pictures.tensors)
    return _described(
        folder,
        ModelConfig(transformer=transformer, autoencoder=autoencoder),
        network,
        pictures,
        name=name,
        layout="bfl",
        declared=declared,
    )


def _first(table: Mapping[str, str], part: Part) -> str:
    return next((what for name, what in table.items() if name in part.tensors), "")


def _no_checkpoint(folder: Path, found: Mapping[str, Part], foreign: str) -> CheckpointInvalid:
    if (folder / "config.json").is_file():
        return CheckpointInvalid(
            f"{folder} is one part of a checkpoint", hint=f"try {folder.resolve().parent}"
        )
    if found:
        (kind,) = found
        other = "ae.safetensors" if kind == "transformer" else "flux2-dev.safetensors"
        return CheckpointInvalid(f"{folder} has the {kind} but lacks {other}", hint=foreign)
    if foreign:
        return CheckpointInvalid(f"{folder} is no FLUX.2 checkpoint: {foreign}")
    hint = "linocut ls lists the checkpoints that are known by name"
    if held := pickles(folder):
        hint = f"it holds {held[0].relative_to(folder)}: {WHY_NO_PICKLE}"
    return CheckpointInvalid(
        f"{folder} is no checkpoint: it has neither model_index.json, {', '.join(DIFFUSERS_FILES)} "
        "(a diffusers folder) nor flux2-dev.safetensors and ae.safetensors (single files)",
        hint=hint,
    )


def _described(
    folder: Path,
    config: ModelConfig,
    transformer: Part,
    autoencoder: Part,
    *,
    name: str,
    layout: Layout,
    declared: configs.Declared,
) -> Checkpoint:
    reads, makes = config.transformer.in_channels, config.autoencoder.token_channels
    if reads != makes:
        raise CheckpointInvalid(
            f"{folder}: the autoencoder makes tokens of {makes} channels, "
            f"the transformer reads {reads}"
        )
    context = config.transformer.context_channels
    encoder = find_encoder(folder / "text_encoder", declared, context)
    config = replace(config, text_encoder=encoder.shape if encoder else NO_TEXT_ENCODER)
    if encoder:
        config = replace(config, conditioning=encoder.conditioning)
    config = replace(
        config,
        native_max_tokens=declared.native_max_tokens,
        native_short_side=declared.native_short_side,
    )
    return Checkpoint(
        name=name,
        folder=folder,
        layout=layout,
        config=config,
        demo=declared.demo,
        transformer=transformer,
        autoencoder=autoencoder,
        text_encoder=encoder.part if encoder else None,
        text_config=encoder.fields if encoder else {},
        tokenizer=folder / "tokenizer",
        repertoire=read_repertoire(folder),
    )
