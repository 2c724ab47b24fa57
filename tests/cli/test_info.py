"""`linocut info`: a picture's parameters, or a checkpoint's sizes."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from linocut.catalog import DEV
from linocut.cli.info import checkpoint_values
from linocut.images.encode import FORMATS, Format, encode
from linocut.images.metadata import Metadata, read_metadata
from linocut.request import Picture
from linocut.weights.files import open_checkpoint

Run = Callable[..., Any]
METADATA = Metadata(
    prompt='a "red" apple\'s\n\x1b[31m leaf',
    seed=4711,
    width=64,
    height=80,
    drawn_width=64,
    drawn_height=80,
    num_inference_steps=28,
    guidance=3.5,
    prompt_strength=1.0,
    references=0,
    checkpoint="linocut-mini",
    mode="exact",
    demo=True,
    software="linocut 0.1.0",
)


def drawn(path: Path, metadata: Metadata = METADATA, *, format: Format = "png") -> Path:
    """A picture's file as `generate` leaves it."""
    path.write_bytes(encode(Picture(64, 80, bytes(15360)), format=format, metadata=metadata))
    return path


@pytest.mark.parametrize("format", FORMATS)
def test_a_picture_says_how_it_was_made(linocut: Run, folder: Path, format: Format) -> None:
    done = linocut("info", drawn(folder / "a", format=format))
    assert done.code == 0
    rows = dict(line.split(maxsplit=1) for line in done.lines)
    assert rows["size"] == "64 x 80"
    assert rows["prompt"] == 'a "red" apple\'s\\n\\x1b[31m leaf'
    assert (rows["seed"], rows["guidance"], rows["checkpoint"]) == ("4711", "3.5", "linocut-mini")
    assert rows["ai_generated"] == "yes"


def test_json_has_the_exact_values(linocut: Run, folder: Path) -> None:
    done = linocut("info", drawn(folder / "a.png"), "--json")
    values = json.loads(done.out)
    assert values["metadata"] == METADATA.to_json()
    assert (values["width"], values["height"]) == (64, 80)


@pytest.mark.parametrize("prompt", ["it's -- red", "--help", "- a dash", " $HOME `x` "])
def test_the_command_that_draws_it_again_is_told(
    linocut: Run, fake: Any, folder: Path, prompt: str
) -> None:
    guidance = 3.1415926
    values = values_of(METADATA) | {"prompt": prompt, "guidance": guidance}
    told = linocut("info", drawn(folder / "a.png", Metadata(**values))).lines
    rows = dict(line.split(maxsplit=1) for line in told)
    command = shlex.split(rows["again"])
    assert command[0] == "linocut"
    assert linocut(command[1], "-o", "b.png", *command[2:]).code == 0
    again = read_metadata((folder / "b.png").read_bytes())
    assert again is not None
    assert (again.prompt, again.seed, again.guidance) == (prompt, 4711, guidance)


def values_of(metadata: Metadata) -> dict[str, Any]:
    values = metadata.to_json()
    del values["ai_generated"]
    return values


@pytest.mark.parametrize(
    "other",
    [
        {"references": 1},
        {"checkpoint": "a-folder-of-mine"},
        *({"prompt": prompt} for prompt in (None, "-", "", "  ", "two\nlines", "a \x1b[31m leaf")),
    ],
)
def test_no_command_is_made_up_where_the_file_is_not_enough(
    linocut: Run, folder: Path, other: dict[str, Any]
) -> None:
    values = values_of(METADATA) | {"prompt": "a leaf"} | other
    path = drawn(folder / "a.png", Metadata(**values))
    assert not any(line.startswith("again") for line in linocut("info", path).lines)


def test_a_prompt_that_was_left_out_is_said_to_be(linocut: Run, folder: Path) -> None:
    done = linocut("info", drawn(folder / "a.png", METADATA.without_prompt()))
    assert any(
        line.split(maxsplit=1) == ["prompt", "(left out of the file)"] for line in done.lines
    )


def test_a_picture_of_another_program_has_a_size_and_no_parameters(
    linocut: Run, folder: Path
) -> None:
    Image.new("RGB", (30, 20)).save(folder / "a.jpg")
    done = linocut("info", "a.jpg")
    assert done.code == 0
    assert "30 x 20" in done.lines[1]
    assert "no metadata" in done.lines[2]
    assert json.loads(linocut("info", "a.jpg", "--json").out)["metadata"] is None


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("missing", None, "there is no file, folder or checkpoint missing"),
        ("x" * 5000, None, "x" * 5000 + " cannot be looked at: File name too long"),
        ("a.txt", b"hello", "a.txt is no picture"),
        ("a.safetensors", b"\0" * 64, "a.safetensors is no picture"),
    ],
)
def test_what_is_no_picture_is_two_lines(
    linocut: Run, name: str, data: bytes | None, message: str
) -> None:
    if data is not None:
        Path(name).write_bytes(data)
    done = linocut("info", name)
    assert (done.code, done.out) == (3, b"")
    assert done.err.startswith(f"error: {message}")
    assert len(done.err.splitlines()) == 2


def test_a_folder_that_is_no_checkpoint_is_told(linocut: Run, folder: Path) -> None:
    done = linocut("info", folder)
    assert (done.code, done.out) == (4, b"")
    assert "is no checkpoint" in done.err


