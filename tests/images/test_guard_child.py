"""The process that decodes: what it loads, what it may use, and its protocol."""

from __future__ import annotations

import signal
import subprocess
import sys
from textwrap import dedent

import pytest

from linocut.images import guard_child
from linocut.images.decode import decode
from linocut.images.encode import encode
from linocut.images.guard_child import normalise
from linocut.images.metadata import Metadata
from linocut.request import Picture

CHILD = (sys.executable, "-I", "-m", "linocut.images.guard_child", str(512 << 20), "60")


def message(body: bytes) -> bytes:
    return len(body).to_bytes(8, "big") + body


def answers(output: bytes) -> list[tuple[bytes, bytes]]:
    """The child's output, taken apart."""
    found = []
    while output:
        length = int.from_bytes(output[1:9], "big")
        found.append((output[:1], output[9 : 9 + length]))
        output = output[9 + length :]
    return found


def python(code: str) -> subprocess.CompletedProcess[str]:
    """A fresh process that has imported the child's module."""
    code = f"from linocut.images import guard_child\n{code}"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)


def test_our_file_holds_the_same_pixels(picture: Picture, metadata: Metadata) -> None:
    ours = normalise(encode(picture, format="png", metadata=metadata), "a picture")
    assert decode(ours) == picture
    assert b"apple" not in ours


def test_every_question_gets_its_answer(picture: Picture, metadata: Metadata) -> None:
    files = [encode(picture, format=f, metadata=metadata) for f in ("png", "webp", "jpg")]
    questions = [(b"one", files[0]), (b"two", b"rubbish"), (b"three", files[1]), (b"4", files[2])]
    sent = b"".join(message(name) + message(data) for name, data in questions)
    done = subprocess.run(CHILD, input=sent, capture_output=True, check=True, timeout=250, env={})
    ready, *rest = answers(done.stdout)
    assert ready == (b"r", b"")
    assert [kind for kind, _ in rest] == [b"p", b"x", b"p", b"p"]
    assert rest[0][1] == normalise(files[0], "")
    assert rest[1][1].startswith(b'["two is no picture')
    assert done.stderr == b""


def test_it_loads_little() -> None:
    done = python("import sys; print(*sys.modules)")
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert {"PIL", "linocut"} <= loaded
    assert not loaded & {"numpy", "torch", "onnxruntime", "httpx2", "asyncio", "ssl", "socket"}
    ours = {name for name in done.stdout.split() if name.startswith("linocut.")}
    assert ours == {
        "linocut.errors", "linocut.images", "linocut.images.containers", "linocut.images.decode",
        "linocut.images.guard_child", "linocut.request",
    }  # fmt: skip


@pytest.mark.parametrize(
    "attempt",
    ["open('/dev/null')", "open('/dev/null', 'w')", "socket.socket()", "os.pipe()",
     "bytearray(300 << 20)"],
)  # fmt: skip
def test_once_confined_it_can_reach_nothing(attempt: str) -> None:
    code = f"""
    try:
        {attempt}
    except (OSError, MemoryError):
        print("refused")
    """
    before = "import os, socket\n"
    assert python(before + dedent(code)).stdout == ""
    assert python(f"{before}guard_child._confine(256 << 20)\n{dedent(code)}").stdout == "refused\n"


def test_too_much_processor_time_ends_it() -> None:
    done = python("guard_child._allow(0.2)\nwhile True:\n    pass")
    assert done.returncode == -signal.SIGPROF


def test_every_picture_has_its_own_time() -> None:
    """Each takes less than is allowed, all together more: none is ended for what came before it."""
    spend = (
        "import time\n"
        "for _ in range(4):\n"
        "    guard_child._allow(1)\n"
        "    until = time.process_time() + 0.4\n"
        "    while time.process_time() < until:\n"
        "        pass\n"
        "print('done')"
    )
    assert python(spend).stdout == "done\n"


def test_a_parent_that_is_gone_already_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = iter([4711, 1])
    monkeypatch.setattr(guard_child.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(guard_child.sys, "platform", "none")
    guard_child.main(1, 1)  # it returns before it reads, and before it confines this process
