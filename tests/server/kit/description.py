"""The API's description, asked what it says of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonschema_rs import Draft202012Validator

Object = dict[str, Any]


class Description:
    """`/openapi.json`, with references followed."""

    def __init__(self, api: Mapping[str, Any]) -> None:
        self.api = api

    def resolved(self, part: Object) -> Object:
        """The part itself, or what it refers to."""
        found: Any = self.api if "$ref" in part else part
        for name in part.get("$ref", "").split("/")[1:]:
            found = found[name]
        return dict(found)

    def answers(self) -> dict[tuple[str, int], Object]:
        """Every operation's responses, by its id and their status."""
        return {
            (operation["operationId"], int(status)): self.resolved(said)
            for path in self.api["paths"].values()
            for operation in path.values()
            for status, said in operation["responses"].items()
        }

    def headers(self, operation: str, status: int) -> dict[str, Object]:
        """The headers that an answer is said to have, by their names in small letters."""
        said = self.answers()[operation, status]["headers"]
        return {name.lower(): self.resolved(header) for name, header in said.items()}

    def faults(self, schema: Object, value: Any) -> list[str]:
        """What is wrong with a value; nothing if it is what the schema says."""
        whole = {"components": self.api["components"], "allOf": [schema]}
        found = Draft202012Validator(whole).iter_errors(value)
        return [f"{'/'.join(map(str, each.instance_path))}: {each.message}" for each in found]

    def fields(self, name: str) -> Object:
        """The members of a shape."""
        return dict(self.api["components"]["schemas"][name]["properties"])
