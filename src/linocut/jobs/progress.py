"""What a worker says on its way, as lines of a record's story. The wire's streams show them."""

from __future__ import annotations

import base64
from typing import Any

from linocut.events import Decoding, Encoding, Started, Step
from linocut.workers.protocol import Message, PreviewFile


def told(message: Message) -> tuple[str, dict[str, Any]]:
    """(kind, data) of the line; TypeError for an ending, which is no progress."""
    match message:
        case Step(i=i, n=n, seconds=seconds, left=left):
            return "progress", {
                "stage": "drawing",
                "step": i,
                "steps": n,
                "seconds": round(seconds, 4),
                "left": round(left, 2),
            }
        case Started():
            return "started", {
                "checkpoint": message.checkpoint,
                "mode": message.mode,
                "drawn_width": message.drawn_width,
                "drawn_height": message.drawn_height,
                "steps": message.steps,
                "warnings": list(message.warnings),
            }
        case PreviewFile(i=i, data=data, width=width, height=height):
            uri = f"data:image/webp;base64,{base64.b64encode(data).decode()}"
            return "preview", {"step": i, "width": width, "height": height, "image": uri}
        case Encoding():
            return "progress", {"stage": "reading"}
        case Decoding():
            return "progress", {"stage": "decoding"}
    raise TypeError(f"{type(message).__name__} is no progress")
