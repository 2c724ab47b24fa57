"""What goes into a worker and comes out of it as files."""

from __future__ import annotations

import io
import time
from types import SimpleNamespace

import pytest
from PIL import Image

from linocut.errors import InvalidPicture
from linocut.events import Done, Preview, Started
from linocut.images.metadata import AI_MARK, read_metadata
from linocut.request import Picture
from linocut.workers.files import finished, preview_file, with_references

RED = Picture(64, 64, b"\xff\0\0" * 64 * 64)
STARTED = Started("fake", "bf16", 32, 32, 4)
DONE = Done(RED, 5, 32, 32, "bf16", "fake", True, ("a warning",), {"encoding": 0.5}, 2)


def png(colour: str) -> bytes:
    """A small file."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(file, "PNG")
    return file.getvalue()


def test_reference_files_become_the_requests_pictures(workers: SimpleNamespace) -> None:
    request = with_references(workers.job(reference_files=(png("blue"), png("red"))))
    assert [picture.rgb[:3] for picture in request.references] == [b"\0\0\xff", b"\xff\0\0"]
    assert request.prompt == "a red apple"


def test_a_reference_that_is_no_picture_is_named(workers: SimpleNamespace) -> None:
    with pytest.raises(InvalidPicture, match="reference 2"):
        with_references(workers.job(reference_files=(png("blue"), b"GIF89a")))


def test_a_preview_is_a_webp_that_says_that_an_ai_drew_it(workers: SimpleNamespace) -> None:
    job = workers.job(embed_prompt=False)
    file = preview_file(job, job.request, STARTED, Preview(3, RED))
    assert (file.i, file.width, file.height) == (3, 64, 64)
    assert AI_MARK.encode() in file.data
    assert b"apple" not in file.data
    with Image.open(io.BytesIO(file.data)) as image:
        assert (image.format, image.size) == ("WEBP", (64, 64))


@pytest.mark.parametrize(
    ("format", "content_type", "kind"),
    [("webp", "image/webp", "WEBP"), ("jpg", "image/jpeg", "JPEG"), ("png", "image/png", "PNG")],
)
def test_the_picture_comes_in_the_format_that_was_asked_for(
    workers: SimpleNamespace, format: str, content_type: str, kind: str
) -> None:
    job = workers.job(output_format=format)
    out = finished(job, job.request, DONE, began=time.perf_counter(), safety={"checked": True})
    assert out.content_type == content_type
    with Image.open(io.BytesIO(out.file)) as image:
        assert image.format == kind
    written = read_metadata(out.file)
    assert written is not None
    assert (written.prompt, written.seed, written.mode) == ("a red apple", 5, "bf16")


def test_what_is_known_comes_beside_the_picture(workers: SimpleNamespace) -> None:
    job = workers.job()
    out = finished(job, job.request, DONE, began=time.perf_counter(), safety={"checked": False})
    timings = out.metadata["timings"]
    assert set(timings) == {"encoding", "saving"}
    assert dict(out.metadata) == {
        "seed": 5, "width": 64, "height": 64, "drawn_width": 32, "drawn_height": 32,
        "mode": "bf16", "checkpoint": "fake", "demo": True, "threads": 2,
        "safety": {"checked": False},
        "warnings": ["a warning"], "timings": timings,
    }  # fmt: skip
    assert out.seconds >= timings["saving"]
