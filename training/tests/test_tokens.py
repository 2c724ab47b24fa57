"""Captions become token ids, and it is known which of these name a thing."""

from random import Random

from linocut_training import binding
from linocut_training.batches import Source
from linocut_training.plans import Plan
from linocut_training.tokens import Tokens

PLAN = Plan(batch=8, short_text=4, window_share=1, arranged_is_new=True)
LENGTH = 24


def test_the_rows_that_name_a_thing_are_its_tokens(training_folder) -> None:
    batch = Source(training_folder, PLAN)._window("beside", Random(1))
    tokens = Tokens(training_folder)
    rows = tokens.rows(batch.captions)
    length = max(map(len, rows)) + 3
    every = tokens.named(batch, length)
    assert 0 < sum(named is None for named in every) < len(every)
    for row, words, names, named in zip(rows, batch.captions, batch.names, every, strict=True):
        padded = [0] * (length - len(row)) + row
        letters = binding.spans(words, names)
        if named is None:  # the toy reads a few words only
            assert len(row) == LENGTH
            continue
        assert letters is not None
        for (begin, end), (first, last) in zip(named, letters, strict=True):
            said = tokens.tokenizer.decode(padded[begin:end]).strip()
            assert said == words[first:last].lower()
