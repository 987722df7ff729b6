"""A browser that a test works like a person: opens tabs, types and clicks.

Chromium is driven through a pair of pipes (``--remote-debugging-pipe``): messages of
the DevTools protocol, JSON, each ended by a zero byte.
"""

import base64
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.cli.chromium import BROWSERS_OWN, FLAGS, executable

PATIENCE = 30  # s
# The browser reads from 3 and writes to 4.
GIVE = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for wanted, end in enumerate(ends, start=3):
    os.dup2(end, wanted)
os.execv(sys.argv[3], sys.argv[3:])
"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


# Where to click on an element; nothing while it moves, or something else covers it.
PLACE = """
async (selector) => {
  const element = document.querySelector(selector);
  if (!element || element.disabled || document.readyState !== "complete") return null;
  element.scrollIntoView({block: "center", behavior: "instant"});
  const middle = () => {
    const box = element.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
  };
  const before = middle();
  await new Promise((resolve) => setTimeout(resolve, 30));
  const after = middle();
  const hit = document.elementFromPoint(...after);
  const still = before[0] === after[0] && before[1] === after[1];
  return still && element.contains(hit) ? after : null;
}
"""


class Browser:
    """A running browser."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._rest = write, read, b""
        self._count, self.events = 0, []

    def call(self, method: str, session: str = "", **given: Any) -> dict[str, Any]:
        self._count += 1
        told = {"id": self._count, "method": method, "params": given}
        told |= {"sessionId": session} if session else {}
        os.write(self._write, json.dumps(told).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._read, 65536)
            assert part, "the browser is gone"
            self._rest += part
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def tab(
        self, url: str, width: int = 1280, dark: bool = False, blocked: str = ""
    ) -> "Tab":
        """Open a tab that fetches nothing whose address matches ``blocked``."""
        # In a window of its own, or it would be hidden by the next one.
        new = {"url": "about:blank", "newWindow": True}
        made = self.call("Target.createTarget", **new)["targetId"]
        found = self.call("Target.attachToTarget", targetId=made, flatten=True)
        tab = Tab(self, found["sessionId"])
        for domain in ("Page", "Runtime", "Network", "Log"):
            tab.call(f"{domain}.enable")
        tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
        if blocked:
            tab.call("Network.setBlockedURLs", urls=[blocked])
        tab.look_as(width, dark)
        tab.open(url)
        return tab


class Tab:
    """A tab of it."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser, self.session = browser, session

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        return self.browser.call(method, self.session, **given)

    def look_as(self, width: int, dark: bool) -> None:
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", **screen, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def ask(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        told = {"expression": expression, "returnByValue": True}
        found = self.call("Runtime.evaluate", **told, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until an expression is true, also while pages come and go."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(AssertionError):
                if found := self.ask(expression):
                    return found
            time.sleep(0.02)
        shown = self.ask("document.body.innerText")
        raise AssertionError(f"never: {expression}\n{shown}")

    def click(self, selector: str) -> None:
        """Press the mouse where an element is, once it is there and enabled."""
        where = json.dumps(selector)
        at = self.until(f"({PLACE})({where})")
        look = {"x": at[0], "y": at[1], "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **look)

    def type(self, selector: str, words: str) -> None:
        self.click(selector)
        self.call("Input.insertText", text=words)

    def press(self, key: str) -> None:
        code = {"Enter": 13, "Tab": 9, " ": 32}[key]
        text = {"Enter": "\r", " ": " "}.get(key)
        look = {"key": key, "windowsVirtualKeyCode": code, "code": key}
        typed = {"text": text} if text else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **look, **typed)
        self.call("Input.dispatchKeyEvent", type="keyUp", **look)

    def text(self, selector: str) -> str:
        where = json.dumps(selector)
        return self.ask(f"document.querySelector({where})?.innerText ?? ''")

    def overflow(self) -> int:
        """Return how far the page reaches beyond its window, once it is laid out."""
        self.until("document.readyState === 'complete'")
        return self.ask(OVERFLOW)

    def screenshot(self, path: Path) -> None:
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"]}
        told = {"clip": clip | {"scale": 1}, "captureBeyondViewport": True}
        found = self.call("Page.captureScreenshot", **told)
        path.write_bytes(base64.b64decode(found["data"]))

    def complaints(self) -> list[str]:
        """Return what the browser had to complain about."""
        kinds = ("Log.entryAdded", "Runtime.exceptionThrown")
        return [str(e) for e in self._events() if e["method"] in kinds]

    def asked(self) -> list[str]:
        """Return all addresses that the page asked for."""
        sent = [e for e in self._events() if e["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def _events(self) -> list[dict[str, Any]]:
        self.ask("0")  # take in what has come
        return [e for e in self.browser.events if e.get("sessionId") == self.session]


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser, or skip the test if there is none."""
    to_browser, from_browser = os.pipe(), os.pipe()
    ends = to_browser[0], from_browser[1]
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        rules = ", ".join(f"MAP {host} ~NOTFOUND" for host in BROWSERS_OWN)
        more = ["--remote-debugging-pipe", f"--user-data-dir={folder}"]
        more += [f"--host-resolver-rules={rules}", "about:blank"]
        process = subprocess.Popen(
            [sys.executable, "-c", GIVE, *map(str, ends), executable(), *FLAGS, *more],
            pass_fds=ends,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in ends:
            os.close(end)
        made = Browser(to_browser[1], from_browser[0])
        try:
            yield made
            made.call("Browser.close")
        finally:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(to_browser[1])
            os.close(from_browser[0])
