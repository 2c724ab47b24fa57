"""How long the transformer's training is, in three stages, and what its batches are made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how fast. The shipped checkpoint saw all stages, in three editions.

    weaker_after: the share of stage one after which its network is what stage two calls weaker.
    edit_share, other_share: batches with a reference picture, and batches off the square grid.
    short_text: text rows of most steps, or the longest caption's: it leaves most of the padding
    out. full_text_every: a step in so many has all rows, as drawing has.
    """

    steps: int = 4000
    guided_steps: int = 350
    styled_steps: int = 200
    weaker_after: float = 0.2
    batch: int = 50
    muon_rate: float = 2e-3
    adam_rate: float = 1e-3
    text_share: float = 0.25
    edit_share: float = 0.16
    other_share: float = 0.35
    short_text: int = 12
    full_text_every: int = 8
    seed: int = 0
    save_every: int = 50

    @property
    def guided_end(self) -> int:
        """The step at which stage three begins."""
        return self.steps + self.guided_steps

    @property
    def end(self) -> int:
        """How many steps there are."""
        return self.guided_end + self.styled_steps


WHOLE = Plan()  # from nothing
# From an earlier edition, which knows the shapes.
GOING_ON = Plan(steps=1000, guided_steps=150, styled_steps=80)
# From one that guidance is distilled into: stage three alone. Its steps have no noise of pictures.
RESTYLING = Plan(steps=0, guided_steps=0, styled_steps=250, batch=16)
PLANS = {"whole": WHOLE, "going-on": GOING_ON, "restyling": RESTYLING}
# One GPU takes five times the batch in less time than two processor cores take theirs. Reckoned
# from the work of a step, not yet run on one.
ON_GPU = Plan(guided_steps=1000, batch=512, save_every=1000)
