"""`linocut info`: how a picture came to be, or what a checkpoint is and needs."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path
from typing import Annotated, Any, Final, TypeGuard

import typer

from linocut.catalog import CHECKPOINTS, TextEncoderConfig
from linocut.cli import say
from linocut.cli.flags import TextLayers, layers_of
from linocut.cli.settings import home
from linocut.cost import language_model_parameters, request_cost
from linocut.errors import CheckpointInvalid, InvalidPicture
from linocut.images.decode import decode, read_file
from linocut.images.metadata import Metadata, read_metadata
from linocut.request import ImageRequest
from linocut.weights.files import Checkpoint, open_checkpoint, text_encoder_of
from linocut.weights.language_model import DEV_LAYERS

_TAUGHT: Final = (
    "{things:,} things in {styles} styles on {backgrounds} backgrounds; --things lists them"
)
WEIGHT_BYTES: Final = {"bfloat16": 2.0, "float32": 4.0}


def info(
    what: Annotated[str, typer.Argument(metavar="FILE|NAME|DIR", help="A picture's file, or a "
                                        "checkpoint's name or folder.")],
    text_layers: TextLayers = None,
    things: Annotated[bool, typer.Option("--things", help="List what a demo checkpoint was "  # noqa: FBT002
                                         "taught to draw.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,  # noqa: FBT002
) -> None:  # fmt: skip
    """Say how a picture was made, or what a checkpoint is and how much memory it takes."""
    path = Path(what)
    if what in CHECKPOINTS or _is_folder(path):
        layers, where = layers_of(text_layers), home(os.environ)
        checkpoint = open_checkpoint(what, home=where, text_layers=layers)
        values = _things(checkpoint) if things else checkpoint_values(checkpoint)
        if json:
            say.values(values)
        else:
            say.rows(_things_rows(values) if things else _checkpoint_rows(values))
        return
    if things:
        raise typer.BadParameter(
            f"{say.printable(what)} is neither a checkpoint's name nor a folder, and only a "
            "checkpoint was taught things; linocut ls lists names",
            param_hint="'--things'",
        )
    data = read_file(path)
    picture, metadata = decode(data, name=str(path)), read_metadata(data)
    if json:
        found = metadata.to_json() if metadata else None
        say.values({"file": path, "width": picture.width, "height": picture.height,
                    "metadata": found})  # fmt: skip
        return
    say.rows(_picture_rows(path, (picture.width, picture.height), metadata))


def _is_folder(path: Path) -> bool:
    """Whether it is one, and not a file; InvalidPicture if it is neither."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidPicture(
            f"there is no file, folder or checkpoint {path}", hint="linocut ls lists checkpoints"
        ) from error
    except OSError as error:  # too long, forbidden
        raise InvalidPicture(
            f"{path} cannot be looked at: {error.strerror}", hint="check the path"
        ) from error


def _picture_rows(path: Path, size: tuple[int, int], metadata: Metadata | None) -> dict[str, Any]:
    rows: dict[str, Any] = {"file": path, "size": f"{size[0]} x {size[1]}"}
    if metadata is None:
        return rows | {"linocut": "no metadata: linocut did not write this file, or it was altered"}
    values = metadata.to_json()
    values |= {"ai_generated": "yes", "demo": "yes" if metadata.demo else "no"}
    if metadata.prompt is None:
        values["prompt"] = "(left out of the file)"
    return rows | values | {"again": _command(metadata)}


def _command(metadata: Metadata) -> str | None:
    """What draws it again, where nothing but the file is needed for that."""
    known = metadata.checkpoint in CHECKPOINTS
    if not known or not _can_be_typed(metadata.prompt) or metadata.references:
        return None
    return shlex.join(
        [
            "linocut", "generate", "--checkpoint", metadata.checkpoint, "--mode", metadata.mode,
            "--seed", str(metadata.seed), "--width", str(metadata.width),
            "--height", str(metadata.height),
            "--num-inference-steps", str(metadata.num_inference_steps),
            "--guidance", repr(metadata.guidance), "--", metadata.prompt,
        ]
    )  # fmt: skip


def _can_be_typed(prompt: str | None) -> TypeGuard[str]:
    """Whether `generate` takes the prompt for itself as a line of a terminal can show it."""
    if prompt is None or prompt == "-":  # which is where to read one from
        return False
    return bool(prompt.strip()) and say.printable(prompt) == prompt


def _things(checkpoint: Checkpoint) -> dict[str, Any]:
    """What it was taught, by group; CheckpointInvalid where no list says so."""
    if checkpoint.repertoire is None:
        raise CheckpointInvalid(
            f"{checkpoint.name} has no list of what it was taught",
            hint="it has no repertoire.json; ask for anything",
        )
    taught = checkpoint.repertoire
    return {
        "things": taught.by_group,
        "styles": taught.styles,
        "backgrounds": taught.backgrounds,
    }


