"""The contract's page: its examples as they are printed, by hand, by program and in a browser."""

from __future__ import annotations

import http.server
import io
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

EXAMPLES = Path(__file__).with_name("contract_examples")
PRINTED_HOST = "https://api.1min.ai"
PACKAGES = {"bash": "bash", "curl": "curl", "node": "nodejs"}


def program(name: str) -> str:
    """Where a program is."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not here: install the package `{PACKAGES[name]}`")
    return found


def printed(name: str, server: Any) -> str:
    """An example as the contract's page prints it, but for host and key."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert PRINTED_HOST in text
    text = text.replace(PRINTED_HOST, server.url)
    return re.sub(r"<api-key>|<your-api-key>|YOUR_API_KEY", server.key, text)


def answer_of(*command: str) -> dict[str, Any]:
    """What a program prints, as JSON."""
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return dict(json.loads(done.stdout))


def by_curl(text: str) -> dict[str, Any]:
    """A command line, run by the shell."""
    return answer_of(program("bash"), "-c", text.replace("curl ", f"{program('curl')} -s ", 1))


def by_node(text: str) -> dict[str, Any]:
    """An expression, awaited by Node."""
    script = f"const answer = await {text}\nconsole.log(JSON.stringify(await answer.json()));"
    return answer_of(program("node"), "--input-type=module", "-e", script)


def by_python(text: str) -> dict[str, Any]:
    """A script that leaves its answer in `response`."""
    return answer_of(sys.executable, "-c", f"{text}\nprint(response.text)")


RUNNERS = {
    "curl.txt": by_curl,
    "playground_curl.txt": by_curl,
    "javascript.txt": by_node,
    "python.txt": by_python,
}


@pytest.mark.parametrize("name", RUNNERS)
def test_the_contract_s_example_runs_unchanged(shared_server: Any, name: str) -> None:
    answer = RUNNERS[name](printed(name, shared_server))
    documented = json.loads((EXAMPLES / "response.json").read_text(encoding="utf-8"))
    record, shown = answer["aiRecord"], documented["aiRecord"]
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


@contextmanager
def page(html: list[str]) -> Iterator[str]:
    """The address of a page of another origin; it says what is in the list when it is read."""

    class Served(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = "".join(html).encode() if self.path == "/" else b""
            self.send_response(200 if body else 204)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Served)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


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


def test_the_javascript_example_runs_on_a_page_of_an_origin_that_is_let_in(
    lasting_server: Any, browser: Any
) -> None:
    html: list[str] = []
    with page(html) as other:
        origin = other.rstrip("/")
        server = lasting_server(name="let-in", LINOCUT_CORS_ORIGINS=origin)
        html.append(FROM_A_PAGE.format(example=printed("javascript.txt", server)))
        browser.open(other)
        assert browser.until("window.said") == "SUCCESS image/webp 896"


def test_a_page_of_any_other_origin_gets_nothing(shared_server: Any, browser: Any) -> None:
    with page([FROM_A_PAGE.format(example=printed("javascript.txt", shared_server))]) as other:
        browser.open(other)
        assert browser.until("window.said") == "TypeError: Failed to fetch"
