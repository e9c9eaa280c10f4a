"""The live page in Debian's Chromium, with a recording in place of the microphone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, WebSocket, expect, sync_playwright

CHROMIUM = os.environ.get("KIKITORI_TEST_CHROMIUM") or shutil.which("chromium") or ""
WAIT_MS = 60_000
FAKE_MICROPHONE = "--use-fake-device-for-media-stream"
ALLOWED = "--use-fake-ui-for-media-stream"


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("Chromium is missing: apt-get install chromium, or name it in KIKITORI_TEST_CHROMIUM")
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(flags))
        try:
            yield browser
        finally:
            browser.close()


def hears(recording: Path) -> tuple[str, ...]:
    """Flags of a browser whose microphone plays ``recording`` once, and then is silent."""
    return FAKE_MICROPHONE, ALLOWED, f"--use-file-for-fake-audio-capture={recording}%noloop"


@dataclass
class LivePage:
    """The page, as somebody uses it; what it says to the server and hears from it is kept."""

    page: Page
    said: list[dict[str, Any]] = field(default_factory=list)
    heard: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What the browser complained about: errors of scripts, violations of the page's policy."""

    def start(self) -> None:
        self.page.get_by_role("button", name="Start", exact=True).click()

    def stop(self) -> None:
        self.page.get_by_role("button", name="Stop", exact=True).click()

    def is_in_state(self, state: str) -> None:
        expect(self.page.locator("body")).to_have_attribute("data-state", state)

    def shows(self, *texts: str) -> None:
        expect(self.page.locator("#finals .entry p")).to_have_text(list(texts))

    def notices(self, text: str) -> None:
        expect(self.page.locator(".notice").filter(has_text=text)).to_be_visible()

    def finals(self) -> list[str]:
        return [message["text"] for message in self.heard if message["type"] == "final"]

    def choose(self, button: str, option: str) -> None:
        self.page.get_by_role("button", name=button).click()
        self.page.get_by_role("option", name=option).click()


@contextmanager
def open_page(browser: Browser, url: str, *, ready: bool = True, **context: Any) -> Iterator[LivePage]:
    """``context``: what Playwright's new_context takes."""
    tab = browser.new_context(**({"locale": "en-US"} | context))
    page = tab.new_page()
    page.set_default_timeout(WAIT_MS)
    live = LivePage(page)
    page.on("pageerror", lambda error: live.problems.append(str(error)))
    page.on("console", lambda message: live.problems.extend([message.text] if message.type == "error" else []))
    page.on("websocket", lambda socket: _listen(socket, live))
    try:
        page.goto(f"{url}/live")
        if ready:
            expect(page.locator("body[data-ready]")).to_be_attached()
        yield live
    finally:
        tab.close()


def _listen(socket: WebSocket, live: LivePage) -> None:
    def keep(messages: list[dict[str, Any]], frame: str | bytes) -> None:
        if isinstance(frame, str):
            messages.append(json.loads(frame))

    socket.on("framesent", lambda frame: keep(live.said, frame))
    socket.on("framereceived", lambda frame: keep(live.heard, frame))