def test_a_known_name_that_is_not_here_says_how_to_get_it(linocut: Run) -> None:
    done = linocut("info", "flux-2-dev")
    assert (done.code, done.out) == (4, b"")
    assert "hint: linocut pull flux-2-dev" in done.err


def test_a_checkpoint_says_what_it_is_and_needs(linocut: Run, tiny_folder: Path) -> None:
    done = linocut("info", tiny_folder)
    assert done.code == 0, done.err
    text = done.out.decode()
    for words in ("tiny", "diffusers", "2 double, 3 single, 64 wide, 2 heads", "in bfloat16",
                  "24 tokens, hidden states 1, 2, 3"):  # fmt: skip
        assert words in text


TAUGHT = {
    "things": {"food": {"red apple": ["apple"], "pear": []}, "animals": {"fox": []}},
    "styles": ["3D", "flat"],
    "backgrounds": ["white", "teal"],
}


@pytest.fixture
def taught(tiny_folder: Path, tmp_path: Path) -> Path:
    """A checkpoint that was taught three things."""
    folder = shutil.copytree(tiny_folder, tmp_path / "taught")
    (folder / "repertoire.json").write_text(json.dumps(TAUGHT), encoding="utf-8")
    return folder


def test_what_a_checkpoint_was_taught_is_counted_and_listed(linocut: Run, taught: Path) -> None:
    (line,) = [line for line in linocut("info", taught).lines if line.startswith("taught")]
    assert line.split(maxsplit=1)[1] == (
        "3 things in 2 styles on 2 backgrounds; --things lists them"
    )
    counted = json.loads(linocut("info", taught, "--json").out)["taught"]
    assert counted == {"things": 3, "styles": 2, "backgrounds": 2}
    done = linocut("info", taught, "--things")
    assert [line.split(maxsplit=1) for line in done.lines] == [
        ["food", "red apple, pear"],
        ["animals", "fox"],
        ["(styles)", "3D, flat"],
        ["(backgrounds)", "white, teal"],
    ]
    listed = json.loads(linocut("info", taught, "--things", "--json").out)
    assert listed["things"] == {"food": ["red apple", "pear"], "animals": ["fox"]}


def test_things_are_listed_of_what_was_taught_some_and_of_nothing_else(
    linocut: Run, tiny_folder: Path, folder: Path
) -> None:
    refused = linocut("info", tiny_folder, "--things")
    assert refused.code == 4
    assert "no list of what it was taught" in refused.err
    assert json.loads(linocut("info", tiny_folder, "--json").out)["taught"] is None
    picture = linocut("info", drawn(folder / "a.png"), "--things")
    assert picture.code == 2
    assert "--things" in picture.err


def test_a_checkpoint_without_taps_is_told_them(
    linocut: Run, tiny_folder: Path, tmp_path: Path
) -> None:
    silent = shutil.copytree(tiny_folder, tmp_path / "silent")
    (silent / "linocut.json").unlink()
    refused = linocut("info", silent)
    assert refused.code == 4
    assert "hint: say it with --text-layers" in refused.err
    done = linocut("info", silent, "--text-layers", "0,1,2", "--json")
    assert done.code == 0
    assert json.loads(done.lines[0])["configuration"]["text_layers"] == [0, 1, 2]


def test_single_files_without_an_encoder_are_shown_without_one(
    linocut: Run, without_encoder: Path, single_files: Path
) -> None:
    done = linocut("info", without_encoder)
    assert done.code == 0, done.err
    rows = dict(line.split(maxsplit=1) for line in done.lines)
    assert "put the folders text_encoder and tokenizer" in rows["problem"]
    assert not {"text", "safety"} & rows.keys()  # nor any row of another name that begins so
    values = json.loads(linocut("info", without_encoder, "--json").out)
    whole = json.loads(linocut("info", single_files, "--json").out)
    assert whole["problem"] is None
    assert values["parameters"]["text_encoder"] == 0
    assert values["configuration"]["text_layers"] is None
    assert values["safety_model_memory"] is None
    assert values["memory"]["float32"] < 10e9  # FLUX.2 [dev]'s encoder alone would take 69 GB


def test_a_checkpoint_s_numbers_are_counted_and_not_guessed(tiny_folder: Path) -> None:
    checkpoint = open_checkpoint(tiny_folder)
    values = checkpoint_values(checkpoint)
    stored = sum(tensor.size // 4 for tensor in checkpoint.transformer.tensors.values())
    assert values["parameters"]["transformer"] == stored
    assert values["bytes"] >= 4 * stored
    assert values["memory"]["float32"] > values["memory"]["bfloat16"]
    assert values["safety_model_memory"] is None
    json.dumps(values, default=str)


def test_dev_s_numbers_are_the_published_ones(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = open_checkpoint(tiny_folder)
    fields = {name: getattr(tiny, name) for name in type(tiny).__dataclass_fields__}
    dev = type(tiny)(**(fields | {"config": DEV, "name": "flux-2-dev"}))
    values = checkpoint_values(dev)
    assert values["parameters"]["transformer"] == 32_223_281_152
    assert values["licence"] == "FLUX Non-Commercial License"
    assert values["memory"]["bfloat16"] > 100e9
    assert round(values["safety_model_memory"]["bfloat16"] / 1e9, 1) == 12.5
