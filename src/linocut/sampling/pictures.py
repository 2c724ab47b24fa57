"""Pictures to tensors and back, and how a reference is prepared.

Resizing is Pillow's LANCZOS throughout, as in the published pipelines.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from linocut.errors import InvalidPicture
from linocut.request import Picture
from linocut.sizes import covering_size, reference_size


def to_tensor(image: Image.Image) -> Tensor:
    """RGB in [-1, 1]. fp32 [1, 3, H, W]"""
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    shaped = pixels.view(image.height, image.width, 3).permute(2, 0, 1)
    return (shaped.float() / 255 * 2 - 1)[None]


def to_picture(pixels_BCHW: Tensor) -> Picture:
    """The first picture of a batch in [-1, 1], rounded to the nearest of 256 levels."""
    levels = ((pixels_BCHW[0].float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    rows = levels.permute(1, 2, 0).contiguous().cpu()
    return Picture(rows.shape[1], rows.shape[0], rows.numpy().tobytes())


def to_image(picture: Picture) -> Image.Image:
    """The same pixels as Pillow holds them."""
    return Image.frombytes("RGB", (picture.width, picture.height), picture.rgb)


def cover(picture: Picture, width: int, height: int) -> Picture:
    """The picture scaled to cover width x height and cropped around its middle."""
    if (picture.width, picture.height) == (width, height):
        return picture
    size = covering_size((picture.width, picture.height), width, height)
    image = to_image(picture).resize(size, Image.Resampling.LANCZOS)
    cropped = _centre_crop(image, width, height)
    return Picture(width, height, cropped.tobytes())


def reference(
    picture: Picture, *, count: int, multiple: int, most_pixels: int, short_side: int | None = None
) -> Tensor:
    """A reference as the autoencoder takes it: shrunk if too large, cropped to whole tokens.

    count: how many references the request has; the published limit is 2024² pixels for one and
    1024² for each of several. most_pixels, short_side: what the checkpoint itself draws at most, if
    less, and along the shorter side. multiple: pixels per token. RGB in [-1, 1], [1, 3, H, W].
    """
    image = to_image(picture)
    size = reference_size(image.size, count=count, most_pixels=most_pixels, short_side=short_side)
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    width, height = image.width // multiple * multiple, image.height // multiple * multiple
    if not width or not height:
        raise InvalidPicture(
            f"a reference of {picture.width} x {picture.height} has no whole token of "
            f"{multiple} x {multiple} px left after shrinking to {size[0]} x {size[1]}",
            field="references",
            hint="crop it to a less extreme shape",
        )
    return to_tensor(_centre_crop(image, width, height))


def _centre_crop(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
