"""Whether one of two samples tends to be larger: the Mann-Whitney test."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import erfc, sqrt


def mann_whitney(ones: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """(how often one of the ones is larger than one of the others, the two-sided p of that).

    Ties count half. p by the normal approximation, corrected for ties and continuity: for samples
    of eight and more.
    """
    n, m = len(ones), len(others)
    ranked = sorted([(value, True) for value in ones] + [(value, False) for value in others])
    below, ranks, tied = 0, 0.0, 0
    for _, group in groupby(ranked, key=lambda pair: pair[0]):
        same = [is_one for _, is_one in group]
        ranks += sum(same) * (below + (len(same) + 1) / 2)
        tied += len(same) ** 3 - len(same)
        below += len(same)
    larger = ranks - n * (n + 1) / 2
    spread = sqrt(n * m / 12 * (n + m + 1 - tied / ((n + m) * (n + m - 1))))
    off = max(0.0, abs(larger - n * m / 2) - 0.5)
    return larger / (n * m), erfc(off / spread / sqrt(2)) if spread else 1.0
