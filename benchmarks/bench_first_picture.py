"""How long somebody waits for a picture who has just cloned linocut, on this machine.

Clones the repository that it lies in and goes README's two ways there. `make image`: once with the
install, then again. Then, with all installed, `make serve` on a data folder of its own: the call
that it prints is run as soon as it is on the screen, and the answer's picture opened. Prints a
table for people, then one line of JSON for machines. Beside the seconds stand those of
`python -c pass` with the same interpreter: what no program that it runs is faster than.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import httpx2
from PIL import Image

from machine import processor

ROOT: Final = Path(__file__).resolve().parents[1]
COMMAND: Final = ("make", "--no-print-directory", "image", "PROMPT=a red apple")
SERVE: Final = ("make", "--no-print-directory", "serve")
LEAVES: Final = 60.0  # seconds that a server has to end


def seconds_of(command: Sequence[str], folder: Path) -> tuple[float, str]:
    """(wall time, standard output) of a command; its failure is raised with what it said."""
    began = perf_counter()
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    took = perf_counter() - began
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ran.stdout}{ran.stderr}")
    return took, ran.stdout


def measure(command: Sequence[str], clone: Path, runs: int) -> dict[str, Any]:
    """The first run, which installs, and the later ones; each leaves a picture that opens."""
    seconds = []
    for _ in range(1 + runs):
        took, said = seconds_of(command, clone)
        with Image.open(clone / said.splitlines()[-1]) as picture:
            picture.load()
            size = picture.size
        seconds.append(round(took, 3))
    floor, _ = seconds_of((sys.executable, "-c", "pass"), clone)
    return {
        "command": " ".join(command),
        "size": size,
        "with_install": seconds[0],
        "after_install": seconds[1:],
        "interpreter_alone": round(floor, 3),
    }


def serve(clone: Path, data: Path) -> dict[str, Any]:
    """A server's first picture; data: its folder, which is not there yet."""
    log = data.with_suffix(".log")
    command = (*SERVE, f"ARGS=--port 0 --data-dir {shlex.quote(str(data))}")
    with log.open("w") as errors:
        began = perf_counter()
        server = subprocess.Popen(
            command, cwd=clone, stdout=subprocess.PIPE, stderr=errors, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            assert server.stdout is not None
            return first_call(server.stdout, began)
        except EOFError:
            raise SystemExit(f"{' '.join(SERVE)} ended:\n{log.read_text()}") from None
        finally:
            end(server)


def first_call(screen: Iterator[str], began: float) -> dict[str, Any]:
    """Seconds until a call is printed, the server is ready, and the call's picture is open."""
    call = printed_call(screen)
    found: dict[str, Any] = {"printed": perf_counter() - began}
    pipe = subprocess.PIPE
    with subprocess.Popen(("bash", "-c", call), stdout=pipe, stderr=pipe, text=True) as curl:
        next_line(screen, "Ready ")
        found["ready"] = perf_counter() - began
        answer, errors = curl.communicate()
    try:
        link = json.loads(answer)["aiRecord"]["temporaryUrl"]
    except (ValueError, KeyError):
        raise SystemExit(f"the printed call failed:\n{answer}{errors}") from None
    with Image.open(BytesIO(httpx2.get(link).raise_for_status().content)) as picture:
        picture.load()
        found["picture"] = perf_counter() - began
        return {name: round(seconds, 3) for name, seconds in found.items()} | {"size": picture.size}


def printed_call(screen: Iterator[str]) -> str:
    """The command that a person would paste."""
    lines = [next_line(screen, "curl ")]
    while lines[-1] != "}'\n":
        lines.append(next_line(screen))
    return "".join(lines)


def next_line(screen: Iterator[str], start: str = "") -> str:
    """The next line that begins so; EOFError where none comes."""
    for line in screen:
        if line.startswith(start):
            return line
    raise EOFError


def end(server: subprocess.Popen[str]) -> None:
    """By SIGTERM: where this was begun in a shell's background, Ctrl+C's signal is ignored."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            server.wait(LEAVES)
            return


def main() -> None:
    """Clone, draw in both ways, and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="pictures after the first, each way")
    parser.add_argument("--source", type=Path, default=ROOT, help="the repository to clone")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "linocut"
        seconds_of(("git", "clone", "--quiet", str(chosen.source), str(clone)), Path(folder))
        found = measure(COMMAND, clone, chosen.runs)
        served = [serve(clone, Path(folder) / f"data-{number}") for number in range(chosen.runs)]
    width, height = found["size"]
    print(f"{found['command']}: a picture of {width} x {height}")
    print(f"  with the install   {found['with_install']:8.2f} s")
    print(f"  after it           {min(found['after_install']):8.2f} s at best of {chosen.runs}")
    print(f"  interpreter alone  {found['interpreter_alone']:8.3f} s")
    print(f"{' '.join(SERVE)}, after the install, and the call that it prints")
    for each in served:
        width, height = each["size"]
        print(f"  printed {each['printed']:.2f} s, ready {each['ready']:.2f} s, "
              f"a picture of {width} x {height} {each['picture']:.2f} s")  # fmt: skip
    about = {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version()}
    whole = {"benchmark": "bench_first_picture", "machine": about, **found, "server": served}
    print(json.dumps(whole))


if __name__ == "__main__":
    main()
