"""JSON files of strangers, read field by field: every value has a type and a range. Torch-free."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from linocut.errors import CheckpointInvalid

MAX_BYTES: Final = 16 * 2**20  # dev's largest index is some 60 KB
MAX_WHOLE: Final = 2**24  # wider than any width, vocabulary or token count that is to come
REQUIRED: Final[Any] = object()
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object and where it stands; each method is one field or CheckpointInvalid.

    A field that is absent or null has the `default`, which is not checked.
    """

    file: Path
    values: Mapping[str, object]

    def whole(self, key: str, default: Any = REQUIRED, *, least: int = 1, most: int = 0) -> int:
        """A whole number in range."""
        most = most or MAX_WHOLE
        value = self.values.get(key)
        if value is None:
            return int(self._default(key, default))
        if type(value) is not int or not least <= value <= most:
            raise self._wrong(key, value, f"a whole number from {least} to {most}")
        return value

    def wholes(self, key: str, default: Any = REQUIRED, *, least: int = 1) -> tuple[int, ...]:
        """A list of one or more whole numbers in range."""
        value = self.values.get(key)
        if value is None:
            return tuple(self._default(key, default))
        if not isinstance(value, list) or not 1 <= len(value) <= 64:
            raise self._wrong(key, value, "a list of whole numbers")
        if any(type(item) is not int or not least <= item <= MAX_WHOLE for item in value):
            raise self._wrong(key, value, f"a list of whole numbers from {least} to {MAX_WHOLE}")
        return tuple(value)

    def number(self, key: str, default: Any = REQUIRED) -> float:
        """A number above 0."""
        value = self.values.get(key)
        if value is None:
            return float(self._default(key, default))
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
            raise self._wrong(key, value, "a number above 0")
        return float(value)

    def flag(self, key: str, default: Any = REQUIRED) -> bool:
        """True or false."""
        value = self.values.get(key)
        if value is None:
            return bool(self._default(key, default))
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def text(self, key: str, default: Any = REQUIRED) -> str:
        """A text, whole: JSON can say half of a surrogate pair, which no tokenizer takes."""
        value = self.values.get(key)
        if value is None:
            return str(self._default(key, default))
        if not isinstance(value, str) or _SURROGATE.search(value):
            raise self._wrong(key, value, "a text")
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """The texts of a list, or of one text; none if the field is absent."""
        value = self.values.get(key)
        listed = value if isinstance(value, list) else [value]
        return tuple(item for item in listed if isinstance(item, str))

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, each whole; it may be empty."""
        value = self.values.get(key)
        if not isinstance(value, list) or not all(
            isinstance(item, str) and not _SURROGATE.search(item) for item in value
        ):
            raise self._wrong(key, value, "a list of texts")
        return tuple(value)

    def only(self, key: str, *allowed: object) -> None:
        """Nothing, or CheckpointInvalid if the field says something that linocut cannot do."""
        value = self.values.get(key)
        if value is not None and value not in allowed:
            meant = " or ".join(json.dumps(item) for item in allowed) or "nothing"
            raise self._wrong(key, value, meant)

    def known(self, *keys: str) -> None:
        """Nothing, or CheckpointInvalid if there is another key than these: it may be a slip."""
        for key in self.values:
            if key not in keys:
                raise CheckpointInvalid(
                    f"{self.file}: {key[:60]!r} is not known; the keys are {', '.join(keys)}"
                )

    def inner(self, key: str) -> Fields:
        """The JSON object in a field."""
        value = self.values.get(key)
        if not isinstance(value, dict):
            raise self._wrong(key, value, "an object")
        return Fields(self.file, value)

    def _default(self, key: str, default: Any) -> Any:
        if default is REQUIRED:
            raise CheckpointInvalid(f"{self.file} has no {key}")
        return default

    def _wrong(self, key: str, value: object, wanted: str) -> CheckpointInvalid:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
        return CheckpointInvalid(f"{self.file}: {key} is {shown}; {wanted} is needed")


def read_fields(file: Path) -> Fields:
    """The JSON object in a file; CheckpointInvalid if there is none."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise CheckpointInvalid(f"{file} is larger than {MAX_BYTES // 2**20} MB; not read")
        values = json.loads(file.read_bytes().decode())
    except OSError as error:
        raise CheckpointInvalid(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointInvalid(
            f"{file} is not valid JSON: {error}", hint="download or copy it again"
        ) from error
    if not isinstance(values, dict):
        raise CheckpointInvalid(f"{file} holds no JSON object")
    return Fields(file, values)
