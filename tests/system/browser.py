"""A real browser for tests: Chromium by its WebDriver (W3C WebDriver 2), spoken with the standard library."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
]
_INTERRUPTED = "ERR_NETWORK_CHANGED"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def missing() -> str | None:
    """What is not installed."""
    return next((name for name in ("chromium", "chromedriver") if shutil.which(name) is None), None)


class Browser:
    def __init__(self, port: int, capabilities: dict[str, Any]) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._session = ""
        self._session = self._ask(
            "POST", "/session", {"capabilities": {"alwaysMatch": capabilities}}
        )["sessionId"]

    def open(self, url: str) -> None:
        """Chromium gives up what it loads whenever an interface of the machine comes or goes, as those of other labs
        and of containers do: then it is asked again."""
        for _ in range(10):
            try:
                self._ask("POST", "/url", {"url": url})
            except AssertionError as error:
                if _INTERRUPTED not in str(error):
                    raise
            else:
                if _INTERRUPTED not in self.text():
                    return
            time.sleep(0.3)
        raise AssertionError(f"{url}: {_INTERRUPTED} again and again")

    def run(self, script: str) -> Any:
        """The value that a JavaScript function body returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def until(self, script: str, within_s: float = 20.0) -> Any:
        """Until the script returns something true."""
        give_up = time.monotonic() + within_s
        while True:
            value = self.run(script)
            if value:
                return value
            assert time.monotonic() < give_up, f"never true: {script}\n{self.text()[:2000]}"
            time.sleep(0.1)

    def text(self) -> str:
        return str(self.run("return document.body.innerText"))

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def console_errors(self) -> list[str]:
        """What the page logged as an error, scripts that failed included."""
        entries = self._ask("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def quit(self) -> None:
        self._ask("DELETE", "")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        where = self._base + (f"/session/{self._session}" if self._session else "") + path
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(where, data, {"content-type": "application/json"})
        request.method = method
        try:
            with _DIRECT.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(error.read().decode()) from None


@contextlib.contextmanager
def browser(*flags: str, size: str = "1480,1400") -> Iterator[Browser]:
    """A fresh browser with nothing remembered; `flags` are Chromium's own."""
    environment = {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
    }
    with tempfile.TemporaryDirectory(prefix="pb-", dir="/tmp", ignore_cleanup_errors=True) as home:
        environment["HOME"] = home
        driver = subprocess.Popen(
            ["chromedriver", "--port=0"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert driver.stdout is not None
            port = next(
                int(line.rstrip(".\n").rpartition(" ")[2])
                for line in driver.stdout
                if "started successfully on port" in line
            )
            arguments = [
                *_FLAGS,
                f"--window-size={size}",
                f"--user-data-dir={home}/profile",
                *flags,
            ]
            page = Browser(
                port,
                {
                    "browserName": "chrome",
                    "goog:chromeOptions": {"args": arguments},
                    "goog:loggingPrefs": {"browser": "ALL"},
                },
            )
            try:
                yield page
            finally:
                page.quit()
        finally:
            driver.terminate()
            driver.wait(10)
            if driver.stdout is not None:
                driver.stdout.close()
