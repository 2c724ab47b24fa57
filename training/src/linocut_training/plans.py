"""How long the transformer's training is, in four stages, and what its batches are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how fast. The shipped checkpoint saw all stages, edition by edition.

    weaker_after: the share of stage one after which its network is what stage two calls weaker.
    taught_batch: what a teacher teaches in stage four, if not as many: it has no noise of pictures.
    edit_share, other_share: batches with reference pictures, and batches off the square grid;
    together_share: of the former, those with two, whose things come together in one picture;
    shaped_share: the latter in stage four, which is about them, of what is no edit.
    newest_share: of the pictures that stage one's captions ask for, those of the newest things;
    None where all are new to the network.
    arranged_share: batches of several things or small ones, of what is no edit. arranged_is_new:
    whether the teachers do not know them, so that stage four learns them from pictures.
    window_share: of those batches, how many show only the part of the square that the things stand
    in, at a guidance of 1: of half as many tokens as much is learned of the things.
    new_styles, new_things_share, new_share: styles that the teachers do not know, or take for
    others; whether some things are as new to them, and of what is new how many pictures show
    these (none where teachers know them); batches of all that, which is learned from pictures, too.
    new_things: which these are, by `batches.NEW_THINGS`.
    known: what the checkpoint before teaches in stage four, by `batches.KNOWN`.
    leads_away: whether stage four's teachers lead away from other styles, as stage three does.
    last_stage_share: of the learning rates, where stage four begins.
    short_text: text rows of most steps, or the longest caption's: it leaves most of the padding
    out. full_text_every: a step in so many has all rows, as drawing has.
    """

    steps: int = 4000
    guided_steps: int = 350
    styled_steps: int = 200
    shaped_steps: int = 3500
    weaker_after: float = 0.2
    batch: int = 50
    taught_batch: int | None = None
    muon_rate: float = 2e-3
    adam_rate: float = 1e-3
    text_share: float = 0.25
    edit_share: float = 0.16
    together_share: float = 0
    other_share: float = 0.35
    shaped_share: float = 0.8
    newest_share: float | None = None
    arranged_share: float = 0.15
    arranged_is_new: bool = False
    window_share: float = 0
    new_styles: tuple[str, ...] = ()
    new_things: str = "newest"
    new_things_share: float = 0
    new_share: float = 0
    known: str = "nothing"
    leads_away: bool = False
    last_stage_share: float = 0.4
    short_text: int = 12
    full_text_every: int = 8
    seed: int = 0
    save_every: int = 50

    @property
    def guided_end(self) -> int:
        """The step at which stage three begins."""
        return self.steps + self.guided_steps

    @property
    def styled_end(self) -> int:
        """The step at which stage four begins."""
        return self.guided_end + self.styled_steps

    @property
    def end(self) -> int:
        """How many steps there are."""
        return self.styled_end + self.shaped_steps

    def has_full_text(self, step: int) -> bool:
        """Whether a step has all rows of text."""
        return step % self.full_text_every == 0

    def share_off_square(self, step: int, *, is_taught: bool) -> float:
        """Of the batches at a step, taught in stage four or not: how many are off the square."""
        return self.shaped_share if is_taught and step >= self.styled_end else self.other_share


WHOLE = Plan()  # from nothing
# From an earlier edition, which knows the things, and learns other ways to draw and to edit them.
GOING_ON = Plan(
    steps=800, guided_steps=70, styled_steps=70, shaped_steps=390,
    edit_share=0.3, other_share=0.25,
)  # fmt: skip
# The same, with things that it does not know, beside those that it does, which it teaches anew in
# stage four.
GROWING = Plan(
    steps=1500, guided_steps=120, styled_steps=60, shaped_steps=700,
    edit_share=0.12, other_share=0.15, shaped_share=0.5, newest_share=0.85, known="things before",
)  # fmt: skip
# Stage three or four alone, from one that guidance is distilled into. Their steps have no noise of
# pictures, so that few at a time are enough. RESHAPING mends what a growth leaves behind: wide and
# tall canvases, and edits, which have to be seen oftener the more things there are. RECALLING is
# stage four with earlier.pt, the checkpoint before, in the work folder; the seventh edition took
# 350 of its steps.
RESTYLING = Plan(steps=0, guided_steps=0, styled_steps=250, shaped_steps=0, batch=16)
RESHAPING = Plan(
    steps=0, guided_steps=0, styled_steps=0, shaped_steps=1800, batch=32,
    edit_share=0.5, other_share=0.2, shaped_share=0.9,
)  # fmt: skip
RECALLING = replace(
    RESHAPING, shaped_steps=450, edit_share=0.16, other_share=0.3, shaped_share=0.3,
    newest_share=0.85, known="things before",
)  # fmt: skip
# Stage four that teaches what no checkpoint knows, or knows badly: pixel art, black and white, and
# several things in a picture. It learns these from pictures, and what is known as RESHAPING does,
# from earlier.pt, too.
ENRICHING = replace(
    RESHAPING, shaped_steps=2300, taught_batch=24, full_text_every=16, edit_share=0.15,
    other_share=0.2, shaped_share=0.5, arranged_share=0.6, arranged_is_new=True, window_share=0.85,
    new_styles=("pixel", "grayscale"), new_share=0.14, known="drawn styles", leads_away=True,
    last_stage_share=0.7,
)  # fmt: skip
# The same with the newest things, and flat pictures. So many steps teach half of eighty things, and
# cost some of what is known of several in a picture: what ships has not taken it (decision 11).
WIDENING = replace(
    ENRICHING, shaped_steps=1750, batch=48, taught_batch=32, edit_share=0.2, arranged_share=0.2,
    new_styles=("flat", "pixel", "grayscale"), new_things_share=0.82, new_share=0.46, seed=13,
)  # fmt: skip
# Stage four from itself alone: the checkpoint teaches what it knows, and learns from pictures what
# its evaluation found it unsure about, and flat ones. What ships has not taken it (decision 11).
PRACTISING = replace(
    RESHAPING, shaped_steps=280, full_text_every=16, edit_share=0.12, shaped_share=0.3,
    arranged_share=0.12, new_styles=("flat",), new_things="unsure", new_things_share=0.75,
    new_share=0.45, leads_away=True, last_stage_share=0.5, seed=14,
)  # fmt: skip
# Stage four from itself alone, mostly edits of style. What ships has not taken it: a mean of the
# twelfth edition, PRACTISING and this promises more (decisions 11 and 12).
EDITING = replace(
    RESHAPING, shaped_steps=850, full_text_every=16, edit_share=0.72, other_share=0.1,
    shaped_share=0.35, arranged_share=0.25, leads_away=True, last_stage_share=0.7, seed=15,
)  # fmt: skip
PLANS = {
    "whole": WHOLE,
    "going-on": GOING_ON,
    "growing": GROWING,
    "restyling": RESTYLING,
    "reshaping": RESHAPING,
    "recalling": RECALLING,
    "enriching": ENRICHING,
    "widening": WIDENING,
    "practising": PRACTISING,
    "editing": EDITING,
}


def on_gpu(plan: Plan) -> Plan:
    """The same for one GPU, which takes ten times the batch in less time than a core takes its own.

    Reckoned from the work of a step, not yet run on one.
    """
    taught = plan.taught_batch and 10 * plan.taught_batch
    return replace(plan, batch=10 * plan.batch, taught_batch=taught, save_every=500)
