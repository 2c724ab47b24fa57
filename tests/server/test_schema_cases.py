"""schemathesis reads the served description and makes cases of it: more than 5,000, of all phases.

That many go to a server on SQLite, and some, from another seed, to one on PostgreSQL. Nothing may
be a server error, and whatever is answered must be described: its status, shape and headers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

HERE: Final = Path(__file__).parent
COMMITTED: Final = HERE.parents[1] / "docs" / "openapi.json"
PHASES: Final = ("examples", "coverage", "fuzzing", "stateful")
CHECKS: Final = (
    "not_a_server_error", "status_code_conformance", "response_schema_conformance",
    "response_headers_conformance",
)  # fmt: skip
SETTINGS: Final = {
    "LINOCUT_FETCH_ALLOW": "127.0.0.1:9",
    "LINOCUT_FETCH": "false",
    "LINOCUT_KEY_RATE": "0",
    "LINOCUT_KEY_SHARE": "0",
    "LINOCUT_QUEUE_LIMIT": "500",
    "LINOCUT_SYNC_WAIT": "0.2",
    "LINOCUT_DRAIN_SECONDS": "0",
    "LINOCUT_LOG_LEVEL": "warning",
    "LINOCUT_WORKER": "fake --step-seconds=0.001",
}


@dataclass(frozen=True, slots=True)
class Size:
    """How many examples of each operation, and how many cases those are at least.

    of_drawing: of the operation that draws, whose cases alone take long to make.
    of_answers: how many of those the server must have accepted, so that refusals were not all.
    """

    examples: int
    of_drawing: int
    seed: int
    cases: int
    of_answers: int


SIZES: Final = {
    "sqlite": Size(examples=370, of_drawing=150, seed=20_260_327, cases=5_000, of_answers=50),
    "postgresql": Size(examples=20, of_drawing=20, seed=20_261_129, cases=1_000, of_answers=5),
}
CONFIG: Final = """\
max-stream-events = 1
request-timeout = 60
seed = {seed}
[generation]
max-examples = {examples}
database = "none"
[[operations]]
include-operation-id = "createPicture"
generation = {{ max-examples = {of_drawing} }}
"""


def test_the_served_description_is_the_committed_one(shared_server: Any) -> None:
    served = shared_server.client.get("/openapi.json").json()
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert served == committed, "write it anew: linocut openapi > docs/openapi.json"


@pytest.mark.timeout(1200)
def test_no_case_of_the_description_is_a_server_error(
    running_server: Any, database: Any, tmp_path: Path
) -> None:
    size = SIZES[database.kind]
    server = running_server(**SETTINGS, **database.settings)
    report = cases(server, tmp_path, size)
    assert report["failures"] == report["errors"] == [], report["said"]
    assert report["complete"]
    assert report["operations"]["tested"] == report["operations"]["total"] > 15
    assert {name: report["phases"][name]["status"] for name in PHASES} == dict.fromkeys(
        PHASES, "success"
    )
    assert report["test_cases"]["generated"] >= size.cases, report["test_cases"]
    drawn = report["valid_rates"]["POST /api/features"]["fuzzing"]
    assert drawn["accepted"] > size.of_answers, drawn  # not only refusals were looked at
    assert not [line for line in server.lines if line.get("level") in {"error", "critical"}]


def cases(server: Any, folder: Path, size: Size) -> dict[str, Any]:
    """schemathesis' own report on this server."""
    config, report = folder / "schemathesis.toml", folder / "report.json"
    config.write_text(
        CONFIG.format(seed=size.seed, examples=size.examples, of_drawing=size.of_drawing),
        encoding="utf-8",
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", config),
            *("run", f"{server.url}/openapi.json", "--header", f"API-KEY: {server.key}"),
            *("--phases", ",".join(PHASES), "--checks", ",".join(CHECKS)),
            *("--continue-on-failure", "--report", "json", "--report-json-path", report),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(HERE), "SCHEMATHESIS_HOOKS": "schema_hooks"}
        | {"PICTURE": uploaded(server)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert report.is_file(), done.stdout.decode()[-4000:]
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return found | {"said": done.stdout.decode()}


def uploaded(server: Any) -> str:
    """The key of a picture that is there."""
    body = {
        "type": "IMAGE_GENERATOR",
        "model": "linocut-mini",
        "promptObject": {"prompt": "a dot", "megapixels": "0.25", "num_inference_steps": 1},
    }
    server.client.post("/api/features", json=body)
    record = server.wait_until(
        lambda: [
            each
            for each in server.client.get("/api/records").json()["records"]
            if each["status"] == "SUCCESS"
        ]
    )[0]
    picture = server.client.get(record["temporaryUrl"], headers={"API-KEY": ""})
    sent = server.client.post("/api/assets", files={"asset": ("a.webp", picture.content)})
    return str(sent.json()["fileContent"]["path"])
