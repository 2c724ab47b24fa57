"""The drawings inside a fetched package: a picture or an SVG text for each code point or name.

Two kinds of package are read: folders of webp files named by code point, and iconify JSON
(`icons.json` name -> SVG body, `chars.json` code point -> name, empty in some packages).
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from .concepts import Concept

SKIN_TONES: Final = range(0x1F3FB, 0x1F400)
REGIONAL_LETTERS: Final = range(0x1F1E6, 0x1F200)
CLOCK_FACES: Final = range(0x1F550, 0x1F568)
FLAGS: Final = frozenset({0x1F3F3, 0x1F3F4, 0x1F3C1, 0x1F6A9, 0x1F38C})
KEYCAP: Final = 0x20E3
JOINER: Final = 0x200D
ANY_PERSON: Final = frozenset({0x1F468, 0x1F469, 0x1F9D1, 0x2640, 0x2642})
VARIATION: Final = "fe0f"  # "draw it in colour": packages disagree on writing it

# What a package without code points calls a drawing, where that is not the name of today.
OWN_NAMES: Final[dict[str, dict[str, str]]] = {
    "noto-v1": {"angry_red_face": "pouting-face"},
    "emojione": {"angry_red_face": "pouting-face"},
    "fluent": {"angry_red_face": "pouting-face"},
    "streamline": {
        "angry_red_face": "pouting-face",
        "bee": "honeybee",
        "face_with_heart_eyes": "smiling-face-with-heart-eyes",
        "moon": "crescent-moon",
        "house": "house-with-garden",
        "robot": "robot-face-1",
        "snowman": "snowman",
        "stone_head": "moai",
    },
    "fxemoji": {
        "angry_red_face": "pouting",
        "castle": "europeancastle",
        "cat_face": "cat",
        "corn": "earofmaize",
        "crying_face": "loudlycrying",
        "dog_face": "dog",
        "eggplant": "aubergine",
        "face_with_heart_eyes": "hearteyes",
        "gem_stone": "gem",
        "gift": "present",
        "hourglass": "hourglass",
        "house": "housebuilding",
        "mouse_face": "mouse",
        "panda": "pandaface",
        "pig": "pig",
        "pizza": "sliceofpizza",
        "racing_car": "racecar",
        "radio_tower": "toykotower",
        "scissors": "blackscissors",
        "smiling_face_with_sunglasses": "sunglasses",
        "steam_train": "steamlocomotive",
        "stone_head": "moyai",
        "sun": "sunrays",
        "tiger_face": "tiger",
        "umbrella": "umbrellawithraindrops",
        "wave": "wave",
        "whale": "spurtingwhale",
    },
}

# What a package without code points draws under the name of a concept, and is another thing: heads
# of animals that others draw whole, a program's window, and the sun that has a face.
OTHER_THINGS: Final[dict[str, frozenset[str]]] = {
    "fxemoji": frozenset(
        {"mouse", "standing_cat", "standing_dog", "standing_pig", "tiger", "window"}
    ),
    "streamline": frozenset({"sun"}),
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """One drawing: its webp bytes, or its SVG text."""

    name: str
    content: bytes | str


def drawings_by_code(tarball: Path) -> dict[str, Drawing]:
    """Every drawing of a package that knows code points, by `plain_code`."""
    with tarfile.open(tarball) as tar:
        if any(name.endswith("/icons.json") for name in tar.getnames()):
            pack, names = _iconify(tar)
            return {
                code: Drawing(name, svg)
                for code, name in names.items()
                if (svg := svg_of(pack, name)) is not None
            }
        return {
            plain_code(PurePosixPath(member.name).stem): Drawing(member.name, file.read())
            for member in tar
            if member.name.endswith(".webp") and (file := tar.extractfile(member)) is not None
        }


def drawings_by_name(tarball: Path) -> dict[str, Drawing]:
    """Every drawing of an iconify package by its name there, its aliases included."""
    with tarfile.open(tarball) as tar:
        pack, _ = _iconify(tar)
    names = (*pack["icons"], *pack.get("aliases", {}))
    return {name: Drawing(name, svg) for name in names if (svg := svg_of(pack, name)) is not None}


def names_by_code(tarball: Path) -> dict[str, str]:
    """The name an iconify package gives each code point."""
    with tarfile.open(tarball) as tar:
        return _iconify(tar)[1]


def names_of(concept: Concept, source: str, iconify_name: str) -> tuple[str, ...]:
    """The names under which a package without code points may keep a concept, best first."""
    if concept.key in OTHER_THINGS.get(source, ()):
        return ()
    own = OWN_NAMES.get(source, {}).get(concept.key)
    joined = iconify_name.replace("-", "")
    usual = (iconify_name, f"{iconify_name}-face", joined, f"{iconify_name}-1")
    return usual if own is None else (own, *usual)


def plain_code(code: str) -> str:
    """A code point sequence without variation selectors, on whose use packages disagree."""
    return "-".join(part for part in code.lower().split("-") if part != VARIATION)


def is_ordinary(code: str) -> bool:
    """False for near copies and lettering: skin tones, people at work, keycaps, flags, clocks."""
    points = [int(part, 16) for part in code.split("-")]
    if JOINER in points and not ANY_PERSON.isdisjoint(points):
        return False
    return not any(
        point in SKIN_TONES
        or point in REGIONAL_LETTERS
        or point in CLOCK_FACES
        or point in FLAGS
        or point == KEYCAP
        or point < 0x80  # bare digits, before their keycap
        for point in points
    )


def svg_of(pack: Mapping[str, Any], name: str) -> str | None:
    """One icon of an iconify pack as a whole SVG document; None where there is no such drawing."""
    alias = pack.get("aliases", {}).get(name)
    if alias is not None and set(alias) <= {"parent"}:
        return svg_of(pack, alias["parent"])
    icon = pack["icons"].get(name)
    if icon is None:
        return None
    left, top = icon.get("left", 0), icon.get("top", 0)
    width = icon.get("width", pack.get("width", 16))  # 16 is iconify's own default
    height = icon.get("height", pack.get("height", 16))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f' viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">'
        f"{icon['body']}</svg>"
    )


def _iconify(tar: tarfile.TarFile) -> tuple[dict[str, Any], dict[str, str]]:
    pack: dict[str, Any] = json.loads(_read(tar, "package/icons.json"))
    chars: dict[str, str] = json.loads(_read(tar, "package/chars.json"))
    return pack, {plain_code(code): name for code, name in chars.items()}


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None  # a regular file in a package whose checksum was checked
    return file.read()