def _things_rows(values: dict[str, Any]) -> dict[str, str]:
    drawn = {"(styles)": values["styles"], "(backgrounds)": values["backgrounds"]}
    return {name: ", ".join(names) for name, names in (values["things"] | drawn).items()}


def checkpoint_values(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint's configuration, sizes, and the memory that a 1024 x 1024 picture takes."""
    config = checkpoint.config
    request = ImageRequest(prompt="")
    counted = request_cost(request, config, bytes_per_weight=1.0).memory
    parts = (checkpoint.transformer, checkpoint.autoencoder, checkpoint.text_encoder)
    files = {file for part in parts if part for file in part.files}
    known, taught = CHECKPOINTS.get(checkpoint.name), checkpoint.repertoire
    reads = config.conditioning if checkpoint.text_encoder else None
    return {
        "name": checkpoint.name,
        "folder": checkpoint.folder,
        "layout": checkpoint.layout,
        "problem": _problem(checkpoint),
        "demo": checkpoint.demo,
        "licence": known.licence if known else None,
        "taught": taught
        and {
            "things": len(taught.things),
            "styles": len(taught.styles),
            "backgrounds": len(taught.backgrounds),
        },
        "bytes": sum(file.stat().st_size for file in files),
        # At one byte a weight, bytes are parameters; the autoencoder always takes four.
        "parameters": {
            "transformer": counted.transformer,
            "text_encoder": counted.text_encoder,
            "autoencoder": counted.autoencoder // 4,
        },
        "configuration": {
            "hidden_size": config.transformer.hidden_size,
            "num_heads": config.transformer.num_heads,
            "num_double_blocks": config.transformer.num_double_blocks,
            "num_single_blocks": config.transformer.num_single_blocks,
            "in_channels": config.transformer.in_channels,
            "context_channels": config.transformer.context_channels,
            "text_layers": reads and reads.layers,
            "max_text_tokens": reads and reads.max_tokens,
            "pixels_per_token": config.autoencoder.pixels_per_token,
            "native_max_tokens": config.most_tokens,
            "native_short_side": config.native_short_side,
        },
        "memory": {
            dtype: request_cost(request, config, bytes_per_weight=size).memory.total
            for dtype, size in WEIGHT_BYTES.items()
        },
        "safety_model_memory": _asked(config.text_encoder, counted.text_encoder),
    }


def _problem(checkpoint: Checkpoint) -> str | None:
    """Why it cannot draw as it is, and what to do; None if it can."""
    try:
        text_encoder_of(checkpoint)
    except CheckpointInvalid as error:
        return f"{error.message}; {error.hint}"
    return None


def _asked(encoder: TextEncoderConfig, drawing: int) -> dict[str, int] | None:
    """What asking takes besides `drawing` weights; None for an encoder that cannot answer."""
    if encoder.num_layers < DEV_LAYERS:
        return None
    more = language_model_parameters(encoder) - drawing
    return {dtype: int(size * more) for dtype, size in WEIGHT_BYTES.items()}


def _checkpoint_rows(values: dict[str, Any]) -> dict[str, Any]:
    configuration, parameters = values["configuration"], values["parameters"]
    cells, more = configuration["native_max_tokens"], values["safety_model_memory"]
    side, short = configuration["pixels_per_token"], configuration["native_short_side"]
    layers = ", ".join(map(str, configuration["text_layers"] or ()))
    return {
        "name": values["name"] + (" (a demo)" if values["demo"] else ""),
        "folder": values["folder"],
        "layout": values["layout"],
        "problem": values["problem"],
        "licence": values["licence"],
        "taught": values["taught"] and _TAUGHT.format_map(values["taught"]),
        "on disk": say.gigabytes(values["bytes"]),
        **{
            name.replace("_", " "): f"{count:,} parameters"
            for name, count in parameters.items()
            if count
        },
        "blocks": f"{configuration['num_double_blocks']} double, "
        f"{configuration['num_single_blocks']} single, {configuration['hidden_size']} wide, "
        f"{configuration['num_heads']} heads",
        "text": layers and f"{configuration['max_text_tokens']} tokens, hidden states {layers}",
        "draws": f"up to {cells:,} tokens of {side} x {side} pixels, "
        f"{cells * side * side / 1e6:.2g} megapixels"
        + (f", the shorter side up to {short} tokens" if short else "")
        + "; larger pictures are resized",
        "memory": f"{_sizes(values['memory'])} for a picture of 1024 x 1024",
        "safety model": more and f"text_encoder takes {_sizes(more)} more",
    }


def _sizes(by_dtype: dict[str, int]) -> str:
    return ", ".join(f"{say.gigabytes(size)} in {dtype}" for dtype, size in by_dtype.items())
