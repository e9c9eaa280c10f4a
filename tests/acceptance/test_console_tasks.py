"""The pages *Tasks* and *Models and keys* of the console in Chromium, on a real server."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from docx import Document
from playwright.sync_api import Browser, Locator, expect
from tests.conftest import MINI, Sample
from tests.console_page import ConsolePage, ConsoleProcess, free_port, open_console, running_console
from tests.live_page import chromium
from tests.recordings import join
from tests.servers import Server, running_server

pytestmark = pytest.mark.service
HELLO = "The doctor goes to the bank on Friday."
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, samples: Mapping[str, Sample]) -> Path:
    """A folder with recordings: two short ones, and one of a quarter of an hour."""
    folder = tmp_path_factory.mktemp("console-tasks")
    join([samples["en_01"].path], folder / "hello.wav", rounds=1)
    join([samples["en_01"].path, samples["en_02"].path], folder / "meeting.wav", rounds=2)
    join([samples["en_01"].path, samples["en_02"].path], folder / "conference.wav", rounds=130)
    return folder


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Server]:
    private = json.dumps(["127.0.0.0/8"])
    model = str(MINI / "model")
    with running_server(place / "data", model=model, allowed_addresses=private, chunk_seconds="60") as started:
        yield started


@pytest.fixture(scope="module")
def console(server: Server, place: Path) -> Iterator[ConsoleProcess]:
    with running_console(server.url, place / "console.log", "--port", str(free_port())) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def site(place: Path) -> Iterator[str]:
    """Where the recordings can be fetched from."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(place))) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def tasks_of(server: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{server.url}/api/tasks").json()["tasks"]
    return found


def row(tab: ConsolePage, name: str) -> Locator:
    """The part of the list about a task."""
    return tab.page.locator("[class*='st-key-row-']").filter(has_text=name)


def new_task(tab: ConsolePage) -> None:
    tab.page.locator("summary").filter(has_text="New task").click()


def do(tab: ConsolePage, part: Locator, *names: str) -> None:
    """Choose from the menu of a task."""
    part.get_by_role("button", name="⋯").click()
    for name in names:
        tab.page.get_by_test_id("stPopoverBody").get_by_role("button", name=name, exact=True).click()


def test_a_link_is_submitted_opened_corrected_and_downloaded(
    server: Server, console: ConsoleProcess, browser: Browser, site: str
) -> None:
    with open_console(browser, console.url, "tasks") as tab:
        page = tab.page
        new_task(tab)
        page.get_by_role("textbox", name="Links").fill(f"{site}/hello.wav")
        page.get_by_role("textbox", name="Links").press("Control+Enter")
        tab.press("Add")
        expect(row(tab, "hello.wav").get_by_text("Done")).to_be_visible()
        row(tab, "hello.wav").get_by_role("button", name="hello.wav").click()
        expect(page.locator("li.line .text")).to_have_text([HELLO])
        expect(page.get_by_role("slider", name="Position in the recording")).to_be_visible()
        expect(page.get_by_test_id("stAudio")).to_be_attached()

        page.locator("li.line .edit").click()
        page.locator("li.line textarea").fill("The doctor goes to the bench on Friday.")
        page.locator("li.line .save").click()
        expect(page.locator("li.line .text")).to_contain_text(["bench"])
        [task] = tasks_of(server)
        result = httpx.get(f"{server.url}/api/tasks/{task['id']}/result").json()
        assert result["text"] == "The doctor goes to the bench on Friday."
        assert "bench" in tab.download("srt").decode()
        with page.expect_download() as event:
            tab.press("docx")
        written = [paragraph.text for paragraph in Document(str(event.value.path())).paragraphs]
        assert written[0] == "hello" and written[-1].endswith("bench on Friday.")

        page.reload()
        expect(page.locator("li.line .text")).to_contain_text(["bench"])
        tab.press("All tasks")
        expect(page.get_by_role("heading", level=1)).to_have_text("Tasks")
        assert tab.problems == []


