"""A real browser, told what to do over two pipes: Chromium and its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60.0


class Browser:
    """One tab."""

    def __init__(self, process: subprocess.Popen[bytes], to: int, back: int) -> None:
        self.process, self._to, self._back = process, to, back
        self._numbers, self._rest, self._session = itertools.count(1), b"", ""
        self.told: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for part in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{part}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers; what it tells meanwhile is kept in `told`."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            said = self._read()
            if said.get("id") == number:
                assert "error" not in said, said
                return dict(said["result"])
            self.told.append(said)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._back, 1 << 20)
            assert piece, "the browser is gone"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))

    def open(self, url: str) -> None:
        """The page is there, and its scripts have run once."""
        self.ask("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """The value of an expression on the page."""
        said = self.ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def until(self, script: str) -> Any:
        """The expression's value, once it is true."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if found := self.run(script):
                return found
            time.sleep(0.05)
        pytest.fail(
            f"{script} is still false; the page says: {self.run('document.body.innerText')}"
        )

    def screenshot(self, path: Path) -> None:
        """The page as a person sees it."""
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(shot))

    def complaints(self) -> list[str]:
        """Errors on the console, refusals by the content security policy among them."""
        self.run("1")
        return [
            str(said["params"])
            for said in self.told
            if said.get("method") == "Runtime.exceptionThrown"
            or (
                said.get("method") == "Log.entryAdded"
                and said["params"]["entry"]["level"] == "error"
            )
        ]

    def asked_for(self) -> set[str]:
        """Where the page's requests went: their origins."""
        urls = [
            said["params"]["request"]["url"]
            for said in self.told
            if said.get("method") == "Network.requestWillBeSent"
        ]
        return {"/".join(url.split("/")[:3]) for url in urls if url.startswith("http")}


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window or a history."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is None:
        pytest.fail("Chromium is not here: install the package `chromium`")
    out_read, out_write = os.pipe()
    in_read, in_write = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = (
            f"--headless --no-sandbox --disable-gpu --remote-debugging-pipe --window-size=1280,900"
            f" --disable-dev-shm-usage --no-first-run --user-data-dir={profile}"
        )
        process = subprocess.Popen(
            ["bash", "-c", f"exec {program} {flags} 3<&{out_read} 4>&{in_write}"],
            pass_fds=(out_read, in_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(out_read)
        os.close(in_write)
        try:
            yield Browser(process, out_write, in_read)
        finally:
            process.kill()
            process.wait()
            os.close(out_write)
            os.close(in_read)
