"""`linocut generate`: one path on standard output, everything else in words on standard error."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from linocut.cli.generate import SEEDS
from linocut.errors import DoesNotFit, LinocutError
from linocut.images.metadata import read_metadata

Run = Callable[..., Any]
SMALL = ("--width", "64", "--height", "64", "--num-inference-steps", "4")


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_path_is_all_that_is_printed(linocut: Run, fake: Any, folder: Path) -> None:
    done = linocut("generate", "A red apple!", "--seed", "7")
    assert (done.code, done.lines) == (0, ["a-red-apple-7.webp"])
    with Image.open(folder / "a-red-apple-7.webp") as image:
        assert (image.format, image.size) == ("WEBP", (1024, 1024))
    assert listing(folder) == ["a-red-apple-7.webp"]


def test_the_defaults_are_the_api_s(linocut: Run, fake: Any) -> None:
    linocut("generate", "x")
    request = fake.requests[0]
    assert (request.width, request.height, request.mode) == (1024, 1024, "exact")
    assert (request.num_inference_steps, request.guidance) == (28, 3.0)
    assert (request.prompt_strength, request.references, request.preview) == (1.0, (), False)


def test_every_flag_reaches_the_request(linocut: Run, fake: Any, folder: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (80, 64), "red").save(folder / name)
    done = linocut(
        "generate", "x", "--image", "a.png", "--image", "b.png", "--prompt-strength", "0.5",
        "--num-inference-steps", "9", "--guidance", "4.5", "--width", "96", "--height", "80",
        "--seed", "11", "--mode", "bf16",
    )  # fmt: skip
    assert done.code == 0
    request = fake.requests[0]
    assert (request.width, request.height, request.seed, request.mode) == (96, 80, 11, "bf16")
    assert (request.num_inference_steps, request.guidance) == (9, 4.5)
    assert request.prompt_strength == 0.5
    assert [(p.width, p.height) for p in request.references] == [(80, 64), (80, 64)]


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ((), (1216, 848)),
        (("--megapixels", "0.25"), (608, 416)),
        (("--aspect-ratio", "match_input_image"), (1216, 848)),
        (("--aspect-ratio", "1:1"), (1024, 1024)),
        (("--width", "96", "--height", "80"), (96, 80)),
    ],
)
def test_an_edit_has_the_shape_of_its_picture_unless_told_else(
    linocut: Run, fake: Any, folder: Path, arguments: tuple[str, ...], size: tuple[int, int]
) -> None:
    Image.new("RGB", (1000, 700), "red").save(folder / "a.png")
    assert linocut("generate", "x", "--image", "a.png", *arguments).code == 0
    request = fake.requests[0]
    assert (request.width, request.height) == size


def test_what_cannot_be_matched_is_refused(linocut: Run, fake: Any, folder: Path) -> None:
    alone = linocut("generate", "x", "--aspect-ratio", "match_input_image")
    assert (alone.code, "there is no picture to match" in alone.err) == (2, True)
    Image.new("RGB", (6400, 64), "red").save(folder / "strip.png")
    strip = linocut("generate", "x", "--image", "strip.png")
    assert strip.code in {2, 3}
    assert "6400" in strip.err
    assert fake.requests == []


def test_flags_say_which_engine_is_opened(
    linocut: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def opened(checkpoint: str, **options: Any) -> None:
        seen.update(options, checkpoint=checkpoint)
        raise DoesNotFit("no")

    monkeypatch.setattr("linocut.engine.engine.Engine.open", opened)
    monkeypatch.setenv("LINOCUT_HOME", "/somewhere")
    done = linocut(
        "generate", "x", "--checkpoint", "flux-2-dev", "--device", "cpu", "--dtype", "bfloat16",
        "--text-layers", "2, 4,6",
    )  # fmt: skip
    assert done.code == DoesNotFit.exit_code
    assert seen == {
        "checkpoint": "flux-2-dev", "home": Path("/somewhere"), "device": "cpu",
        "dtype": "bfloat16", "text_layers": (2, 4, 6),
    }  # fmt: skip


def test_without_a_mode_the_device_s_first_is_taken(linocut: Run, fake: Any) -> None:
    fake.placement.default_mode = "bf16"
    linocut("generate", "x", *SMALL)
    assert fake.requests[0].mode == "bf16"


@pytest.mark.parametrize("seed", [(), ("--seed", "-1")])
def test_a_seed_is_drawn_and_told(linocut: Run, fake: Any, seed: tuple[str, ...]) -> None:
    done = linocut("generate", "x", *SMALL, *seed)
    drawn = fake.requests[0].seed
    assert 0 <= drawn < SEEDS
    assert done.lines == [f"x-{drawn}.webp"]
    assert f"seed {drawn}" in done.err


def test_two_runs_draw_two_seeds(linocut: Run, fake: Any) -> None:
    for _ in range(2):
        linocut("generate", "x", *SMALL)
    assert len({request.seed for request in fake.requests}) == 2


@pytest.mark.parametrize(
    ("flags", "size"),
    [
        (("--megapixels", "0.25"), (512, 512)),
        (("--aspect-ratio", "16:9"), (1344, 768)),
        (("--aspect-ratio", "4:5", "--megapixels", "0.25"), (448, 544)),
        (("--width", "640", "--height", "480"), (640, 480)),
    ],
)
def test_the_size_is_what_was_said(
    linocut: Run, fake: Any, flags: tuple[str, ...], size: tuple[int, int]
) -> None:
    linocut("generate", "x", *flags)
    assert (fake.requests[0].width, fake.requests[0].height) == size


@pytest.mark.parametrize(
    ("flags", "message", "hint"),
    [
        (("--width", "640", "--aspect-ratio", "1:1"), "--aspect-ratio and --width", "leave one"),
        (("--width", "64", "--height", "64", "--megapixels", "1"), "--megapixels and", "leave one"),
        (("--width", "640"), "--height is missing", "give --width and --height"),
        (("--height", "640"), "--width is missing", "give --width and --height"),
        (("--width", "650", "--height", "640"), "width=650", "the nearest is 656"),
        (("--aspect-ratio", "7:5"), "aspect_ratio='7:5'", ""),
        (("--megapixels", "2"), "megapixels='2': use one of 1, 0.25", ""),
        (("--num-inference-steps", "0"), "num_inference_steps=0", ""),
        (("--num-inference-steps", "51"), "num_inference_steps=51", ""),
        (("--guidance", "nan"), "guidance=nan", ""),
        (("--guidance", "11"), "guidance=11.0", ""),
        (("--prompt-strength", "1.5"), "prompt_strength=1.5", ""),
        (("--seed", "-2"), "seed=-2", ""),
        (("--seed", "9007199254740992"), "seed=9007199254740992", ""),
        (("--output-quality", "101"), "output_quality=101", ""),
        (("--text-layers", "a,b"), "text_layers='a,b'", ""),
        (("--text-layers", "1,,2"), "text_layers='1,,2'", ""),
        (("-o", "a.png", "--output-format", "webp"), "the name says png", "leave one of them"),
        (("-o", "a.gif"), "no picture is written as .gif", "use .webp, .jpg, .jpeg, .png"),
        (("-o", "-", "--json"), "--json and -o - both", "use -o FILE"),
    ],
)
def test_wrong_flags_are_told_before_anything_is_loaded(
    linocut: Run, fake: Any, flags: tuple[str, ...], message: str, hint: str
) -> None:
    done = linocut("generate", "x", *flags)
    assert (done.code, done.out) == (2, b"")
    error, *rest = done.err.splitlines()
    assert error.startswith(f"error: {message}")
    assert len(rest) <= 1
    assert hint in "".join(rest)
    assert fake.requests == []
    assert listing(Path()) == []


@pytest.mark.parametrize("flags", [("--seed", "x"), ("--output-format", "gif"), ("--wrong",), ()])
def test_usage_errors_have_the_same_two_lines(linocut: Run, flags: tuple[str, ...]) -> None:
    done = linocut("generate", *(("x", *flags) if flags else ()))
    assert (done.code, done.out) == (2, b"")
    assert re.fullmatch(r"error: .+\nhint: linocut generate --help\n", done.err)


def test_a_prompt_comes_from_standard_input(linocut: Run, fake: Any) -> None:
    done = linocut("generate", "-", *SMALL, stdin="ein Käfer,\nzwei\n".encode())
    assert done.code == 0
    assert fake.requests[0].prompt == "ein Käfer,\nzwei"


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        (b"", "the prompt is empty"),
        (b" \n", "the prompt is empty"),
        (b"\xff\xfe", "standard input is not UTF-8 text"),
        (b"x" * 20_001, "the prompt has 20,001 characters"),
        (b"x" * 10_000_000, "the prompt has more than 20,000 characters"),
        (("\U0001f34e" * 20_001).encode(), "the prompt has more than 20,000 characters"),
    ],
)
def test_a_prompt_that_cannot_be_is_refused(
    linocut: Run, fake: Any, stdin: bytes, message: str
) -> None:
    done = linocut("generate", "-", stdin=stdin)
    assert (done.code, done.out) == (2, b"")
    assert done.err.startswith(f"error: {message}")


def test_a_prompt_of_bytes_that_are_no_text_is_refused(linocut: Run, fake: Any) -> None:
    done = linocut("generate", "a \udcff cat")
    assert (done.code, done.out) == (2, b"")
    assert "not valid Unicode" in done.err


def test_a_quality_without_effect_is_said_to_have_none(linocut: Run, fake: Any) -> None:
    assert "no effect on png" in linocut("generate", "x", *SMALL, "-o", "a.png",
                                         "--output-quality", "90").err  # fmt: skip
    assert "no effect" not in linocut("generate", "x", *SMALL, "-o", "b.png").err


def test_less_quality_is_fewer_bytes(linocut: Run, fake: Any, folder: Path) -> None:
    for quality in ("5", "100"):
        linocut("generate", "x", *SMALL, "-o", f"{quality}.jpg", "--output-quality", quality)
    assert (folder / "5.jpg").stat().st_size < (folder / "100.jpg").stat().st_size


def test_the_file_knows_how_it_was_made(linocut: Run, fake: Any, folder: Path) -> None:
    linocut("generate", "a red apple", *SMALL, "--seed", "7", "--guidance", "2.5", "-o", "a.png")
    metadata = read_metadata((folder / "a.png").read_bytes())
    assert metadata is not None
    assert (metadata.prompt, metadata.seed, metadata.guidance) == ("a red apple", 7, 2.5)
    assert (metadata.width, metadata.drawn_width, metadata.demo) == (64, 32, True)
    assert metadata.software.startswith("linocut ")


def test_the_environment_may_keep_the_prompt_out_of_the_file(
    linocut: Run, fake: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINOCUT_EMBED_PROMPT", "false")
    linocut("generate", "a red apple", *SMALL, "-o", "a.png")
    metadata = read_metadata((folder / "a.png").read_bytes())
    assert metadata is not None
    assert metadata.prompt is None


def test_json_is_one_object_and_nothing_else(linocut: Run, fake: Any) -> None:
    done = linocut("generate", "a cat", *SMALL, "--seed", "3", "--json", "-o", "a.jpg")
    values = json.loads(done.out)
    timings = values.pop("timings")
    assert set(timings) == {"loading", "encoding", "denoising", "decoding", "saving"}
    assert values == {
        "path": "a.jpg", "seed": 3, "width": 64, "height": 64, "drawn_width": 32,
        "drawn_height": 32, "checkpoint": "linocut-mini", "mode": "exact", "threads": 3,
        "demo": True, "warnings": ["drawn by a fake", "the prompt was cut"],
        "safety": {"checked": True},
        "parameters": {
            "prompt": "a cat", "num_inference_steps": 4, "guidance": 3.0, "prompt_strength": 1.0,
            "references": 0, "output_format": "jpg", "output_quality": 80,
        },
    }  # fmt: skip


def test_warnings_are_told_once_each(linocut: Run, fake: Any) -> None:
    done = linocut("generate", "x", *SMALL)
    warnings = [line for line in done.err.splitlines() if line.startswith("warning: ")]
    assert warnings == ["warning: drawn by a fake", "warning: the prompt was cut"]


def test_nothing_moves_where_there_is_no_terminal(linocut: Run, fake: Any) -> None:
    done = linocut("generate", "x", *SMALL)
    assert "\x1b" not in done.err
    assert "step" not in done.err


def test_a_preview_without_a_terminal_is_said_not_to_be_shown(linocut: Run, fake: Any) -> None:
    done = linocut("generate", "x", *SMALL, "--preview")
    assert "warning: --preview needs a terminal" in done.err
    assert not fake.requests[0].preview


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("missing.png", None, "there is no file missing.png"),
        ("text.png", b"hello", "text.png is no picture"),
        ("cut.png", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", "cut.png ends too early"),
        ("a.gif", b"GIF89a", "a.gif is a GIF"),
    ],
)
def test_a_reference_that_is_no_picture_is_named(
    linocut: Run, fake: Any, name: str, data: bytes | None, message: str
) -> None:
    if data is not None:
        Path(name).write_bytes(data)
    done = linocut("generate", "x", "--image", name)
    assert (done.code, done.out) == (3, b"")
    assert done.err.startswith(f"error: {message}")
    assert fake.requests == []


def test_an_engine_s_error_is_two_lines_and_its_code(linocut: Run, fake: Any, folder: Path) -> None:
    fake.breaks = DoesNotFit("it needs 80 GB", hint="--megapixels 0.25 needs 20 GB")
    done = linocut("generate", "x", *SMALL)
    assert (done.code, done.out) == (6, b"")
    assert done.err.endswith("error: it needs 80 GB\nhint: --megapixels 0.25 needs 20 GB\n")
    assert not fake.is_open
    assert listing(folder) == []


def test_an_error_without_a_hint_is_one_line(linocut: Run, fake: Any) -> None:
    fake.breaks = LinocutError("no")
    assert linocut("generate", "x", *SMALL).err.splitlines()[-1] == "error: no"


def test_the_real_engine_draws(linocut: Run, tiny_folder: Path, folder: Path) -> None:
    flags = ("--checkpoint", tiny_folder, "--device", "cpu", *SMALL, "--seed", "5")
    first = linocut("generate", "a red apple", *flags, "--json", "-o", "a.png")
    assert first.code == 0, first.err
    values = json.loads(first.out)
    assert (values["checkpoint"], values["mode"], values["seed"]) == ("tiny", "exact", 5)
    second = linocut("generate", "a red apple", *flags, "-o", "b.png")
    assert second.code == 0
    assert (folder / "a.png").read_bytes() == (folder / "b.png").read_bytes()


def test_a_mode_that_cannot_run_names_those_that_can(
    linocut: Run, tiny_folder: Path, folder: Path
) -> None:
    done = linocut("generate", "x", "--checkpoint", tiny_folder, "--mode", "fp8", *SMALL)
    assert (done.code, done.out) == (6, b"")
    assert "bf16" in done.err


def test_weights_that_could_never_fit_are_two_lines(
    linocut: Run, doubts: Any, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linocut.engine.engine.room_on", lambda _: 1000)
    done = linocut("generate", "x", "--checkpoint", tiny_folder, "--dtype", "bfloat16", *SMALL)
    assert (done.code, done.out) == (6, b"")
    assert re.search(
        r"error: the weights of tiny take .+ GB in bfloat16; .+\nhint: .+\n$", done.err
    )


@pytest.mark.parametrize("name", ["no-such-checkpoint", "."])
def test_a_folder_that_is_no_checkpoint_is_two_lines(linocut: Run, name: str) -> None:
    done = linocut("generate", "x", "--checkpoint", name)
    assert (done.code, done.out) == (4, b"")
    assert re.fullmatch(r"error: .+\n(hint: .+\n)?", done.err)
