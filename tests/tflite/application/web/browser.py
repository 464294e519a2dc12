"""Headless Chromium, driven by plain WebDriver: pages that are files, opened and asked in JavaScript."""

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

# Nothing that a browser does for its maker, and no network.
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)
PATIENCE = 60


def why_missing() -> str:
    """What is not installed, or ""."""
    missing = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"needs {' and '.join(missing)}: apt-get install chromium chromium-driver" if missing else ""


class Browser:
    """A window of Chromium."""

    def __init__(self, port: int, session: str):
        self._port, self._session = port, session

    def visit(self, path: Path) -> None:
        """Opens a file."""
        self._ask("POST", "url", {"url": path.as_uri()})

    def open(self, path: Path) -> None:
        """Opens the page of a device, and waits until that has been checked."""
        self.visit(path)
        self.run("return (await window.device.started).check.integers")

    def run(self, script: str, *arguments):
        """What a script returns, that may await."""
        text = f"const done = arguments[arguments.length - 1]; (async (...given) => {{ {script} }})(...arguments)"
        text += ".then((value) => done({value}), (error) => done({error: String(error.stack ?? error)}))"
        found = self._ask("POST", "execute/async", {"script": text, "args": list(arguments)})
        if "error" in found:
            raise AssertionError(found["error"])
        return found.get("value")

    def resize(self, width: int, height: int, dark: bool = False, phone: bool = False) -> None:
        """Gives the page a size, as of a phone or a screen, and a colour scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        self.command("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", {"features": [scheme]})

    def command(self, name: str, parameters: dict):
        """A command of Chromium's own protocol."""
        return self._ask("POST", "goog/cdp/execute", {"cmd": name, "params": parameters})

    def log(self) -> list[dict]:
        """What the page has complained of."""
        return self._ask("POST", "se/log", {"type": "browser"})

    def _ask(self, method: str, what: str, content: dict):
        return ask(self._port, method, f"/session/{self._session}/{what}", content)


@contextlib.contextmanager
def chromium():
    """A browser with a profile of its own, and its end."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        driver = subprocess.Popen(
            ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for(port)
            arguments = [*OPTIONS, f"--user-data-dir={profile}"]
            wanted = {
                "goog:chromeOptions": {"args": arguments, "binary": shutil.which("chromium")},
                "goog:loggingPrefs": {"browser": "ALL"},
                "timeouts": {"script": 1000 * PATIENCE},
            }
            session = ask(port, "POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            try:
                yield Browser(port, session)
            finally:
                ask(port, "DELETE", f"/session/{session}")
        finally:
            driver.terminate()
            driver.wait(PATIENCE)


def wait_for(port: int) -> None:
    """Until the driver listens."""
    end = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError):
            ask(port, "GET", "/status")
            return
        if time.monotonic() > end:
            raise RuntimeError("chromedriver does not answer.")
        time.sleep(0.05)


def ask(port: int, method: str, path: str, content: dict | None = None):
    """The value that WebDriver answers with."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE + 5)
    try:
        body = None if content is None else json.dumps(content)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        value = json.loads(connection.getresponse().read())["value"]
    finally:
        connection.close()
    if isinstance(value, dict) and "error" in value:
        raise RuntimeError(f"{value['error']}: {value['message']}")
    return value
