"""`linocut openapi`: the API's description as JSON, without a server."""

from __future__ import annotations

import json


def openapi() -> None:
    """Print the API's OpenAPI description; docs/openapi.json is this."""
    from linocut.server.app import routed  # noqa: PLC0415 - the server's libraries

    print(json.dumps(routed().openapi(), indent=1))
