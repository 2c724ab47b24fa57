"""Frames: what goes in comes out, and nothing else ever does."""

from __future__ import annotations

import asyncio
import io
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut import errors
from linocut.catalog import DEV, MINI
from linocut.errors import ContentRefused, InvalidRequest, LinocutError, RateLimited, WorkerFailed
from linocut.events import Decoding, Encoding, Started, Step
from linocut.repertoire import Repertoire, Thing
from linocut.request import ImageRequest, Picture
from linocut.workers import frames
from linocut.workers.frames import (
    MAX_HEAD,
    Cancel,
    Frame,
    FrameError,
    read_frame,
    receive_frame,
    write_frame,
)
from linocut.workers.protocol import (
    Finished,
    Job,
    PreviewFile,
    Rate,
    Ready,
    Refused,
    Stopped,
    WorkerLost,
)

TREE = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, LinocutError)
]
numbers = st.floats(0, 1e9)
counts = st.integers(0, 10**6)
texts = st.text(max_size=40)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
sides = st.sampled_from([64, 512, 1024])
pictures = st.builds(lambda side: Picture(side, side, bytes(3 * side * side)), st.just(64))
requests = st.builds(
    ImageRequest,
    prompt=st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    width=sides,
    height=sides,
    num_inference_steps=st.integers(1, 50),
    guidance=st.floats(0, 10),
    seed=st.integers(0, 2**53 - 1),
    references=st.lists(pictures, max_size=2).map(tuple),
    prompt_strength=st.floats(0, 1),
    preview=st.booleans(),
)
lists_of_texts = st.lists(texts, max_size=2).map(tuple)
repertoires = st.builds(
    Repertoire,
    things=st.lists(st.builds(Thing, texts, texts, lists_of_texts), max_size=2).map(tuple),
    styles=lists_of_texts,
    backgrounds=lists_of_texts,
)
rates = st.builds(Rate, flops_per_second=numbers, per_step=numbers)
every_frame = st.one_of(
    st.builds(
        Job,
        id=texts,
        request=requests,
        reference_files=st.lists(st.binary(max_size=99), max_size=3).map(tuple),
        go_fast=st.booleans(),
        output_quality=st.integers(0, 100),
    ),
    st.builds(Cancel, texts),
    st.builds(
        Ready,
        checkpoint=texts,
        demo=st.booleans(),
        device=texts,
        modes=st.lists(texts, max_size=3).map(tuple),
        fast=st.none() | texts,
        config=st.sampled_from([MINI, DEV]),
        rates=st.dictionaries(texts, rates, max_size=2),
        repertoire=st.none() | repertoires,
    ),
    st.builds(Started, texts, texts, counts, counts, counts, st.lists(texts).map(tuple)),
    st.just(Encoding()),
    st.just(Decoding()),
    st.builds(Step, counts, counts, numbers, numbers),
    st.builds(PreviewFile, i=counts, data=st.binary(), width=counts, height=counts),
    st.builds(
        Finished,
        file=st.binary(),
        content_type=texts,
        width=counts,
        height=counts,
        metadata=st.dictionaries(texts, plain, max_size=4),
        seconds=numbers,
        rate=st.none() | rates,
    ),
    st.builds(Stopped, i=counts, seconds=numbers),
)


def again(frame: Frame) -> Frame | None:
    """The frame after its way through a pipe."""
    return read_frame(io.BytesIO(write_frame(frame)))


def raw(head: Any, *blobs: bytes) -> bytes:
    """A frame with that head, right or wrong."""
    data = json.dumps(head).encode()
    return struct.pack(">I", len(data)) + data + b"".join(blobs)


@given(every_frame)
def test_a_frame_comes_out_as_it_went_in(frame: Frame) -> None:
    assert again(frame) == frame


@given(st.lists(every_frame, max_size=3), st.integers(1, 999))
def test_a_stream_gives_the_frames_however_it_is_cut(sent: list[Frame], size: int) -> None:
    async def received() -> list[Frame | None]:
        stream = asyncio.StreamReader()
        data = b"".join(map(write_frame, sent))
        for start in range(0, len(data), size):
            stream.feed_data(data[start : start + size])
        stream.feed_eof()
        return [await receive_frame(stream) for _ in range(len(sent) + 1)]

    assert asyncio.run(received()) == [*sent, None]


@given(every_frame, st.data())
def test_a_frame_that_is_cut_off_is_the_end(frame: Frame, data: st.DataObject) -> None:
    whole = write_frame(frame)
    assert read_frame(io.BytesIO(whole[: data.draw(st.integers(0, len(whole) - 1))])) is None


