"""The openly licensed drawings the recipe learns from, fetched by name, version and checksum."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PATIENCE_SECONDS: Final = 600


class PackageUnavailable(RuntimeError):
    """A package could not be had, or is not the one the recipe was made with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One npm package of drawings; `credit` is its line in the NOTICE of the checkpoint."""

    source: str
    name: str
    version: str
    sha256: str
    licence: str
    credit: str

    @property
    def filename(self) -> str:
        """The name `npm pack` gives the tarball."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


MICROSOFT: Final = "Fluent Emoji, Copyright (c) Microsoft Corporation, MIT licence"
GOOGLE: Final = "Noto Emoji, Copyright Google LLC, Apache License 2.0"

PACKAGES: Final = {
    package.source: package
    for package in (
        Package(
            source="fluent-3d",
            name="@lobehub/fluent-emoji-3d",
            version="1.1.0",
            sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
            licence="MIT",
            credit=MICROSOFT,
        ),
        Package(
            source="fluent-flat",
            name="@iconify-json/fluent-emoji-flat",
            version="1.2.6",
            sha256="7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
            licence="MIT",
            credit=MICROSOFT,
        ),
        Package(
            source="noto",
            name="@iconify-json/noto",
            version="1.2.9",
            sha256="3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
            licence="Apache-2.0",
            credit=GOOGLE,
        ),
        Package(
            source="twemoji",
            name="@iconify-json/twemoji",
            version="1.2.5",
            sha256="19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
            licence="CC-BY-4.0",
            credit="Twemoji, Copyright Twitter, Inc (now X) and other contributors, CC-BY 4.0"
            " (changed: outlined, rendered and learned from)",
        ),
        Package(
            source="noto-v1",
            name="@iconify-json/noto-v1",
            version="1.2.5",
            sha256="2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
            licence="Apache-2.0",
            credit=GOOGLE,
        ),
        Package(
            source="emojione",
            name="@iconify-json/emojione",
            version="1.2.3",
            sha256="26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
            licence="CC-BY-4.0",
            credit="EmojiOne 2, free emoji icons supplied by EmojiOne (now JoyPixels), CC-BY 4.0"
            " (changed: rendered and learned from)",
        ),
        Package(
            source="fluent",
            name="@iconify-json/fluent-emoji",
            version="1.2.7",
            sha256="8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
            licence="MIT",
            credit=MICROSOFT,
        ),
        Package(
            source="fxemoji",
            name="@iconify-json/fxemoji",
            version="1.2.2",
            sha256="f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
            licence="Apache-2.0",
            credit="FxEmojis, Copyright Mozilla Foundation, Apache License 2.0",
        ),
        Package(
            source="streamline",
            name="@iconify-json/streamline-emojis",
            version="1.2.4",
            sha256="5dac87c876b322500989828c5823143e0100d78881627a2e4081a4b897cbfdbc",
            licence="CC-BY-4.0",
            credit="Streamline Emojis, free icons by Streamline, CC-BY 4.0"
            " (changed: rendered; the judge of pictures learned from them)",
        ),
    )
}


def fetch(work: Path) -> dict[str, Path]:
    """Every package's tarball by source, checked; only what is missing or broken is downloaded."""
    folder = work / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    return {source: _tarball(package, folder) for source, package in PACKAGES.items()}


def notice() -> str:
    """The credits that everything learned from these drawings must carry, one a line."""
    return "\n".join(dict.fromkeys(package.credit for package in PACKAGES.values())) + "\n"


def _tarball(package: Package, folder: Path) -> Path:
    path = folder / package.filename
    if not path.exists() or _sha256(path) != package.sha256:
        _download(package, folder)
    found = _sha256(path)
    if found != package.sha256:
        raise PackageUnavailable(
            f"{path.name}: sha256 is {found}, the recipe was made with {package.sha256};"
            " delete the file and fetch again, and trust neither if they still differ"
        )
    return path


def _download(package: Package, folder: Path) -> None:
    wanted = f"{package.name}@{package.version}"
    npm = shutil.which("npm")
    if npm is None:
        raise PackageUnavailable(
            f"{wanted}: npm is not installed; install Node.js,"
            f" or put {package.filename} into {folder} yourself"
        )
    try:
        done = subprocess.run(
            [npm, "pack", wanted, "--silent"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
    except subprocess.TimeoutExpired as slow:
        raise PackageUnavailable(f"{wanted}: no answer in {PATIENCE_SECONDS} seconds") from slow
    if done.returncode != 0 or not (folder / package.filename).exists():
        said = done.stderr.strip()[-400:] or f"npm ended with {done.returncode}"
        raise PackageUnavailable(
            f"{wanted}: could not be fetched ({said}); check the network and the registry,"
            f" or put {package.filename} into {folder} yourself"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
