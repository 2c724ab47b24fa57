"""Pictures are drawn once, by what they are drawn of; a file is there whole or not at all."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from linocut.engine import Engine
from linocut.request import ImageRequest, Picture
from linocut_training import drawing

CHECKPOINT = Path(__file__).parents[2] / "checkpoints/linocut-mini/src/linocut_mini/checkpoint"
SMALL = ImageRequest(prompt="a red apple", width=64, height=64, num_inference_steps=1)
REQUESTS = {f"apple-{seed}": replace(SMALL, seed=seed) for seed in (1, 2, 3)}
GRAY = Picture(64, 64, bytes([128]) * 3 * 64 * 64)


def drawn(folder: Path, requests: dict[str, ImageRequest] = REQUESTS) -> set[str]:
    """The names of the pictures that are drawn when these are asked for."""
    before = {it.name: it.stat().st_mtime_ns for it in folder.glob("*.png")}
    drawing.draw_in_processes(CHECKPOINT, requests, folder, 1)
    return {it.stem for it in folder.glob("*.png") if before.get(it.name) != it.stat().st_mtime_ns}


def test_what_is_there_is_not_drawn_again_and_what_is_of_another_request_is(tmp_path) -> None:
    assert drawn(tmp_path) == set(REQUESTS)
    with Engine.open(CHECKPOINT, device="cpu") as engine:
        picture = engine.draw(REQUESTS["apple-2"]).picture
    assert drawing.read(tmp_path / "apple-2.png").tobytes() == picture.rgb
    other = replace(SMALL, seed=2, references=(GRAY,))
    with Image.open(tmp_path / "apple-3.png") as image:
        image.save(tmp_path / "apple-3.png")  # who knows what of
    assert drawn(tmp_path, REQUESTS | {"apple-2": other}) == {"apple-2", "apple-3"}


@pytest.mark.parametrize("changed", ["nothing", "weights", "code"])
def test_other_weights_or_other_code_draw_all_anew(changed, tmp_path, monkeypatch) -> None:
    source = f"{drawing.fingerprint(CHECKPOINT)}/{drawing._code()}"
    drawing.draw_share(lambda _: GRAY, REQUESTS, tmp_path, source=source)
    if changed == "weights":
        monkeypatch.setattr(drawing, "fingerprint", lambda _: "other")
    if changed == "code":
        monkeypatch.setattr(drawing.linocut, "__file__", str(tmp_path / "linocut" / "__init__.py"))
    asked = []

    def spawn(_: object, args: tuple, nprocs: int) -> None:
        asked.append(args[0][:nprocs])

    monkeypatch.setattr(drawing.mp, "spawn", spawn)
    drawing.draw_in_processes(CHECKPOINT, REQUESTS, tmp_path, 5)
    if changed == "nothing":
        assert asked == []
    else:
        (shares,) = asked
        assert [len(share) for share in shares] == [1, 1, 1]  # and no process has nothing to do
        assert {name: it for share in shares for name, it in share.items()} == REQUESTS


def test_a_drawing_that_fails_leaves_no_half_a_picture(tmp_path, monkeypatch) -> None:
    def cut_off(self: Image.Image, file: Path, *_: object, **__: object) -> None:
        file.write_bytes(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(Image.Image, "save", cut_off)
    with pytest.raises(OSError, match="full"):
        drawing.draw_share(lambda _: GRAY, REQUESTS, tmp_path)
    assert not list(tmp_path.glob("*.png"))


def test_a_checkpoint_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(SystemExit, match="nowhere: no such checkpoint folder"):
        drawing.draw_in_processes(tmp_path / "nowhere", REQUESTS, tmp_path, 1)
