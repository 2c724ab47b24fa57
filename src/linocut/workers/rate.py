"""How fast a worker draws, fitted to the runs that it has finished; and in which of its modes.

A run takes   seconds = steps · per_step + flops / flops_per_second.   Divided by its steps, that
is a straight line through points (flops a step, seconds a step). It is drawn through the last
twenty by medians (Theil and Sen's line), which a few runs on a busy machine do not move.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import median
from typing import Final

from linocut.catalog import ModelConfig
from linocut.cost import request_cost
from linocut.request import ImageRequest, Picture
from linocut.workers.protocol import Rate

KEPT: Final = 20
EXACT: Final = "exact"
_APART: Final = 1.2  # sizes that differ by less say nothing about what a size costs


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has finished: how much it was, and how long it took."""

    steps: int
    flops: float
    seconds: float


@dataclass(slots=True)
class Runs:
    """The last runs of one mode, and what they say; `first` is what the warm-up said."""

    first: Rate
    last: deque[Run] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, run: Run) -> Rate:
        """The rate, now that this run is known too. One without steps teaches nothing."""
        if run.steps:
            self.last.append(run)
        return self.rate

    @property
    def rate(self) -> Rate:
        """What the runs say so far."""
        return fitted(self.last, self.first)


def seconds_of(rate: Rate, steps: int, flops: float) -> float:
    """How long a run takes at that rate."""
    return steps * rate.per_step + flops / rate.flops_per_second


def fitted(runs: Iterable[Run], first: Rate) -> Rate:
    """The rate that explains the runs; `first`, scaled, where they leave open what a size costs."""
    runs = tuple(runs)
    if not runs:
        return first
    points = [(run.flops / run.steps, run.seconds / run.steps) for run in runs]
    return _line(points) or _scaled(runs, first)


def first_rate(small: Run, large: Run) -> Rate:
    """The rate that two runs of a warm-up say: the line through both, else none per step."""
    points = [(run.flops / run.steps, run.seconds / run.steps) for run in (small, large)]
    return _line(points) or Rate(per_step=0.0, flops_per_second=large.flops / large.seconds)


def _line(points: Sequence[tuple[float, float]]) -> Rate | None:
    """Theil and Sen's line; None where the points lie too close, or on a line that falls."""
    slopes = [
        (second[1] - first[1]) / (second[0] - first[0])
        for first, second in combinations(points, 2)
        if max(first[0], second[0]) >= _APART * min(first[0], second[0])
    ]
    slope = median(slopes) if slopes else 0.0
    per_step = median(y - slope * x for x, y in points)
    if slope <= 0 or per_step < 0:
        return None
    return Rate(per_step=per_step, flops_per_second=1 / slope)


def _scaled(runs: Sequence[Run], first: Rate) -> Rate:
    """`first`, as many times slower as the runs were."""
    slower = median(run.seconds / seconds_of(first, run.steps, run.flops) for run in runs)
    return Rate(per_step=first.per_step * slower, flops_per_second=first.flops_per_second / slower)


def estimate(
    request: ImageRequest,
    sizes: Sequence[tuple[int, int]],
    *,
    model: ModelConfig,
    rate: Rate,
) -> float:
    """Seconds that drawing the request will take; sizes: (width, height) of its references."""
    outlines = tuple(_Outline(*size, bytes([number])) for number, size in enumerate(sizes))
    cost = request_cost(replace(request, references=outlines), model)
    return seconds_of(rate, cost.steps, cost.flops.total)


class _Outline(Picture):
    """A picture's size without its pixels, which is all that a cost depends on.

    `rgb` only tells one from another: what occurs twice is encoded once.
    """

    __slots__ = ()

    def __post_init__(self) -> None: ...


def fast_mode(rates: Mapping[str, Rate], usual: Run) -> str | None:
    """The mode that draws what is usual fastest; None if that is the default, the first of them.

    Half the precision is not faster everywhere: many processors only imitate it.
    """
    modes = list(rates)
    seconds = [seconds_of(rates[mode], usual.steps, usual.flops) for mode in modes]
    fastest = modes[seconds.index(min(seconds))]
    return None if fastest == modes[0] else fastest


def chosen_mode(asked: str, modes: Sequence[str], fast: str | None) -> str:
    """The mode that a worker draws in, which has these, its default first.

    "exact" is what a request says that names none: permission to go fast turns it into `fast`, and
    where the operator's precision leaves no exact mode it is the default.
    """
    if asked != EXACT:
        return asked
    if EXACT not in modes:
        return modes[0]
    return fast or EXACT
