"""Whether the time of a refusal tells what is wrong with a key, on this machine.

Asks a keyring over an SQLite file, in this process, one bad key after the other and in random
order, and prints a table for people, then one line of JSON for machines. A key is

unknown   nobody's
wrong     the id of a key that is there, with another secret
revoked   whole, but revoked

For each two kinds stand how often the first takes longer than the second, and the p of the
Mann-Whitney test: how likely times are that differ as much or more, where both kinds take equally
long. Refusals keep their promise where p > 0.01; of three that do, one falls short in about every
thirtieth run. Beside them stands the work alone, without the wait until a moment that does not
depend on it: what there is to hide, and whether so many times are enough to find it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from itertools import combinations, count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

from linocut.errors import InvalidKey
from linocut.jobs.store import Store
from linocut.jobs.terms import ApiKey
from linocut.server.keyring import Keyring
from linocut.server.keys import CHECK_LENGTH, ID_LENGTH, PREFIX, KeyText, _check, digest, new_key
from machine import processor
from ranks import mann_whitney

KINDS: Final = ("unknown", "wrong", "revoked")
KNOWN: Final = 100  # keys that are there, and as many that are revoked
PEPPER: Final = bytes(32)
LEAST_P: Final = 0.01
WARM_UP: Final = 100
BODY: Final = len(PREFIX) + ID_LENGTH + 2  # where a key's secret begins
Row = dict[str, Any]


async def filled(store: Store) -> tuple[list[KeyText], list[KeyText]]:
    """(keys that are there, keys that are revoked)."""
    keys = [new_key() for _ in range(2 * KNOWN)]
    for key in keys:
        kept = digest(key, PEPPER)
        await store.add_key(
            ApiKey(id=key.id, tenant="ann", name="ann", digest=kept, scopes=("generate",))
        )
    for key in keys[KNOWN:]:
        await store.revoke_key(key.id)
    return keys[:KNOWN], keys[KNOWN:]


def bad_keys(there: list[KeyText], revoked: list[KeyText], times: int) -> list[tuple[str, str]]:
    """(kind, key), so many of each kind, in random order."""
    dice = random.Random(1)  # noqa: S311 - no secret
    bad = []
    for _ in range(times):
        other = new_key().text
        forged = dice.choice(there).text[:BODY] + other[BODY:-CHECK_LENGTH]
        texts = (other, forged + _check(forged), dice.choice(revoked).text)
        bad += zip(KINDS, texts, strict=True)
    dice.shuffle(bad)
    return bad


def addresses() -> Iterator[str]:
    """One for each key: who sends many bad ones from one address is not told about them."""
    return (f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in count())


async def timed(ring: Keyring, bad: list[tuple[str, str]]) -> dict[str, list[float]]:
    """The seconds of each refusal, by kind."""
    took: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for (kind, text), address in zip(bad, addresses(), strict=False):
        began = perf_counter()
        try:
            await ring.caller(text, address)
        except InvalidKey:
            took[kind].append(perf_counter() - began)
        else:
            raise RuntimeError(f"a key that is {kind} was taken")
    return took


def rows(part: str, took: dict[str, list[float]], **more: Any) -> Iterator[Row]:
    """A row for every two kinds."""
    for one, other in combinations(KINDS, 2):
        share, p = mann_whitney(took[one], took[other])
        p50 = {kind: 1000 * median(took[kind]) for kind in (one, other)}
        kept = p > more.get("above", -1.0)
        yield {"part": part, "pair": [one, other], "count": len(took[one]), "longer": share,
               "p": p, **more, "kept": kept, "p50": p50}  # fmt: skip


async def measured(folder: Path, work: int, refusals: int) -> list[Row]:
    """Both parts, told as they are measured."""
    store = await Store.open(f"sqlite:///{folder / 'linocut.db'}")
    try:
        there, revoked = await filled(store)
        # A clock that is a second further at each look leaves no time to wait.
        busy = Keyring(store=store, pepper=PEPPER, clock=count(step=1.0).__next__)
        await timed(busy, bad_keys(there, revoked, WARM_UP))
        found = list(rows("work", await timed(busy, bad_keys(there, revoked, work))))
        tell(found)
        ring = Keyring(store=store, pepper=PEPPER)
        took = await timed(ring, bad_keys(there, revoked, refusals))
        found += rows("refusal", took, above=LEAST_P)
        tell(found[-3:])
    finally:
        await store.close()
    return found


def tell(found: list[Row]) -> None:
    """Rows for people."""
    for said in found:
        (one, p50), (other, beside) = said["p50"].items()
        reach = f"> {said['above']} {'' if said['kept'] else 'MISSED'}" if "above" in said else ""
        print(f"{said['part']:<8} {one:>8} {p50:8.3f} ms {other:>9} {beside:8.3f} ms "
              f"{100 * said['longer']:9.2f} % {said['p']:10.2g}  {reach}", flush=True)  # fmt: skip


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=int, default=10_000, help="keys of each kind, work alone")
    parser.add_argument("--refusals", type=int, default=10_000, help="keys of each kind, refused")
    parser.add_argument("--folder", type=Path, help="on the disk that is meant; it must be there")
    args = parser.parse_args()
    about = {
        "benchmark": "keys",
        "processor": processor(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {"sqlalchemy": version("sqlalchemy")},
    }
    print(f"{about['processor']}, {about['cores']} cores")
    print(f"{'part':<8} {'one':>8} {'p50':>11} {'other':>9} {'p50':>11} {'longer':>11} {'p':>10}")
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="linocut-") as folder:
        found = asyncio.run(measured(Path(folder), args.work, args.refusals))
    print(json.dumps(about | {"rows": found}), flush=True)


if __name__ == "__main__":
    main()
