"""How a prompt is wrapped before it is read: dev's own words, or a checkpoint's chat template."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from linocut.errors import CheckpointInvalid

# Data, not prose: the encoder was conditioned with exactly this text, line break included.
SYSTEM_MESSAGE: Final = (
    "You are an AI that reasons about image descriptions. You give structured responses focusing "
    "on object relationships, object\nattribution and actions without speculation."
)
DEV_TEMPLATE: Final = (
    "{{ bos_token }}{% for message in messages %}{% set text = message['content'][0]['text'] %}"
    "{% if message['role'] == 'system' %}{{ '[SYSTEM_PROMPT]' + text + '[/SYSTEM_PROMPT]' }}"
    "{% else %}{{ '[INST]' + text + '[/INST]' }}{% endif %}{% endfor %}"
)
PICTURE_MARKER: Final = "[IMG]"
# What a template can raise besides Jinja's own errors: 1 / 0, "a" + 1, a range without an end.
_BROKEN: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def render(template: str, prompt: str, markers: dict[str, str]) -> str:
    """The conversation of the system message and the prompt, as one string.

    Literal picture markers are taken out of the prompt, as the published pipeline does. markers:
    the names that templates may use (`bos_token`…). Raises CheckpointInvalid if the template,
    which comes with the checkpoint and runs in a sandbox, does not work.
    """
    messages = [
        _message("system", SYSTEM_MESSAGE),
        _message("user", prompt.replace(PICTURE_MARKER, "")),
    ]
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now(UTC).strftime(form)
    try:
        compiled = environment.from_string(template)
        rendered = compiled.render(messages=messages, add_generation_prompt=False, **markers)
        rendered.encode()  # half of a surrogate pair is no text that a tokenizer takes
    except (TemplateError, *_BROKEN) as error:
        raise CheckpointInvalid(
            f"the checkpoint's chat template does not work: {error}",
            hint="it must accept a system and a user message whose contents are text parts",
        ) from error
    return rendered


def _message(role: str, text: str) -> dict[str, object]:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def _refuse(reason: str) -> str:
    raise TemplateError(reason)
