"""The words around a prompt, to the letter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.errors import CheckpointInvalid
from linocut.prompt.template import DEV_TEMPLATE, SYSTEM_MESSAGE, render

MARKERS = {"bos_token": "<s>", "eos_token": "</s>"}
BEFORE = f"<s>[SYSTEM_PROMPT]{SYSTEM_MESSAGE}[/SYSTEM_PROMPT][INST]"
# Written for this test, in the manner of the templates that Mistral ships: a dated default that a
# given system message replaces, nested blocks, whitespace control.
MISTRALS_MANNER = """{%- set today = strftime_now("%Y-%m-%d") %}
{%- set default = "You are an assistant. The date is " + today + "." %}
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- if messages[0]['content'] is string %}
        {%- set system = messages[0]['content'] %}
    {%- else %}
        {%- set system = messages[0]['content'][0]['text'] %}
    {%- endif %}
    {%- set others = messages[1:] %}
{%- else %}
    {%- set system = default %}
    {%- set others = messages %}
{%- endif %}
{{- '[SYSTEM_PROMPT]' + system + '[/SYSTEM_PROMPT]' }}
{%- for message in others %}
    {%- if message['role'] == 'user' %}
        {{- '[INST]' }}
        {%- for block in message['content'] %}
            {%- if block['type'] == 'text' %}
                {{- block['text'] }}
            {%- else %}
                {{- raise_exception('only text') }}
            {%- endif %}
        {%- endfor %}
        {{- '[/INST]' }}
    {%- else %}
        {{- raise_exception('only users') }}
    {%- endif %}
{%- endfor %}
"""


def test_the_system_message_is_exactly_the_published_one() -> None:
    assert SYSTEM_MESSAGE == (
        "You are an AI that reasons about image descriptions. You give structured responses "
        "focusing on object relationships, object\n"
        "attribution and actions without speculation."
    )


def test_devs_template_leaves_nothing_between_the_markers() -> None:
    assert render(DEV_TEMPLATE, "a red apple", MARKERS) == (
        "<s>[SYSTEM_PROMPT]You are an AI that reasons about image descriptions. You give "
        "structured responses focusing on object relationships, object\nattribution and actions "
        "without speculation.[/SYSTEM_PROMPT][INST]a red apple[/INST]"
    )


def test_a_template_in_mistrals_manner_says_the_same_as_devs() -> None:
    expected = render(DEV_TEMPLATE, "a red apple", MARKERS)
    assert render(MISTRALS_MANNER, "a red apple", MARKERS) == expected


@given(st.text())
def test_the_prompt_stands_there_as_it_was_given(prompt: str) -> None:
    wanted = prompt.replace("[IMG]", "")
    assert render(DEV_TEMPLATE, prompt, MARKERS) == f"{BEFORE}{wanted}[/INST]"


def test_picture_markers_are_taken_out() -> None:
    rendered = render(DEV_TEMPLATE, "a[IMG] red [IMG][IMG]apple [img]", MARKERS)
    assert rendered == f"{BEFORE}a red apple [img][/INST]"


def test_a_prompt_is_no_template() -> None:
    rendered = render(DEV_TEMPLATE, "{{ 7 * 7 }} {% raw %}", MARKERS)
    assert rendered == f"{BEFORE}{{{{ 7 * 7 }}}} {{% raw %}}[/INST]"


def test_a_loop_may_be_left_early_as_in_transformers() -> None:
    template = "{% for m in messages %}{{ m['role'] }}{% break %}{% endfor %}"
    assert render(template, "x", MARKERS) == "system"


@pytest.mark.parametrize(
    "template",
    [
        "{% if %}",
        "{{ raise_exception('no system messages here') }}",
        "{{ nothing.of.that.name }}",
        "{{ messages[0].__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ 1 / 0 }}",
        "{{ 'a' + 1 }}",
        "{% for i in range(10 ** 9) %}x{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% include '/etc/passwd' %}",
        r"{{ '\ud800' }}",
    ],
)
def test_a_template_that_does_not_work_is_refused_in_words(template: str) -> None:
    with pytest.raises(CheckpointInvalid, match="chat template does not work") as caught:
        render(template, "a red apple", MARKERS)
    assert caught.value.hint
