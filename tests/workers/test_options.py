"""What a worker is started with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from linocut.safety.policy import SafetyModel
from linocut.workers.options import FAKE, Options, command, options_of, read, reader

names = st.lists(st.from_regex(r"[a-z_.]{1,9}:[A-Z.]{1,9}", fullmatch=True)).map(tuple)
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(
    st.builds(
        Options,
        checkpoint=words,
        home=st.none() | words.map(Path),
        device=words,
        dtype=st.none() | words,
        threads=st.none() | st.integers(1, 64),
        text_layers=st.none() | st.lists(st.integers(0, 99), min_size=1).map(tuple),
        prompt_checks=names,
        picture_checks=names,
        safety_model=st.sampled_from(get_args(SafetyModel)),
    )
)
def test_options_come_out_of_their_arguments_again(options: Options) -> None:
    assert read(options.arguments(), "") == options


def test_nothing_said_is_the_default() -> None:
    assert read([], "") == Options()


def test_a_command_starts_a_module_of_this_python_and_may_say_more() -> None:
    said = command(Options(threads=2), "--step-seconds=1", module=FAKE)
    assert said[:3] == (sys.executable, "-m", "linocut.workers.fake")
    assert said[-2:] == ("--threads=2", "--step-seconds=1")


def test_a_module_may_read_arguments_of_its_own() -> None:
    parser = reader("")
    parser.add_argument("--colour")
    said = parser.parse_args(["--colour=red", "--device=cpu"])
    assert (said.colour, options_of(said)) == ("red", Options(device="cpu"))
