"""Cut-outs from a package as small as can be."""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linocut_training import fetch, icons, rasterise
from linocut_training.concepts import CONCEPT_OF, EXTRA_SOURCES, STYLES
from linocut_training.effects import EFFECTS

CIRCLE = '<circle cx="5" cy="5" r="2" fill="#d01020"/>'
PACK = {
    "prefix": "tiny",
    "width": 16,
    "height": 16,
    "icons": {
        "red-apple": {"body": CIRCLE},
        "bar": {"body": '<path fill="#000" d="M2 7h12v2H2z"/>'},
        "nothing": {"body": ""},
    },
    "aliases": {"apple": {"parent": "red-apple"}, "turned": {"parent": "bar", "rotate": 1}},
}
CHARS = {"1f34e": "red-apple", "2764-fe0f": "bar", "1f44d-1f3fb": "apple"}


@pytest.fixture
def tarball(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in (("icons", PACK), ("chars", CHARS)):
            text = json.dumps(content).encode()
            member = tarfile.TarInfo(f"package/{name}.json")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return path


def test_code_points_lose_their_variation_selectors(tarball: Path) -> None:
    assert set(icons.drawings_by_code(tarball)) == {"1f34e", "2764", "1f44d-1f3fb"}


def test_plain_aliases_are_drawings_and_turned_ones_are_not(tarball: Path) -> None:
    names = set(icons.drawings_by_name(tarball))
    assert "apple" in names
    assert "turned" not in names


@pytest.mark.parametrize(
    ("code", "ordinary"),
    [
        ("1f34e", True),
        ("1f44d-1f3fb", False),  # a skin tone
        ("1f1eb-1f1f7", False),  # a flag
        ("0031-20e3", False),  # a keycap
        ("1f552", False),  # a clock face
        ("1f469-200d-1f680", False),  # a person at work
        ("1f43b-200d-2744", True),  # a polar bear
    ],
)
def test_what_counts_as_ordinary(code: str, ordinary: bool) -> None:
    assert icons.is_ordinary(code) is ordinary


def test_an_object_is_trimmed_centred_and_fills_the_square(tarball: Path) -> None:
    drawing = icons.drawings_by_code(tarball)["2764"]
    picture = rasterise.draw(drawing, side=100, border=None)
    left, top, right, bottom = picture.getchannel("A").getbbox() or (0, 0, 0, 0)
    assert picture.size == (100, 100)
    assert abs(left + right - 100) <= 1
    assert abs(top + bottom - 100) <= 1
    assert right - left == 92


def test_a_sticker_has_a_white_border_of_the_same_size(tarball: Path) -> None:
    drawing = icons.drawings_by_code(tarball)["1f34e"]
    picture = np.asarray(rasterise.draw(drawing, side=200, border=STYLES["sticker"].border))
    middle = picture[100]
    first = int(np.flatnonzero(middle[:, 3] > 127)[0])
    assert 6 <= first <= 10
    assert tuple(middle[first + 5]) == (255, 255, 255, 255)
    assert tuple(middle[100]) == (0xD0, 0x10, 0x20, 255)


def test_a_cartoon_is_inked_and_fills_the_square_like_all_others(tarball: Path) -> None:
    drawing, border = icons.drawings_by_code(tarball)["1f34e"], STYLES["cartoon"].border
    picture = rasterise.draw(drawing, side=200, border=border)
    left, _, right, _ = picture.getchannel("A").point(lambda a: 255 * (a > 127)).getbbox()
    assert abs(right - left - 0.92 * 200) <= 2
    middle = np.asarray(picture)[100]
    assert tuple(middle[left + 3]) == (*border.colour, 255)
    assert tuple(middle[100]) == (0xD0, 0x10, 0x20, 255)


def test_what_nobody_drew_is_made_of_what_is_there_once(tmp_path: Path) -> None:
    for style in STYLES.values():
        if style.made_from is not None:
            drawn = tmp_path / "cutouts" / style.made_from / "key.png"
            drawn.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGBA", (40, 40), (200, 30, 30, 255)).save(drawn)
    rasterise.make_derived(tmp_path)
    made = {file.parent.name: file for file in tmp_path.glob("cutouts/*/key.png")}
    assert set(made) >= set(EFFECTS)
    with Image.open(made["grayscale"]) as gray, Image.open(made["pixel-art"]) as pixels:
        assert gray.getpixel((20, 20)) == (81, 81, 81, 255)
        assert pixels.getpixel((20, 20)) == (200, 30, 30, 255)
    before = made["grayscale"].stat().st_mtime_ns
    rasterise.make_derived(tmp_path)
    assert made["grayscale"].stat().st_mtime_ns == before


def test_failures_are_named_and_the_rest_is_drawn_once(tarball: Path, tmp_path: Path) -> None:
    drawings = icons.drawings_by_name(tarball)
    jobs = [
        rasterise.Job(drawings[name], tmp_path / "out" / f"{name}.png", 32, border=None)
        for name in ("red-apple", "nothing")
    ]
    failed = rasterise.draw_all(jobs)
    assert [(job.path.stem, reason) for job, reason in failed] == [
        ("nothing", "the drawing is empty")
    ]
    made = jobs[0].path.stat().st_mtime_ns
    rasterise.draw_all(jobs)
    assert jobs[0].path.stat().st_mtime_ns == made
    with Image.open(jobs[0].path) as picture:
        assert (picture.mode, picture.size) == ("RGBA", (32, 32))


class Deadly(str):
    """An SVG that takes the child process with it, as the renderer does when it aborts."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (1,)


def test_a_drawing_that_kills_its_process_is_named_and_the_rest_is_drawn(
    tarball: Path, tmp_path: Path
) -> None:
    good = icons.drawings_by_code(tarball)["1f34e"]
    bad = icons.Drawing("bad", Deadly())
    jobs = [
        rasterise.Job(drawing, tmp_path / f"{number}.png", 32, border=None)
        for number, drawing in enumerate((good, bad, good))
    ]
    failed = rasterise.draw_all(jobs)
    assert [(job.path.stem, reason) for job, reason in failed] == [
        ("1", "the SVG renderer aborted")
    ]
    assert jobs[0].path.exists()
    assert jobs[2].path.exists()


def test_a_package_without_code_points_is_searched_by_its_own_names() -> None:
    names = icons.names_of(CONCEPT_OF["eggplant"], "fxemoji", "eggplant")
    assert names[0] == "aubergine"
    assert icons.names_of(CONCEPT_OF["eggplant"], "noto-v1", "eggplant")[0] == "eggplant"


def test_a_drawing_that_is_another_thing_is_not_taken_for_its_name() -> None:
    # This package has one mouse, and it is a head.
    whole, head = CONCEPT_OF["mouse"], CONCEPT_OF["mouse_face"]
    assert icons.names_of(whole, "fxemoji", "mouse") == ()
    assert icons.names_of(head, "fxemoji", "mouse-face")[0] == "mouse"
    assert icons.names_of(whole, "noto-v1", "mouse")[0] == "mouse"
    drawings = {"mouse": icons.Drawing("mouse", CIRCLE), "fox": icons.Drawing("fox", CIRCLE)}
    found = {
        key: rasterise._find(CONCEPT_OF[key], "fxemoji", drawings, iconify_name=name)
        for key, name in (("mouse", "mouse"), ("mouse_face", "mouse-face"), ("fox", "fox"))
    }
    assert found == {"mouse": None, "mouse_face": drawings["mouse"], "fox": drawings["fox"]}


def test_only_concepts_and_sources_that_there_are_have_names_of_their_own() -> None:
    for table in (icons.OWN_NAMES, icons.OTHER_THINGS):
        assert set(table) <= set(EXTRA_SOURCES)
        assert {key for keys in table.values() for key in keys} <= set(CONCEPT_OF)
    for source, keys in icons.OTHER_THINGS.items():
        assert not keys & icons.OWN_NAMES[source].keys()


def test_a_package_that_cannot_be_had_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(fetch.PackageUnavailable, match=r"fluent-emoji-3d@1\.1\.0.*npm"):
        fetch.fetch(tmp_path)


def test_the_notice_credits_every_source_once() -> None:
    lines = fetch.notice().splitlines()
    assert len(lines) == len(set(lines))
    assert {package.credit for package in fetch.PACKAGES.values()} == set(lines)
