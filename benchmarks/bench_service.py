"""What the service adds around the engine, and what it bears, on this machine.

Starts servers of its own on loopback and prints a table for people, then one line of JSON for
machines. Callers, server, worker and database share the machine. Beside each figure stands what
the same machine gave in the same run without the service, or with as little of it as there is:

added     a blocking call, less the seconds that its worker says it took: drawing, checks, file
accepted  calls with "async": true that are answered, each after its record is safe on the disk,
          while one long picture is drawn, and while pictures are drawn as they come
refused   the answers 429 of a full queue, at ten times as many calls as pictures can be drawn,
          counted from when each call was due
memory    of the server process, which holds no library that draws
start     from the start of the process until it listens, and until it can draw
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, sleep
from typing import Any, Final

import psycopg
from PIL import Image

from machine import processor
from running import (
    MIB,
    Answer,
    Call,
    Flood,
    PostgreSQL,
    Server,
    flood,
    running_postgresql,
    serving,
)

FEATURES: Final = "/api/features"
ALIVE: Final = Call("GET", "/livez")
MANY: Final = "1000000"
SMALL: Final = {"aspect_ratio": "custom", "width": 64, "height": 64, "num_inference_steps": 1}
QUICK: Final = "fake --step-seconds=0.001"
LONG: Final = "fake --step-seconds=3600"
STEADY: Final = 0.1  # seconds of a picture where refusals are measured
TIMES: Final = 10  # what is asked for there, in what can be drawn
WAITING: Final = 20  # places in its queue
EVERY: Final = 10  # there, every tenth call only asks whether the server lives
UPLOAD: Final = 1290  # a side of an upload, which as noise takes 5 MB
WARM_UP: Final = 3
ROW: Final = "x" * 1000
Row = dict[str, Any]


def picture(number: int, *, at_once: bool = False, **said: Any) -> Call:
    """A call for a picture of its own."""
    prompt = {"prompt": f"{number} red apples, blue background", "seed": number, **said}
    body = {"type": "IMAGE_GENERATOR", "model": "black-forest-labs/flux-2-dev"}
    return Call.post(FEATURES, body | {"async": at_once, "promptObject": prompt})


def spread(values: Sequence[float]) -> dict[str, float]:
    """The middle, the slowest hundredth, the slowest."""
    last = quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]
    return {"p50": median(values), "p99": last, "most": max(values), "count": len(values)}


def in_ms(seconds: Sequence[float]) -> dict[str, float]:
    """The same of seconds, in milliseconds."""
    return spread([1000 * value for value in seconds])


def row(what: str, unit: str, figure: float, beside: Row, **more: Any) -> Row:
    """A line of the report. more: `spread`; `at_most` or `at_least`, if there is a reach."""
    kept = more.get("at_least", 0) <= figure <= more.get("at_most", float("inf"))
    return {"what": what, "unit": unit, "figure": figure, **more, "kept": kept, "beside": beside}


def all_ok(answers: Sequence[Answer], *more: int) -> None:
    """Nothing, unless an answer says something else than 200 or one of `more`."""
    others = [answer for answer in answers if answer.status not in (200, *more)]
    if others:
        raise RuntimeError(f"{len(others)} answers as {others[0].status}: {others[0].text[:500]!r}")


class Disk:
    """The least that a durable record costs: a row of 1 kB, committed, with nothing around it."""

    def __init__(self, folder: Path, url: str = "") -> None:
        if url:
            self.database: Any = psycopg.connect(url, autocommit=True)
        else:
            self.database = sqlite3.connect(folder / "floor.db", isolation_level=None)
            self.database.execute("PRAGMA journal_mode=WAL")
            self.database.execute("PRAGMA synchronous=FULL")
        self.insert = (
            "INSERT INTO floor (body) VALUES (%s)" if url else "INSERT INTO floor VALUES (?)"
        )
        self.database.execute("CREATE TABLE floor (body text)")

    def write(self) -> float:
        """The seconds of one."""
        began = perf_counter()
        self.database.execute(self.insert, (ROW,))
        return perf_counter() - began

    def close(self) -> None:
        """Let go."""
        self.database.close()


def added(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """A blocking call around the demo checkpoint, and around a worker that hardly works."""
    for name, worker in (("the checkpoint", "engine"), ("a fake worker", QUICK)):
        data = folder / worker.partition(" ")[0]
        with serving(data, WORKER=worker, CHECKPOINT=args.checkpoint) as server:
            yield _added(args, server, name)


def _added(args: argparse.Namespace, server: Server, name: str) -> Row:
    ask = partial(picture, megapixels="0.25", num_inference_steps=args.steps)
    caller, alive, durable, answers = server.caller(), [], [], []
    all_ok([caller.send(ask(args.calls + number)) for number in range(WARM_UP)])
    with closing(Disk(server.folder)) as disk:
        for number in range(args.calls):
            alive.append(caller.send(ALIVE).seconds)
            durable.append(disk.write())
            answers.append(caller.send(ask(number)))
    all_ok(answers)
    known = [answer.json["aiRecord"]["metadata"] for answer in answers]
    took = [each["seconds"] for each in known]
    drawn = [sum(each["timings"].values()) for each in known]
    over = in_ms([answer.seconds - each for answer, each in zip(answers, took, strict=True)])
    beside = {
        "worker": 1000 * median(took),
        "checks": 1000 * median(a - b for a, b in zip(took, drawn, strict=True)),
        "/livez": 1000 * median(alive),
        "durable row": 1000 * median(durable),
    }
    stages = {name: median(each) for name, each in _stages(answers).items()}
    what = f"added to a call around {name}"
    return row(what, "ms", over["p50"], beside, at_most=15, spread=over, stages=stages)


def _stages(answers: Sequence[Answer]) -> dict[str, list[float]]:
    """Milliseconds that each call spent before, between and after the moments of its record."""
    found: dict[str, list[float]] = {"accepted": [], "claimed": [], "handed over": [], "told": []}
    for answer in answers:
        record = answer.json["aiRecord"]
        known = record["metadata"]
        moments = (record["createdAt"], known["started_at"], known["finished_at"])
        created, started, finished = (datetime.fromisoformat(each).timestamp() for each in moments)
        lengths = (
            created - answer.sent_at,
            started - created,
            finished - started - known["seconds"],
            answer.sent_at + answer.seconds - finished,
        )
        for name, length in zip(found, lengths, strict=True):
            found[name].append(1000 * length)
    return found


def accepted(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """How many calls a second are taken."""
    for database, cluster in databases(args, folder):
        for name, worker in (("a long picture is", LONG), ("pictures are", QUICK)):
            data = folder / f"{database}-{len(name)}"
            url = cluster.new(f"accepted_{len(name)}") if cluster else ""
            with (
                serving(data, WORKER=worker, DATABASE_URL=url, QUEUE_LIMIT=MANY) as server,
                closing(Disk(data, url)) as disk,
            ):
                yield _accepted(args, server, disk, f"{database}, while {name} drawn")


def _accepted(args: argparse.Namespace, server: Server, disk: Disk, name: str) -> Row:
    ask = partial(picture, at_once=True, **SMALL)
    all_ok(flood(server, ask, args.callers, callers=args.callers).answers)
    durable, before = [disk.write() for _ in range(args.jobs // 2)], server.drawn()
    came = flood(server, ask, args.jobs, callers=args.callers)
    drawn = server.drawn() - before
    durable += [disk.write() for _ in range(args.jobs // 2)]
    all_ok(came.answers)
    took = in_ms([answer.seconds for answer in came.answers])
    beside = {"durable rows/s": len(durable) / sum(durable), "drawn/s": drawn / came.seconds}
    reach = {"at_least": 60} if name.startswith("sqlite") else {}
    return row(
        f"accepted on {name}", "/s", args.jobs / came.seconds, beside, answered=took, **reach
    )


def databases(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, PostgreSQL | None]]:
    """Each database that is asked for, running."""
    for database in args.databases:
        with ExitStack() as stack:
            yield (
                database,
                (
                    stack.enter_context(running_postgresql(folder / "postgresql"))
                    if database == "postgresql"
                    else None
                ),
            )


def refused(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """How long a full queue takes to say so."""
    for database, cluster in databases(args, folder):
        settings = {
            "WORKER": f"fake --step-seconds={STEADY}",
            "QUEUE_LIMIT": str(WAITING),
            "DATABASE_URL": cluster.new("refused") if cluster else "",
        }
        with serving(folder / database, **settings) as server:
            yield _refused(args, server, database)


def _refused(args: argparse.Namespace, server: Server, database: str) -> Row:
    ask, caller = partial(picture, at_once=True, **SMALL), server.caller()
    alone = [caller.send(picture(number, **SMALL)) for number in range(5)]
    all_ok(alone)
    rate = TIMES / median(answer.seconds for answer in alone)
    wave = partial(flood, server, callers=args.callers, rate=rate)
    all_ok(wave(ask, 2 * WAITING).answers, 429)  # the queue is full from here on
    count, before = int(rate * args.seconds), server.drawn()
    came: Flood = wave(lambda number: ask(number) if number % EVERY else ALIVE, count)
    drawn = server.drawn() - before
    all_ok(came.answers, 429)
    no = [answer for answer in came.answers if answer.status == 429]
    honest = all(int(answer.headers["retry-after"]) >= 1 for answer in no)
    assert honest
    took = in_ms([answer.seconds for answer in no])
    beside = {
        "due/s": count / args.seconds,
        "refused/s": len(no) / came.seconds,
        "drawn/s": drawn / came.seconds,
        "/livez p99": in_ms([answer.seconds for answer in came.answers[::EVERY]])["p99"],
    }
    return row(f"refused on {database}, p99", "ms", took["p99"], beside, at_most=50, spread=took)


def memory(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """What the server process takes, at rest and after it was used."""
    libraries = "import alembic, fastapi, psycopg, sqlalchemy.ext.asyncio, structlog, uvicorn"
    told = "print(open('/proc/self/statm').read().split()[1])"
    pages = run_python(f"{libraries}; {told}").stdout
    beside = {"its libraries alone": int(pages) * os.sysconf("SC_PAGE_SIZE") / MIB}
    with serving(folder / "data", WORKER=QUICK, QUEUE_LIMIT=str(WAITING)) as server:
        sleep(1)
        yield row("memory at rest", "MiB", server.memory(), beside, at_most=150)
        each = partial(flood, server, callers=args.callers)
        all_ok(each(partial(picture, num_inference_steps=1), args.calls).answers, 429)
        all_ok(each(partial(picture, at_once=True, **SMALL), args.jobs).answers, 429)
        what = f"memory after {args.calls + args.jobs} calls"
        yield row(what, "MiB", server.memory(), {"most": server.memory("VmHWM")}, at_most=150)
        upload, uploads = noise(), max(2, args.calls // 10)
        all_ok(flood(server, lambda _: upload, uploads, callers=2).answers)
        what = f"memory after {uploads} uploads of {len(upload.body or b'') / 1e6:.0f} MB too"
        yield row(what, "MiB", server.memory(), {"most": server.memory("VmHWM")}, at_most=150)
        found = server.forbidden()
        yield row("libraries in it that draw", "", len(found), {}, at_most=0, names=found)


def noise() -> Call:
    """An upload that cannot be made smaller."""
    dice, file = random.Random(1), io.BytesIO()  # noqa: S311 - no secret
    Image.frombytes("RGB", (UPLOAD, UPLOAD), dice.randbytes(3 * UPLOAD**2)).save(file, "PNG")
    head = (
        'Content-Disposition: form-data; name="asset"; filename="a.png"\r\nContent-Type: image/png'
    )
    body = b"--x\r\n" + head.encode() + b"\r\n\r\n" + file.getvalue() + b"\r\n--x--\r\n"
    return Call("POST", "/api/assets", body, "multipart/form-data; boundary=x")


def start(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Until it listens and until it draws: on a new data folder, then on the same again."""
    code = (
        "import sys; from linocut import Engine, ImageRequest as R; "
        "Engine.open(sys.argv[1]).draw(R(prompt='a red apple', num_inference_steps=2))"
    )
    bare = []
    for _ in range(args.starts):
        began = perf_counter()
        run_python(code, args.checkpoint)
        bare.append(perf_counter() - began)
    for name, again in (("a new folder", False), ("the same again", True)):
        seen = []
        for number in range(args.starts):
            with serving(folder / f"data-{number}", CHECKPOINT=args.checkpoint) as server:
                seen.append((server.listens, server.ready))
        listens, ready = (spread(values) for values in zip(*seen, strict=True))
        beside = {"listening": listens["p50"], "a bare process draws": median(bare)}
        yield row(f"start on {name}", "s", ready["p50"], beside, spread=ready, again=again)