@given(every_frame, st.data())
def test_damage_gives_a_frame_the_end_or_a_frame_error(frame: Frame, data: st.DataObject) -> None:
    whole = bytearray(write_frame(frame))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_frame(io.BytesIO(whole))
    except FrameError:
        return
    assert found is None or type(found).__name__ in frames._KINDS


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_every_error_of_the_tree_comes_out_as_itself(kind: type[LinocutError]) -> None:
    more: dict[str, Any] = {}
    if issubclass(kind, ContentRefused):
        more = {"stage": "input", "category": "sexual"}
    if issubclass(kind, errors.Later):
        more = {"retry_after": 2.5}
    out = again(Refused(error=kind("what happened", hint="what to do", **more), seconds=1.5))
    assert isinstance(out, Refused)
    assert type(out.error) is kind
    assert vars(out.error) == vars(kind("what happened", hint="what to do", **more))


def test_what_an_error_says_beside_its_message_comes_out() -> None:
    wrong = InvalidRequest("width=3", field="width", hint="use 64")
    later = RateLimited("too many", retry_after=7.5)
    form = InvalidRequest("2 fields", fields=[("#/a", "no"), ("#/b", "neither")])
    for error in (wrong, later, form):
        out = again(Refused(error=error, seconds=0.0))
        assert isinstance(out, Refused)
        assert vars(out.error) == vars(error)


def test_an_error_of_an_unknown_code_is_a_failed_worker() -> None:
    said = {"code": "of_tomorrow", "message": "a", "hint": "b", "shade": 3}
    data = raw({"kind": "Refused", "blobs": [], "value": {"error": said, "seconds": 1.0}})
    out = read_frame(io.BytesIO(data))
    assert isinstance(out, Refused)
    assert type(out.error) is WorkerFailed
    assert (out.error.message, out.error.hint) == ("a", "b")


def test_an_error_kept_elsewhere_than_in_the_tree_comes_out_as_its_parent() -> None:
    out = again(Refused(error=WorkerLost("gone"), seconds=0.0))
    assert isinstance(out, Refused)
    assert type(out.error) is WorkerFailed


GOOD = {"kind": "Stopped", "blobs": [], "value": {"i": 1, "seconds": 0.5}}


@pytest.mark.parametrize(
    "head",
    [
        [],
        GOOD | {"kind": "Dropped"},
        GOOD | {"kind": 3},
        GOOD | {"blobs": 3},
        GOOD | {"blobs": [-1]},
        GOOD | {"blobs": [True]},
        GOOD | {"blobs": [10**12]},
        GOOD | {"blobs": [60 * 1024**2] * 30},
        GOOD | {"value": {"i": 1}},
        GOOD | {"value": {"i": 1, "seconds": 0.5, "more": 1}},
        GOOD | {"value": {"i": "1", "seconds": 0.5}},
        GOOD | {"value": {"i": True, "seconds": 0.5}},
        GOOD | {"more": 1},
        {"kind": "PreviewFile", "blobs": [], "value": {"i": 1, "data": 0, "width": 1, "height": 1}},
        {"kind": "Refused", "blobs": [], "value": {"error": {"code": "x"}, "seconds": 1}},
        {
            "kind": "Refused",
            "blobs": [],
            "value": {"error": {"code": "later", "message": "", "hint": ""}, "seconds": 1},
        },
        {
            "kind": "Refused",
            "blobs": [],
            "value": {
                "error": {
                    "code": "invalid_request",
                    "message": "",
                    "hint": "",
                    "fields": [1],
                },
                "seconds": 1,
            },
        },
        {
            "kind": "Refused",
            "blobs": [],
            "value": {
                "error": {
                    "code": "invalid_request",
                    "message": "",
                    "hint": "",
                    "shade": 1,
                },
                "seconds": 1,
            },
        },
    ],
)
def test_a_head_that_is_wrong_is_a_frame_error(head: Any) -> None:
    assert read_frame(io.BytesIO(raw(GOOD))) == Stopped(i=1, seconds=0.5)
    with pytest.raises(FrameError):
        read_frame(io.BytesIO(raw(head)))


def test_a_request_that_could_not_be_born_is_a_frame_error() -> None:
    good = write_frame(Job(id="a", request=ImageRequest(prompt="x", num_inference_steps=28)))
    with pytest.raises(FrameError, match="num_inference_steps"):
        read_frame(io.BytesIO(good.replace(b'steps": 28', b'steps": 99')))


def test_a_head_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(FrameError, match="at most"):
        read_frame(io.BytesIO(struct.pack(">I", MAX_HEAD + 1)))
    with pytest.raises(FrameError, match="at most"):
        write_frame(Cancel("x" * MAX_HEAD))
