"""The demo checkpoint as people meet it: the README's pictures, and the model card's call."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, Final

import linocut_mini
import numpy as np
import pytest
from PIL import Image

from linocut import Engine, ImageRequest

ROOT: Final = Path(__file__).parents[1]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
CARD: Final = ROOT / "checkpoints" / "linocut-mini" / "README.md"


def example(name: str) -> Any:
    """A script of examples/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def levels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB"), dtype=np.int16)


def test_the_readme_shows_what_this_checkpoint_draws() -> None:
    pictures = example("first_pictures")
    with Image.open(pictures.TARGET) as shown:
        difference = np.abs(levels(shown) - levels(pictures.drawn())).max()
    # Byte for byte on the processor that drew them; another one may round differently.
    assert difference <= 2


def test_the_readme_says_what_its_pictures_show() -> None:
    caption = README.split("first-pictures.png)")[1].split("These are")[0]
    assert tuple(" ".join(caption.split()).split(" · ")) == example("first_pictures").PROMPTS


def test_the_line_of_the_readme_draws_its_tile(tmp_path: Path) -> None:
    (line,) = re.findall(r"^\$ (make image PROMPT=.* SEED=1 .*)$", README, re.MULTILINE)
    words, pictures = shlex.split(line), example("first_pictures")
    prompt = words[2].removeprefix("PROMPT=")
    command = tmp_path / "linocut"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m linocut "$@"\n')
    command.chmod(0o755)
    # The line as it stands, with what is installed for these tests in place of `make setup`.
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": ""}
    for told in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # by a `make test` around this one
        environment.pop(told, None)
    done = subprocess.run(
        [*words, "-f", ROOT / "Makefile", "-o", ".venv/.engine", f"BIN={tmp_path}"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    name = f"{prompt.replace(' ', '-')}-1.png"
    assert (done.returncode, done.stdout) == (0, f"{name}\n"), done.stderr
    left, top = pictures.corner(pictures.PROMPTS.index(prompt))
    with Image.open(pictures.TARGET) as shown, Image.open(tmp_path / name) as ours:
        tile = shown.crop((left, top, left + pictures.SIDE, top + pictures.SIDE))
        assert np.abs(levels(tile) - levels(ours)).max() <= 2


@pytest.mark.parametrize(("width", "height"), [(256, 256), (192, 320), (320, 192)])
def test_the_call_in_the_model_card_draws_linocuts_picture(width: int, height: int) -> None:
    (call,) = re.findall(
        r"^```python\n(.*?)^```", CARD.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    call = call.replace("height=256", f"height={height}").replace("width=256", f"width={width}")
    call = call.replace("num_inference_steps=28", "num_inference_steps=6")
    names: dict[str, Any] = {"DIR": str(linocut_mini.path())}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # diffusers announces its own future renamings
        exec(call, names)  # noqa: S102 (the card's own words are what is tested)
    request = ImageRequest(
        prompt="a red apple", width=width, height=height, num_inference_steps=6, seed=1
    )
    with Engine.open("linocut-mini", device="cpu") as engine:
        done = engine.draw(request)
    assert (done.drawn_width, done.drawn_height) == (width, height)
    ours = np.frombuffer(done.picture.rgb, np.uint8).reshape(height, width, 3)
    assert np.abs(levels(names["picture"]) - ours.astype(np.int16)).max() <= 1