def test_a_file_is_submitted_watched_cancelled_and_deleted(
    server: Server, console: ConsoleProcess, browser: Browser, place: Path
) -> None:
    with open_console(browser, console.url, "tasks") as tab:
        page = tab.page
        new_task(tab)
        page.get_by_role("tab", name="File").click()
        page.locator("input[type=file]").set_input_files(place / "conference.wav")
        expect(page.get_by_role("button", name="Add", exact=True)).to_be_enabled()
        tab.press("Add")
        mine = row(tab, "conference.wav")
        expect(mine.get_by_role("progressbar")).to_be_visible()
        mine.get_by_role("button", name="conference.wav").click()
        tab.has_lines()
        expect(page.get_by_role("progressbar")).to_be_visible()
        tab.press("All tasks")

        do(tab, mine, "Cancel")
        expect(mine.get_by_text("Cancelled")).to_be_visible()
        page.keyboard.press("Escape")
        do(tab, mine, "Delete…", "Delete for good")
        expect(mine).to_have_count(0)
        assert "conference.wav" not in [task["file_name"] for task in tasks_of(server)]
        assert tab.problems == []


def test_tasks_are_found_by_what_was_said(
    server: Server, console: ConsoleProcess, browser: Browser, place: Path
) -> None:
    with (place / "meeting.wav").open("rb") as file:
        made = httpx.post(f"{server.url}/api/tasks", files={"file": file}).json()["id"]
    with open_console(browser, console.url, "tasks") as tab:
        expect(row(tab, "meeting.wav").get_by_text("Done")).to_be_visible()
        search = tab.page.get_by_role("textbox", name="Search")
        search.fill("station")
        search.press("Enter")
        expect(row(tab, "meeting.wav")).to_be_visible()
        search.fill("nowhere")
        search.press("Enter")
        expect(tab.page.get_by_text("No task is like this.")).to_be_visible()
        assert all(made not in address for address in tab.addresses)


def test_models_and_keys_are_looked_after(server: Server, console: ConsoleProcess, browser: Browser) -> None:
    """The last of this file: it closes the server."""
    with open_console(browser, console.url, "models") as tab:
        page = tab.page
        do(tab, row(tab, "pocketsphinx").first, "Load")
        expect(row(tab, "pocketsphinx").first.get_by_text("In memory")).to_be_visible()
        page.keyboard.press("Escape")
        page.get_by_role("textbox", name="A short name").fill("our/own")
        page.locator("[data-testid=stFormSubmitButton] button").first.click()
        expect(row(tab, "our/own").get_by_text("Failed")).to_be_visible()
        expect(row(tab, "our/own")).to_contain_text("cannot be reached")

        page.get_by_role("tab", name="API keys").click()
        page.get_by_role("textbox", name="Owner").fill("ann")
        tab.press("Make key")
        expect(page.get_by_text("Copy the key now")).to_be_visible()
        secret = page.locator("[data-testid=stCode]").inner_text().strip()
        assert re.fullmatch(r"kk_[\w-]{43}", secret)
        assert httpx.get(f"{server.url}/api/tasks").status_code == 401
        keys = httpx.get(f"{server.url}/api/keys", headers={"x-api-key": secret}).json()["keys"]
        assert [(key["owner"], key["scopes"]) for key in keys] == [("ann", ["admin"])]
        tab.press("I have kept it")
        expect(page.locator("[data-testid=stCode]")).to_have_count(0)
        tab.go_to("Tasks")
        expect(row(tab, "meeting.wav")).to_be_visible()
        assert not any(secret in address for address in tab.addresses)
    with open_console(browser, console.url, "tasks", viewport=PHONE) as stranger:
        expect(stranger.page.get_by_label("API key")).to_be_visible()
        expect(row(stranger, "meeting.wav")).to_have_count(0)
        stranger.sign_in(secret)
        expect(row(stranger, "meeting.wav")).to_be_visible()
        assert stranger.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it fits a phone"
