"""The contract's page: its examples as they are printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

EXAMPLES: Final = Path(__file__).parents[1] / "routes" / "contract_examples"
PRINTED_HOST: Final = "https://api.1min.ai"


def printed(name: str, server: Any) -> str:
    """An example as the contract's page prints it, but for host and key."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert PRINTED_HOST in text
    text = text.replace(PRINTED_HOST, server.url)
    return re.sub(r"<api-key>|<your-api-key>|YOUR_API_KEY", server.key, text)