def run_python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A program of its own, at its end."""
    line = [sys.executable, "-c", code, *words]
    return subprocess.run(line, capture_output=True, text=True, check=True)


PARTS: Final[dict[str, Callable[[argparse.Namespace, Path], Iterator[Row]]]] = {
    "added": added, "accepted": accepted, "refused": refused, "memory": memory, "start": start,
}  # fmt: skip
HEADER: Final = f"{'what':<52} {'figure':>9}      {'p99':>9}  {'reach':<8}  beside"


def line(said: Row) -> str:
    """A row for people."""
    last = f"{said['spread']['p99']:9.2f}" if "spread" in said else " " * 9
    reach = next(
        (f"{sign} {said[bound]:<3} {'' if said['kept'] else 'MISSED'}"
         for sign, bound in (("<=", "at_most"), (">=", "at_least")) if bound in said), "",
    )  # fmt: skip
    beside = ", ".join(f"{name} {value:.2f}" for name, value in said["beside"].items())
    figure = f"{said['figure']:9.2f} {said['unit']:<4}"
    return f"{said['what']:<52} {figure} {last}  {reach:<8}  {beside}"


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all")
    parser.add_argument("--checkpoint", default="linocut-mini", help="a name or a folder")
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"],
                        choices=["sqlite", "postgresql"])  # fmt: skip
    parser.add_argument("--steps", type=int, default=8, help="of each picture that is timed")
    parser.add_argument("--calls", type=int, default=200, help="blocking calls")
    parser.add_argument("--jobs", type=int, default=1000, help="calls that do not wait")
    parser.add_argument("--callers", type=int, default=16, help="at once")
    parser.add_argument("--seconds", type=float, default=60, help="of overload")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="on the disk that is meant; it must be there")
    parser.add_argument("--quick", action="store_true", help="only show that it works")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; use {', '.join(PARTS)}")
    if args.quick:
        args.steps, args.calls, args.jobs, args.seconds, args.starts = 1, 4, 20, 1.0, 1
    return args


def main() -> None:
    """Measure what the command line asks for."""
    args = arguments()
    parts = args.parts or list(PARTS)
    asked = ("steps", "calls", "jobs", "callers", "seconds", "starts")
    about = {
        "benchmark": "service",
        "checkpoint": Path(args.checkpoint).name,
        **{name: getattr(args, name) for name in asked},
        "processor": processor(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("fastapi", "sqlalchemy", "uvicorn")},
    }
    print(f"{about['processor']}, {about['cores']} cores\n{HEADER}", flush=True)
    rows = []
    for part in parts:
        with tempfile.TemporaryDirectory(dir=args.folder, prefix="linocut-") as made:
            folder = Path(made)
            folder.chmod(0o711)  # PostgreSQL may have to be another user
            for said in PARTS[part](args, folder):
                print(line(said), flush=True)
                rows.append({"part": part, **said})
    print(json.dumps(about | {"rows": rows}), flush=True)


if __name__ == "__main__":
    main()
