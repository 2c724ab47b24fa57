"""The flags of `generate`: names and defaults are the API's; a command gets them as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any

import pytest
import typer

from linocut.cli.flags import Flags, takes
from linocut.request import ImageRequest

Run = Callable[..., Any]


def test_what_a_request_has_too_has_the_same_default() -> None:
    asked = {field.name: field.default for field in fields(ImageRequest)}
    told = {field.name: field.default for field in fields(Flags)}
    shared = set(asked) & set(told) - {"prompt", "width", "height", "seed", "mode"}
    assert shared == {"num_inference_steps", "guidance", "prompt_strength", "preview"}
    assert {name: told[name] for name in shared} == {name: asked[name] for name in shared}


def test_every_flag_has_a_word_of_help(linocut: Run) -> None:
    done = linocut("generate", "--help")
    assert done.code == 0
    text = done.out.decode()
    for field in fields(Flags):
        if field.name != "prompt":
            assert f"--{field.name.replace('_', '-')}" in text
    assert "Draw a picture from words" in text


def test_a_command_gets_its_flags_as_one_value(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Two:
        name: Annotated[str, typer.Argument()]
        times: Annotated[int, typer.Option(help="How often.")] = 2

    globals()["Two"] = Two
    seen: list[Two] = []

    @takes(Two)
    def greet(flags: Two) -> None:
        """Greet."""
        seen.append(flags)

    app = typer.Typer()
    app.command()(greet)
    typer.main.get_command(app).main(args=["Ada", "--times", "3"], standalone_mode=False)
    assert seen == [Two(name="Ada", times=3)]
    assert greet.__doc__ == "Greet."
