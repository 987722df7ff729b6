"""A real browser for tests: looks at a page and reports what it saw.

The page under test runs no script, so a probe page frames it, in a window as wide
as asked, and reads the finished document from outside.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--no-pings",
    "--hide-scrollbars",
    "--allow-file-access-from-files",
    "--enable-logging=stderr",
]

# Whom the browser asks for the time, updates and accounts, whatever page it shows.
BROWSERS_OWN = (
    "clients2.google.com",
    "update.googleapis.com",
    "accounts.google.com",
)

PROBE = Path(__file__).with_name("probe.html")


@dataclass
class Sight:
    """What the browser saw of a page."""

    images: list[dict] = field(default_factory=list)
    headings: list[int] = field(default_factory=list)
    texts: list[dict] = field(default_factory=list)
    overflow: int = 0
    background: str = ""
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def lowest_contrast(self) -> dict:
        """The text that stands out least from what is behind it."""
        return min(self.texts, key=lambda text: text["contrast"])


def executable() -> str:
    """Find Chromium, or skip the test; where ``CI=true`` its absence is a failure."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        reason = "no Chromium is installed (Debian: apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def look(page: Path, width: int = 1100, dark: bool = False) -> Sight:
    """Open a page in a window of the given width (CSS pixels) and probe it."""
    with TemporaryDirectory() as folder, _proxy() as (port, requests):
        probe = Path(folder) / "probe.html"
        source = PROBE.read_text().replace("PAGE", page.resolve().as_uri())
        probe.write_text(source.replace("WIDTH", str(width)))
        proxy = f"--proxy-server=127.0.0.1:{port}"
        done = _run([proxy, *_scheme(dark), "--dump-dom", probe.as_uri()], folder)
    result = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert result is not None, done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    seen = json.loads(unescape(result[1]))
    asked = [r for r in requests if not any(host in r for host in BROWSERS_OWN)]
    return Sight(**seen, console=console, requests=asked)


def screenshot(page: Path, image: Path, size: tuple[int, int], dark: bool) -> None:
    """Save what a window of the given size (CSS pixels) shows."""
    with TemporaryDirectory() as folder:
        window = f"--window-size={size[0]},{size[1]}"
        nowhere = "--proxy-server=127.0.0.1:9"
        target = [f"--screenshot={image}", page.resolve().as_uri()]
        _run([nowhere, window, *_scheme(dark), *target], folder)


def _scheme(dark: bool) -> list[str]:
    return [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]


def _run(options: list[str], folder: str) -> subprocess.CompletedProcess[str]:
    profile = f"--user-data-dir={folder}/profile"
    return subprocess.run(
        [executable(), *FLAGS, profile, *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@contextlib.contextmanager
def _proxy() -> Iterator[tuple[int, list[str]]]:
    """Listen as the browser's only way out; note every address it asks for."""
    requests: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def note_requests() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # closed
                    return
                with connection:
                    connection.settimeout(5)
                    with contextlib.suppress(OSError):
                        asked = connection.recv(4096).decode("latin-1")
                        requests.append(asked.split("\r\n")[0])

        thread = threading.Thread(target=note_requests, daemon=True)
        thread.start()
        yield server.getsockname()[1], requests
        server.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=5)
