"""The text encoder of a checkpoint as the whole language model that it is. Torch-free.

Drawing reads its first layers. To answer a question takes all of them, the norm behind the last
and the word head: files that `linocut pull` leaves out unless it is asked for them.
"""

from __future__ import annotations

from typing import Final

from linocut.catalog import TextEncoderConfig
from linocut.errors import CheckpointInvalid
from linocut.weights.files import Checkpoint
from linocut.weights.names import language_names
from linocut.weights.parts import Part, folder_part

DEV_LAYERS: Final = TextEncoderConfig().num_layers
PULL_OPTION: Final = "--with-safety-model"


def pull_command(name: str, *, with_safety_model: bool) -> str:
    """The command that pulls a checkpoint, with or without what only answering reads."""
    return f"linocut pull {name}" + (f" {PULL_OPTION}" if with_safety_model else "")


HINT: Final = (
    f"{pull_command('flux-2-dev', with_safety_model=True)} fetches all of it; or use the other "
    "prompt check, which needs no model: safety_model=terms"
)


def find_language_model(checkpoint: Checkpoint, *, least_layers: int = DEV_LAYERS) -> Part:
    """Every tensor of it, as far as headers tell; CheckpointInvalid if it cannot answer."""
    layers = checkpoint.config.text_encoder.num_layers
    if layers < least_layers:
        raise CheckpointInvalid(
            f"the text encoder of {checkpoint.name} has {layers} layers and cannot answer "
            f"questions; safety_model=text_encoder needs the {least_layers} of FLUX.2 [dev]",
            hint="use the other prompt check, which needs no model: safety_model=terms",
        )
    try:
        part = folder_part(checkpoint.folder / "text_encoder", "model", language_names)
    except CheckpointInvalid as error:
        raise CheckpointInvalid(
            f"{error.message}; safety_model=text_encoder reads the whole text encoder", hint=HINT
        ) from error
    return part
