"""The pages, as a browser shows them: they draw, they explain, and they ask nobody else."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest

from linocut.server.routes import pages

FOLDER = Path(pages.__file__).parents[1] / "pages"


@pytest.mark.parametrize("path", ["/", "/playground", "/docs", "/pages/style.css"])
def test_a_page_is_guarded_and_kept_until_it_changes(shared_server: Any, path: str) -> None:
    answer = httpx2.get(shared_server.url + path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    again = httpx2.get(shared_server.url + path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = httpx2.head(shared_server.url + path)
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize("name", ["nope.js", "playground.html", "../routes/pages.py", "%2e%2e/x"])
def test_nothing_else_of_the_package_is_served(shared_server: Any, name: str) -> None:
    assert httpx2.get(f"{shared_server.url}/pages/{name}").status_code == 404


def test_every_file_of_the_pages_is_served_and_no_other() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(pages.KINDS)


@pytest.mark.parametrize("name", pages.KINDS)
def test_no_page_names_another_origin(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    named = set(re.findall(r"https?://[^\s'\"]+", text))
    assert named <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<style|<script>|\son\w+=|style=|\beval\b|innerHTML", text)


@pytest.mark.parametrize("page", ["playground", "docs"])
def test_every_part_that_a_script_asks_for_is_on_its_page(page: str) -> None:
    html = (FOLDER / f"{page}.html").read_text(encoding="utf-8")
    script = (FOLDER / f"{page}.js").read_text(encoding="utf-8")
    asked = set(re.findall(r"(?:\$|getElementById)\(\"(\w+)\"\)", script))
    assert asked
    assert asked <= set(re.findall(r'id="(\w+)"', html))


def test_the_playground_draws_in_a_browser(shared_server: Any, browser: Any) -> None:
    browser.open(f"{shared_server.url}/playground")
    said = browser.run("document.getElementById('curl').textContent")
    assert f"'{shared_server.url}/api/features'" in said
    assert shared_server.key not in said
    browser.run(f"document.getElementById('key').value = {shared_server.key!r}")
    browser.run("document.getElementById('seed').value = 0")
    browser.run("document.getElementById('draw').click()")
    browser.until("document.getElementById('status').textContent === 'Done.'")
    browser.until("document.querySelector('#frame img:not(.preview)').naturalWidth === 512")
    facts = browser.run("document.getElementById('facts').innerText")
    assert re.search(r"Seed\s+0\b", facts)
    assert "demo" in browser.run("document.getElementById('demo').innerText")
    assert browser.complaints() == []
    assert browser.asked_for() == {shared_server.url}


PRESS = (
    "[...document.querySelectorAll('#taught_things button')]"
    ".find((it) => it.textContent === '{}').click()"
)
CHOOSE = (
    "document.getElementById('{0}').value = '{1}';"
    "document.getElementById('{0}').dispatchEvent(new Event('change', {{bubbles: true}}))"
)
PROMPT = "document.getElementById('prompt').value"


def test_the_playground_asks_for_what_the_demo_was_taught(shared_server: Any, browser: Any) -> None:
    browser.open(f"{shared_server.url}/")
    browser.until("!document.getElementById('taught').hidden")
    assert browser.run("document.getElementById('taught_count').textContent") == (
        "What fake can draw: 3 things"
    )
    browser.run("document.querySelector('#taught summary').click()")
    shown = browser.run("document.getElementById('taught_things').innerText").split()
    assert [word.lower() for word in shown] == ["food", "red", "apple", "pear", "animals", "fox"]
    browser.run(CHOOSE.format("taught_style", "3D"))
    assert browser.run(PROMPT) == "a red apple, 3D style"  # what stood there from the first
    browser.run(PRESS.format("fox"))
    browser.run(CHOOSE.format("taught_background", "teal"))
    browser.run(CHOOSE.format("taught_style", "flat"))
    assert browser.run(PROMPT) == "fox, flat style, teal background"
    browser.run(PRESS.format("pear"))
    asked = "pear, flat style, teal background"
    assert browser.run(PROMPT) == asked
    assert f'"{asked}"' in browser.run("document.getElementById('curl').textContent")
    assert asked in browser.run("document.getElementById('taught_said').textContent")
    browser.run(f"{PROMPT} = 'two pears of mine'")
    browser.run(CHOOSE.format("taught_style", "3D"))
    assert browser.run(PROMPT) == "two pears of mine"
    assert "stays" in browser.run("document.getElementById('taught_said').textContent")
    assert browser.complaints() == []


def test_the_playground_surprises(shared_server: Any, browser: Any) -> None:
    browser.open(f"{shared_server.url}/")
    browser.until("!document.getElementById('surprise').hidden")
    browser.run(f"document.getElementById('key').value = {shared_server.key!r}")
    browser.run("document.getElementById('surprise').click()")
    assert browser.run("document.getElementById('surprise').disabled") is True
    surprise = "^(red apple|pear|fox), (3D|flat) style, (white|teal) background$"
    assert re.fullmatch(surprise, browser.run(PROMPT))
    browser.until("document.getElementById('status').textContent === 'Done.'")
    assert browser.run("document.querySelector('#frame img').alt") == browser.run(PROMPT)
    assert browser.complaints() == []


def test_the_playground_asks_again_what_the_demo_was_taught(
    shared_server: Any, browser: Any
) -> None:
    fails = (
        "const real = window.fetch; let left = 1;"
        "window.fetch = (what, how) => what === '/models' && left-- > 0"
        " ? Promise.reject(new TypeError('away')) : real(what, how);"
    )
    added = browser.ask("Page.addScriptToEvaluateOnNewDocument", source=fails)
    browser.open(f"{shared_server.url}/")
    browser.until("!document.getElementById('taught').hidden")
    browser.ask("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])
    assert browser.complaints() == []


def test_the_playground_takes_a_reference_picture(
    shared_server: Any, browser: Any, desk: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "ours.png"
    file.write_bytes(desk.picture())
    browser.open(f"{shared_server.url}/")
    root = browser.ask("DOM.getDocument")["root"]["nodeId"]
    node = browser.ask("DOM.querySelector", nodeId=root, selector="#reference")["nodeId"]
    browser.ask("DOM.setFileInputFiles", files=[str(file)], nodeId=node)
    browser.until("!document.getElementById('strength').hidden")
    browser.run(f"document.getElementById('key').value = {shared_server.key!r}")
    browser.run("document.getElementById('draw').click()")
    browser.until("document.getElementById('status').textContent === 'Done.'")
    assert "ours" in browser.run("document.getElementById('curl').textContent")
    assert browser.complaints() == []


def test_the_playground_says_what_is_wrong(shared_server: Any, browser: Any) -> None:
    browser.open(f"{shared_server.url}/")
    browser.run("document.getElementById('draw').click()")
    browser.until("/API key/.test(document.getElementById('status').textContent)")
    assert browser.run("document.getElementById('draw').disabled") is False


def test_the_playground_shows_previews_and_cancels(slow_server: Any, browser: Any) -> None:
    browser.open(slow_server.url)
    browser.run(f"document.getElementById('key').value = {slow_server.key!r}")
    browser.run("document.getElementById('prompt').value = '[slow] a red apple'")
    browser.run("document.getElementById('num_inference_steps').value = 8")
    browser.run("document.getElementById('draw').click()")
    browser.until(
        "/Step \\d of 8, about \\d+ s left/.test(document.getElementById('status').textContent)"
    )
    browser.until("document.querySelector('#frame img.preview')?.naturalWidth > 0")
    browser.run("document.getElementById('cancel').click()")
    browser.until("document.getElementById('status').textContent === 'Canceled.'")
    assert browser.complaints() == []


def test_the_manual_shows_every_operation(shared_server: Any, browser: Any) -> None:
    described = httpx2.get(f"{shared_server.url}/openapi.json").json()
    wanted = {
        said["operationId"]
        for part in ("paths", "webhooks")
        for verbs in described[part].values()
        for said in verbs.values()
    }
    browser.open(f"{shared_server.url}/docs")
    browser.until("document.querySelectorAll('details.operation').length > 0")
    shown = browser.run(
        "[...document.querySelectorAll('details.operation')].map((each) => each.id)"
    )
    assert set(shown) == wanted
    assert len(shown) == len(wanted)
    pointed_at = browser.run(
        "[...document.querySelectorAll('.headers a')].map((each) => each.hash.slice(1))"
    )
    assert set(pointed_at) == set(described["components"]["headers"])
    lost = (
        """[...document.querySelectorAll('main a[href^="#"]')].map((each) => each.hash.slice(1))"""
        ".filter((name) => !document.getElementById(name))"
    )
    assert browser.run(lost) == []
    assert browser.complaints() == []
    assert browser.asked_for() == {shared_server.url}
