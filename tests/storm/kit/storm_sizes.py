"""How large each storm is: one column for every run of the tests, one for `make storm`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The figures of one column. Seconds are how long load is kept up, never what is asserted."""

    name: str
    kills: int  # P1, P2: of the server, and as many of a worker
    jobs: int  # P1, P2
    crashes: int  # P3: at each of the points
    freezes: int  # P4
    keys: int  # P5
    repeats: int  # P5: of each key at once
    cancels: int  # P6: at random moments
    races: int  # P6: at about the moment of completion
    usual: int  # P8: pictures drawn before, a multiple of 4
    overload_seconds: float  # P8
    clients: int  # P8
    drains: int  # P9
    outages: int  # P10
    outage_seconds: float  # P10: at most
    faults: int  # P10: of each kind
    fault_seconds: float  # P10
    streams: int  # P13: at once
    guesses: int  # P18
    refusals: int  # P18: of each kind of bad key
    slow: int  # P20: of each kind
    churn_seconds: float  # P21
    churn_slope: float  # P21: the most that memory may grow, in MB in ten minutes


SMALL: Final = Sizes(
    name="small", kills=10, jobs=300, crashes=5, freezes=5, keys=20, repeats=20, cancels=40,
    races=20, usual=40, overload_seconds=5, clients=50, drains=3, outages=3, outage_seconds=3,
    faults=1, fault_seconds=2, streams=100, guesses=500, refusals=200, slow=40,
    churn_seconds=60, churn_slope=120,  # its first minute: nine megabytes
)  # fmt: skip
FULL: Final = Sizes(
    name="full", kills=50, jobs=1500, crashes=50, freezes=100, keys=100, repeats=50, cancels=500,
    races=200, usual=500, overload_seconds=60, clients=500, drains=20, outages=20,
    outage_seconds=10, faults=10, fault_seconds=5, streams=1000, guesses=5000, refusals=10_000,
    slow=200,
    churn_seconds=600, churn_slope=1,
)  # fmt: skip
COLUMNS: Final = {sizes.name: sizes for sizes in (SMALL, FULL)}
