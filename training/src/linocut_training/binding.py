"""Binding, taught: what stands at one place looks at its own words, and not at another thing's.

In "a cat and a ball" both names are there for every part of the picture, and which of them is whose
is slow to learn from pictures alone: both things come out as the mean of the two. Where the things
stand is known while they are learned, and so attention itself is told (the localisation loss of
FastComposer, arXiv 2305.10431, by the share of the names rather than by their whole weight).

B batch   H heads   L tokens   P tokens of the picture   T text rows
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from linocut_training.tiles import SIDE, Place

Span = tuple[int, int]  # first and end
# The first block sees words that have not seen each other yet: who is named first is not in them.
FIRST_BLOCK = 1
LEAST = 1e-6  # of attention, so that bfloat16's zeros have a logarithm


def spans(words: str, names: Sequence[Sequence[str]]) -> list[Span] | None:
    """Where each thing is named in a caption, in characters; None unless all of them are.

    names: what each thing may be called. The longest name wins, and no two things share letters: of
    "a hot dog and a dog" the dog is the second one.
    """
    found: dict[int, Span] = {}
    every = [(name, thing) for thing, those in enumerate(names) for name in those]
    for name, thing in sorted(every, key=lambda each: -len(each[0])):
        if thing in found:
            continue
        for match in re.finditer(rf"\b{re.escape(name)}\b", words, re.IGNORECASE):
            if all(match.end() <= begin or end <= match.start() for begin, end in found.values()):
                found[thing] = match.span()
                break
    return [found[thing] for thing in range(len(names))] if len(found) == len(names) else None


def masks(
    named: Sequence[Sequence[Span] | None], tiles: Sequence[Place], grid: tuple[int, int],
    length: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Which text rows name what stands at each token, and which another thing. [B, P, T] twice

    named: of each picture, the rows of its things; None where that is not known. tiles: where the
    things stand. All is False where nothing stands.
    """
    own, other = (torch.zeros(len(named), *grid, length, dtype=torch.bool) for _ in range(2))
    for picture, rows in enumerate(named):
        for place, (down, right) in enumerate(tiles if rows else ()):
            for thing, (begin, end) in enumerate(rows or ()):
                which = own if thing == place else other
                which[picture, down : down + SIDE, right : right + SIDE, begin:end] = True
    return own.flatten(1, 2), other.flatten(1, 2)


def error(seen: Sequence[Tensor], own_BPT: Tensor, other_BPT: Tensor) -> Tensor:
    """How far attention is from naming things right: log 2 where it does not tell them apart.

    The mean over blocks and tokens of -log of what the own words have of all names' attention,
    which is summed over the heads: some may look elsewhere. seen: of each block, the weights by
    which all tokens look at all, text first. [B, H, L, L] each
    """
    length, is_bound = own_BPT.shape[2], own_BPT.any(2) & other_BPT.any(2)
    if not is_bound.any():
        return seen[0].new_zeros(())
    errors = []
    for weights in seen[FIRST_BLOCK:]:
        at_words = weights[:, :, length:, :length].float().mean(1)
        own, other = ((at_words * mask).sum(2) for mask in (own_BPT, other_BPT))
        errors.append(-((own + LEAST) / (own + other + LEAST)).log()[is_bound].mean())
    return torch.stack(errors).mean()
