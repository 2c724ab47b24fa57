"""The contract's page: its examples as they are printed, by hand, by program and in a browser."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import httpx2
import pytest
from contract_page import EXAMPLES, RUNNERS, printed
from other_site import Site, other_site
from PIL import Image


@pytest.mark.parametrize("name", RUNNERS)
def test_the_contract_s_example_runs_unchanged(shared_server: Any, name: str) -> None:
    status, body = RUNNERS[name](printed(name, shared_server))
    assert status == 200, body
    documented = json.loads((EXAMPLES / "response.json").read_text(encoding="utf-8"))
    record, shown = body["aiRecord"], documented["aiRecord"]
    assert set(shown) <= set(record)
    assert record["status"] == shown["status"] == "SUCCESS"
    assert (record["model"], record["type"]) == (shown["model"], shown["type"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["createdAt"])
    detail = record["aiRecordDetail"]
    assert detail["promptObject"] == shown["aiRecordDetail"]["promptObject"]
    (key,) = detail["resultObject"]
    assert record["temporaryUrl"].partition("?")[0].endswith(f"/{key}")
    file = httpx2.get(record["temporaryUrl"])  # without a key
    assert file.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(file.content)) as picture:
        assert (picture.format, picture.size) == ("WEBP", (896, 1088))


FROM_A_PAGE = """<script>
window.said = "";
async function ask() {{
  const answer = await {example}
  const {{ aiRecord }} = await answer.json();
  const file = await fetch(aiRecord.temporaryUrl);
  const image = new Image();
  image.src = aiRecord.temporaryUrl;
  await image.decode();
  return `${{aiRecord.status}} ${{(await file.blob()).type}} ${{image.naturalWidth}}`;
}}
ask().then((text) => {{ window.said = text; }}, (error) => {{ window.said = String(error); }});
</script>"""


def page(site: Site, server: Any) -> str:
    """The address of a page of another origin that runs the example on this server."""
    html = FROM_A_PAGE.format(example=printed("javascript.txt", server))
    site.files["/"] = ("text/html", html.encode())
    return site.url("/", host="localhost")


def test_the_javascript_example_runs_on_a_page_of_an_origin_that_is_let_in(
    lasting_server: Any, browser: Any
) -> None:
    with other_site() as site:
        origin = site.url("", host="localhost")
        server = lasting_server(name="let-in", LINOCUT_CORS_ORIGINS=origin)
        browser.open(page(site, server))
        assert browser.until("window.said") == "SUCCESS image/webp 896"


def test_a_page_of_any_other_origin_gets_nothing(shared_server: Any, browser: Any) -> None:
    with other_site() as site:
        browser.open(page(site, shared_server))
        assert browser.until("window.said") == "TypeError: Failed to fetch"
