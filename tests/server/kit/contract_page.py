"""The contract's page: its examples as they are printed, and the programs that run them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

EXAMPLES: Final = Path(__file__).parents[1] / "routes" / "contract_examples"
PRINTED_HOST: Final = "https://api.1min.ai"
PACKAGES: Final = {"bash": "bash", "curl": "curl", "node": "nodejs"}
PATIENCE: Final = 240.0  # a real drawing, on a machine that has more to do


class Answered(NamedTuple):
    """An answer as a program saw it."""

    status: int
    body: dict[str, Any]


def printed(name: str, server: Any) -> str:
    """An example as the contract's page prints it, but for host and key."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert PRINTED_HOST in text
    text = text.replace(PRINTED_HOST, server.url)
    return re.sub(r"<api-key>|<your-api-key>|YOUR_API_KEY", server.key, text)


def program(name: str) -> str:
    """Where a program is."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not here: install the package `{PACKAGES[name]}`")
    return found


def answer_of(*command: str) -> Answered:
    """What a program prints: the body, and its status on a line behind it."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    body, _, status = done.stdout.strip().rpartition("\n")
    return Answered(int(status), dict(json.loads(body)))


def by_curl(text: str) -> Answered:
    """A command line, run by the shell."""
    told = f"{program('curl')} --silent --write-out '\\n%{{http_code}}' "
    return answer_of(program("bash"), "-c", text.replace("curl ", told, 1))


def by_node(text: str) -> Answered:
    """An expression, awaited by Node."""
    script = f"const answer = await {text}\nconsole.log(await answer.text());\n"
    return answer_of(
        program("node"), "--input-type=module", "-e", f"{script}console.log(answer.status);"
    )


def by_python(text: str) -> Answered:
    """A script that leaves its answer in `response`."""
    script = f"{text}\nprint(response.text, response.status_code, sep='\\n')"
    return answer_of(sys.executable, "-c", script)


RUNNERS: Final[Mapping[str, Callable[[str], Answered]]] = {
    "curl.txt": by_curl,
    "playground_curl.txt": by_curl,
    "javascript.txt": by_node,
    "python.txt": by_python,
}
