"""What schemathesis is told by `test_schema_cases.py`: requests that are meant to be good are good.

A description cannot say which pictures exist, nor that an editor needs one under any name, nor that
a size goes with one aspect ratio only; and nothing may be sent to an address that is somebody's.
"""

from __future__ import annotations

import os
from typing import Any

import schemathesis

PICTURE = os.environ["PICTURE"]
NOWHERE = "http://127.0.0.1:9/hook"  # allowed there, and nobody listens


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Where a body can be drawn, it is drawn fast; a webhook leads nowhere."""
    if not isinstance(case.body, dict):
        return
    if isinstance(case.body.get("webhook"), str) and "://" in case.body["webhook"]:
        case.body["webhook"] = NOWHERE
    prompt = case.body.get("promptObject")
    if isinstance(prompt, dict) and case.meta.generation.mode.is_positive:
        _settle(prompt, edits=case.body.get("type") == "IMAGE_EDITOR")


def _settle(prompt: dict[str, Any], *, edits: bool) -> None:
    """Small, quick, with pictures that are there and with sizes only where they belong."""
    if edits or prompt.get("imageUrl") is not None:
        prompt["imageUrl"] = PICTURE
    prompt.pop("additional_images", None)
    if prompt.get("aspect_ratio") == "custom":
        prompt["width"] = prompt["height"] = 64
    else:
        prompt.pop("width", None)
        prompt.pop("height", None)
        prompt["megapixels"] = "0.25"
    if prompt.get("aspect_ratio") == "match_input_image" and prompt.get("imageUrl") is None:
        del prompt["aspect_ratio"]
    if isinstance(prompt.get("num_inference_steps"), int | None):
        prompt["num_inference_steps"] = 1
