"""The console in a process of its own, and its pages in Chromium as somebody uses them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.live_page import WAIT_MS
from tests.servers import free_port as free_port

START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class ConsoleProcess:
    """A console that is ready."""

    url: str
    log: Path


@contextmanager
def running_console(server_url: str, log: Path, *flags: str) -> Iterator[ConsoleProcess]:
    """``kikitori console`` as a user starts it."""
    command = [sys.executable, "-m", "kikitori", "console", "--url", server_url, *flags]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True, env=os.environ)
        try:
            yield ConsoleProcess(told_url(log, r"console is at (http\S+),", process), log)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def told_url(log: Path, pattern: str, process: subprocess.Popen[str]) -> str:
    """The address in the line that a process tells when it is ready."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(pattern, log.read_text()):
            return found[1]
        time.sleep(0.05)
    pytest.fail(f"It did not become ready:\n{log.read_text()}")


@dataclass
class ConsolePage:
    """The console in a tab."""

    page: Page
    problems: list[str] = field(default_factory=list)
    """Errors of scripts."""
    addresses: list[str] = field(default_factory=list)
    """Of everything that the browser asked for."""

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def upload(self, files: Sequence[Path]) -> None:
        another = self.page.get_by_text("Another recording", exact=True)
        if another.count() and not self.page.get_by_role("button", name="Start", exact=True).is_visible():
            another.click()
        self.page.locator("input[type=file]").set_input_files(list(files))
        expect(self.page.get_by_role("button", name="Start", exact=True)).to_be_enabled()

    def start(self, *files: Path, wishes: Sequence[str] = ()) -> None:
        """``wishes``: boxes to tick before."""
        self.upload(files)
        for wish in wishes:
            self.page.get_by_text(wish, exact=True).click()
        self.press("Start")

    def is_in_stage(self, stage: str | re.Pattern[str]) -> None:
        expect(self.page.locator(".st-key-file-head")).to_contain_text(stage)

    def has_lines(self) -> None:
        expect(self.page.locator("li.line").first).to_be_visible()

    def lines(self) -> list[str]:
        return [text.strip() for text in self.page.locator("li.line .text").all_inner_texts()]

    def text(self) -> str:
        """The whole text, from its own tab."""
        self.page.get_by_role("tab", name="Full text").click()
        whole = self.page.locator("p.whole")
        expect(whole).to_be_visible()
        text = (whole.text_content() or "").strip()
        self.page.get_by_role("tab", name="Timeline").click()
        return text

    def download(self, suffix: str) -> bytes:
        with self.page.expect_download() as event:
            self.press(suffix)
        return Path(event.value.path()).read_bytes()

    def sign_in(self, key: str) -> None:
        self.page.get_by_label("API key").fill(key)
        self.press("Sign in")

    def go_to(self, page: str) -> None:
        self.page.get_by_role("link", name=page, exact=True).click()
        expect(self.page.get_by_role("heading", level=1)).to_be_visible()


@contextmanager
def open_console(browser: Browser, url: str, path: str = "", **context: Any) -> Iterator[ConsolePage]:
    """``context``: what Playwright's new_context takes."""
    tab = browser.new_context(**({"locale": "en-US"} | context))
    page = tab.new_page()
    page.set_default_timeout(WAIT_MS)
    console = ConsolePage(page)
    page.on("pageerror", lambda error: console.problems.append(str(error)))
    page.on("request", lambda request: console.addresses.append(request.url))
    page.on("websocket", lambda socket: console.addresses.append(socket.url))
    try:
        page.goto(f"{url}/{path}")
        expect(page.get_by_test_id("stSidebar")).to_be_attached()
        yield console
    finally:
        tab.close()
