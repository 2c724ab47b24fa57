"""What goes into a worker and comes out of it as files: references, previews, the picture."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

from linocut.events import Done, Preview, Started
from linocut.images.decode import decode
from linocut.images.drawn import described
from linocut.images.encode import Format, encode
from linocut.request import ImageRequest
from linocut.workers.protocol import Finished, Job, PreviewFile

PREVIEW_QUALITY: Final = 60
CONTENT_TYPES: Final[Mapping[Format, str]] = {
    "webp": "image/webp",
    "jpg": "image/jpeg",
    "png": "image/png",
}


def with_references(job: Job) -> ImageRequest:
    """The job's request with its reference pictures decoded. InvalidPicture."""
    pictures = tuple(
        decode(data, name=f"reference {number}")
        for number, data in enumerate(job.reference_files, 1)
    )
    return replace(job.request, references=pictures)


def preview_file(
    job: Job, request: ImageRequest, started: Started, preview: Preview
) -> PreviewFile:
    """A preview as a small WebP file; like every picture from here it says that an AI drew it."""
    unfinished = Done(
        picture=preview.picture,
        seed=request.seed,
        drawn_width=started.drawn_width,
        drawn_height=started.drawn_height,
        mode=started.mode,
        checkpoint=started.checkpoint,
        demo=False,
    )
    data = encode(
        preview.picture,
        quality=PREVIEW_QUALITY,
        metadata=described(request, unfinished),
        embed_prompt=job.embed_prompt,
    )
    width, height = preview.picture.width, preview.picture.height
    return PreviewFile(i=preview.i, data=data, width=width, height=height)


def finished(
    job: Job, request: ImageRequest, done: Done, *, began: float, safety: Mapping[str, Any]
) -> Finished:
    """The picture in the job's format, with everything known about it inside and beside it.

    began: the run's start, by `time.perf_counter`.   safety: what the checks say.
    """
    saving = time.perf_counter()
    format = cast(Format, job.output_format)
    data = encode(
        done.picture,
        format=format,
        quality=job.output_quality,
        metadata=described(request, done),
        embed_prompt=job.embed_prompt,
    )
    ended = time.perf_counter()
    width, height = done.picture.width, done.picture.height
    metadata = {
        "seed": done.seed,
        "width": width,
        "height": height,
        "drawn_width": done.drawn_width,
        "drawn_height": done.drawn_height,
        "mode": done.mode,
        "checkpoint": done.checkpoint,
        "demo": done.demo,
        "threads": done.threads,
        "safety": dict(safety),
        "warnings": list(done.warnings),
        "timings": done.timings | {"saving": ended - saving},
    }
    return Finished(
        file=data,
        content_type=CONTENT_TYPES[format],
        width=width,
        height=height,
        metadata=metadata,
        seconds=ended - began,
    )
