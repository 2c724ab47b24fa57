"""docs/api.md: what it prints for developers runs as it stands."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from standardwebhooks import Webhook

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
BODY = json.dumps({"type": "record.completed", "data": {"aiRecord": {"uuid": "ü"}}}).encode()
PYTHON = """
import json
name, sent, signature, body = json.loads(os.environ["DELIVERY"])
headers = {"webhook-id": name, "webhook-timestamp": sent, "webhook-signature": signature}
print(is_ours(headers, base64.b64decode(body)))
"""
NODE = """
const [name, sent, signature, body] = JSON.parse(process.env.DELIVERY);
const headers = {"webhook-id": name, "webhook-timestamp": sent, "webhook-signature": signature};
console.log(isOurs(headers, Buffer.from(body, "base64")));
"""


def blocks(language: str, word: str) -> list[str]:
    """The page's pieces of code in a language that hold a word."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [code for code in found if word in code]


def run(*command: str, folder: Path | None = None, **environment: str) -> str:
    """What a program prints; it must end well."""
    program = shutil.which(command[0])
    assert program is not None, f"{command[0]} is missing: install it (nodejs, curl, bash)"
    done = subprocess.run(
        [program, *command[1:]], check=False, capture_output=True, text=True, timeout=120,
        cwd=folder, env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def said(shared_server: Any) -> dict[str, str]:
    """The two variables that the page's examples begin with."""
    return {"LINOCUT": shared_server.url, "KEY": shared_server.key}


def test_every_command_of_the_page_is_answered(said, shared_server, tmp_path) -> None:
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "cat.png")
    drawn = shared_server.client.post(
        "/api/features",
        json={"type": "IMAGE_GENERATOR", "model": "flux-2-dev", "promptObject": {"prompt": "x"}},
    ).json()["aiRecord"]["uuid"]
    commands = [code for code in blocks("sh", "curl") if not code.startswith("export")]
    assert len(commands) == 6
    for code in commands:
        text = code.replace("UUID", drawn).replace("curl ", "curl --fail-with-body -s ")
        assert run("bash", "-e", "-c", text, folder=tmp_path, **said), code


def test_the_script_that_tries_again_draws(said) -> None:
    (script,) = blocks("python", "Retry-After")
    assert "/files/images/" in run(sys.executable, "-c", script, **said)


def test_the_script_that_watches_sees_steps_and_the_picture(said) -> None:
    (script,) = blocks("js", "isStreaming")
    *steps, link = run("node", "--input-type=module", "-e", script, **said).split()
    assert steps == sorted(set(steps), key=lambda text: int(text.removesuffix("/28")))
    assert steps[-1] == "28/28"  # steps that come in quick succession are told as one
    assert "/files/images/" in link


def delivery(*, sent: datetime, body: bytes = BODY, secret: str = SECRET) -> tuple[str, ...]:
    """What the standard's own library signs: id, time, signature."""
    signature = Webhook(secret).sign("msg_1", sent, body.decode())
    return "msg_1", str(int(sent.timestamp())), signature


def by_python(*packed: str) -> str:
    """What Python makes of a delivery."""
    (script,) = blocks("python", "is_ours")
    return run(
        sys.executable, "-c", script + PYTHON, WEBHOOK_SECRET=SECRET, DELIVERY=json.dumps(packed)
    )


def by_node(*packed: str) -> str:
    """What Node makes of it."""
    (script,) = blocks("js", "isOurs")
    return run(
        "node", "--input-type=module", "-e", script + NODE,
        WEBHOOK_SECRET=SECRET, DELIVERY=json.dumps(packed),
    )  # fmt: skip


@pytest.mark.parametrize("program", [by_python, by_node])
def test_a_delivery_is_believed_only_if_it_was_signed_lately_with_our_secret(program) -> None:
    def is_believed(name: str, sent: str, signature: str, body: bytes = BODY) -> bool:
        printed = program(name, sent, signature, base64.b64encode(body).decode())
        return {"true": True, "false": False}[printed.strip().lower()]

    now = datetime.now(UTC)
    name, sent, signature = delivery(sent=now)
    assert is_believed(name, sent, signature)
    assert is_believed(name, sent, f"v1,AAAA {signature}")
    assert not is_believed(name, sent, signature, BODY + b" ")
    assert not is_believed("msg_2", sent, signature)
    assert not is_believed(*delivery(sent=now - timedelta(minutes=6)))
    other = "whsec_" + base64.b64encode(bytes(32)).decode()
    assert not is_believed(*delivery(sent=now, secret=other))
