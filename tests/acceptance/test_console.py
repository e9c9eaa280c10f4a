"""The console in Chromium, with a server and a console as users start them."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, ViewportSize, expect
from tests.acceptance.test_keys import kikitori
from tests.conftest import MINI, ROOT, Sample
from tests.console_page import ConsolePage, ConsoleProcess, free_port, open_console, running_console, told_url
from tests.live_page import chromium, hears
from tests.recordings import join
from tests.servers import Server, running_server

pytestmark = pytest.mark.service
WAIT_SECONDS = 60.0
CHUNK_SECONDS = "60"
"""The first lines come when the first chunk is read, so of a short one they come soon."""
IMAGES = ROOT / "docs" / "images"
LARGE: ViewportSize = {"width": 1280, "height": 860}
PHONE: ViewportSize = {"width": 390, "height": 844}
LOOKS: dict[str, tuple[Literal["light", "dark"], ViewportSize]] = {
    "phone": ("dark", PHONE),
    "dark": ("dark", LARGE),
    "light": ("light", LARGE),
}
DOCUMENTED = {
    "console-file-light": "console-file",
    "console-live-spoken": "console-live",
    "console-tasks-light": "console-tasks",
    "console-file-phone": "console-phone",
}
"""Pictures that the documentation shows, under these names: made anew with KIKITORI_TEST_SCREENSHOTS=1."""
NAMES = ("en_01", "en_02", "en_04")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("console")


@pytest.fixture(scope="module")
def console_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def start_server(place: Path, console_port: int) -> Callable[[], AbstractContextManager[Server]]:
    """Starts the server, and later another one in its place. It is open, and the console may show its live page."""
    port, origins = str(free_port()), json.dumps([f"http://127.0.0.1:{console_port}"])
    settings = {"model": str(MINI / "model"), "console_origins": origins, "chunk_seconds": CHUNK_SECONDS}
    return partial(running_server, place / "data", "--port", port, **settings)


@pytest.fixture(scope="module")
def server(start_server: Callable[[], AbstractContextManager[Server]]) -> Iterator[Server]:
    with start_server() as started:
        yield started


@pytest.fixture(scope="module")
def console(server: Server, place: Path, console_port: int) -> Iterator[ConsoleProcess]:
    with running_console(server.url, place / "console.log", "--port", str(console_port)) as started:
        yield started


@pytest.fixture(scope="module")
def browser(samples: Mapping[str, Sample]) -> Iterator[Browser]:
    """Its microphone hears a sentence."""
    with chromium(*hears(samples["en_01"].path)) as started:
        yield started


@pytest.fixture(scope="module")
def short(place: Path, samples: Mapping[str, Sample]) -> Path:
    """Three sentences, four times."""
    return join([samples[name].path for name in NAMES], place / "interview.wav", rounds=4)


@pytest.fixture(scope="module")
def long(place: Path, samples: Mapping[str, Sample]) -> Path:
    """Eight minutes, so that there is a middle to do something in."""
    return join([samples[name].path for name in NAMES], place / "weekly-meeting.wav", rounds=50)


def heard_by_api(server: Server, recording: Path) -> str:
    with recording.open("rb") as file:
        answer = httpx.post(
            f"{server.url}/v1/audio/transcriptions", files={"file": file}, data={"response_format": "text"}, timeout=600
        )
    return answer.text.strip()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.2)


def answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def test_a_recording_becomes_text_to_search_hear_correct_and_download(
    server: Server, console: ConsoleProcess, browser: Browser, short: Path
) -> None:
    with open_console(browser, console.url) as tab:
        tab.start(short)
        tab.is_in_stage("Done")
        text = heard_by_api(server, short)
        assert tab.text() == text
        tab.has_lines()
        lines = tab.lines()
        assert " ".join(lines) == text

        page = tab.page
        page.get_by_role("searchbox").fill("STATION")
        expect(page.locator("li.line")).to_have_count(sum("station" in line for line in lines))
        page.get_by_role("searchbox").fill("")

        start = float(page.locator("li.line").nth(2).get_attribute("data-start") or 0)
        page.locator("li.line .time").nth(2).click()
        until(lambda: float(page.locator("audio").evaluate("player => player.currentTime")) >= start > 0)

        page.locator("li.line .edit").first.click()
        page.locator("li.line textarea").fill("Something else.")
        page.locator("li.line .save").click()
        expect(page.locator("li.line .text").first).to_contain_text("Something else.")
        subtitles = tab.download("srt").decode()
        assert subtitles.startswith("1\n00:00:00,")
        assert "Something else." in subtitles and lines[-1] in subtitles
        assert tab.download("docx")[:2] == b"PK"
        assert tab.problems == []


def test_text_comes_before_the_end_and_a_stop_half_way_keeps_it(
    server: Server, console: ConsoleProcess, browser: Browser, long: Path
) -> None:
    with open_console(browser, console.url) as tab:
        tab.start(long)
        tab.has_lines()
        tab.press("Stop")
        tab.is_in_stage("Stopped")
        tab.has_lines()
        assert f"{tab.text()} ".startswith(f"{tab.lines()[0]} ")
        expect(tab.page.get_by_role("button", name="srt")).to_be_visible()
    until(lambda: server.busy() == 0)


def test_two_browsers_do_not_mix(
    server: Server, console: ConsoleProcess, browser: Browser, samples: Mapping[str, Sample], place: Path
) -> None:
    mine, yours = samples["en_01"], samples["ja_01"]
    with open_console(browser, console.url) as first, open_console(browser, console.url) as second:
        first.upload([mine.path])
        second.upload([yours.path])
        first.press("Start")
        second.press("Start")
        first.is_in_stage("Done")
        second.is_in_stage("Done")
        assert first.text() == heard_by_api(server, mine.path)
        assert second.text() == heard_by_api(server, yours.path)
        expect(first.page.get_by_text(mine.path.name)).to_have_count(1)
        expect(first.page.get_by_text(yours.path.name)).to_have_count(0)


def test_closing_a_tab_stops_its_run_or_makes_a_task_of_it_and_loading_it_anew_does_neither(
    server: Server, console: ConsoleProcess, browser: Browser, long: Path
) -> None:
    with open_console(browser, console.url) as stays:
        stays.start(long)
        stays.has_lines()
        stays.page.reload()
        stays.is_in_stage("Listening")
        stays.has_lines()
        before = stays.lines()
        with open_console(browser, console.url) as ends, open_console(browser, console.url) as moves:
            ends.start(long, wishes=["Keep recording and text among the tasks"])
            moves.start(long, wishes=["Go on when I close this page"])
            for tab in (ends, moves):
                tab.is_in_stage("Listening")
        until(lambda: states(server, long) == ["cancelled", "running"])
        stays.page.goto(f"{console.url}/live")
        stays.go_to("File")
        stays.is_in_stage(re.compile("Listening|Done"))
        expect(stays.page.get_by_text("Connected again")).to_have_count(0)
        until(lambda: stays.lines()[: len(before)] == before)
        with open_console(browser, console.url) as stranger:
            expect(stranger.page.get_by_role("button", name="Start", exact=True)).to_be_visible()
            expect(stranger.page.locator(".st-key-file-head")).to_have_count(0)
        assert stays.problems == []
    for task in tasks_of(server, long):
        assert httpx.delete(f"{server.url}/api/tasks/{task['id']}").is_success


def tasks_of(server: Server, recording: Path) -> list[dict[str, Any]]:
    found = httpx.get(f"{server.url}/api/tasks").json()["tasks"]
    return [task for task in found if task["file_name"] == recording.name]


def states(server: Server, recording: Path) -> list[str]:
    """Of the tasks of a recording."""
    return sorted(task["status"] for task in tasks_of(server, recording))


def test_live_captions_are_shown_in_the_console_and_remembered(
    server: Server, console: ConsoleProcess, browser: Browser, place: Path
) -> None:
    with open_console(browser, console.url, "live", color_scheme="dark", viewport=LARGE) as tab:
        expect(tab.page.get_by_role("heading", name="Live captions")).to_be_visible()
        tab.page.get_by_text("Keep each session with its audio among the tasks").click()
        live = tab.page.frame_locator("iframe.page")
        expect(live.locator("body[data-ready]")).to_be_attached()
        expect(tab.page.locator("iframe.page[data-record=true]")).to_be_visible()
        live.get_by_role("button", name="Start", exact=True).click()
        expect(live.locator("#finals .entry p").first).to_be_visible()
        said = live.locator("#finals .entry p").first.inner_text()
        take_picture(tab, place / "console-live-spoken.png")
        live.get_by_role("button", name="Stop", exact=True).click()
        expect(tab.page.locator("details.session .text")).to_contain_text(said)
        expect(tab.page.locator("details.session .recorded")).to_have_text("among the tasks")
        tab.page.reload()
        expect(tab.page.locator("details.session .text")).to_contain_text(said)
        until(lambda: kept(server) == [f" {said}"] or kept(server) == [said])
        assert tab.problems == []


def kept(server: Server) -> list[str]:
    """The texts of live sessions that became tasks."""
    tasks = httpx.get(f"{server.url}/api/tasks", params={"platform": "live"}).json()["tasks"]
    return [httpx.get(f"{server.url}/api/tasks/{task['id']}/result").json()["text"] for task in tasks]


def test_a_key_opens_the_console_and_is_nowhere_to_be_seen(
    browser: Browser, place: Path, samples: Mapping[str, Sample]
) -> None:
    """Server and console as one command, under another name of this machine than the one they were started with."""
    data = place / "guarded"
    key = kikitori(data, "keys", "create", "--name", "somebody").strip()
    flags = ("--console", "--console-port", str(free_port()))
    with running_server(data, *flags, model=str(MINI / "model")) as server:
        url = told_url(server.log, r"console for people is at (http\S+)\.\s", server.process)
        with open_console(browser, url.replace("127.0.0.1", "localhost")) as tab:
            tab.sign_in("kk_wrong")
            expect(tab.page.get_by_text("The server does not take this key.")).to_be_visible()
            take_pictures(tab, place, "sign-in")
            tab.sign_in(key)
            tab.start(samples["en_01"].path, wishes=["Keep recording and text among the tasks"])
            tab.is_in_stage("Done")
            assert tab.text() == samples["en_01"].text
            tab.page.reload()
            expect(tab.page.get_by_label("API key")).to_have_value("")
            expect(tab.page.locator(".st-key-file-head")).to_have_count(0)
            tab.sign_in(key)
            tab.is_in_stage("Done")
            assert tab.text() == samples["en_01"].text
            tab.go_to("Tasks")
            expect(tab.page.get_by_role("button", name=samples["en_01"].path.name)).to_be_visible()
            tab.go_to("Live")
            live = tab.page.frame_locator("iframe.page")
            expect(live.locator("body[data-ready]")).to_be_attached()
            live.get_by_role("button", name="Start", exact=True).click()
            expect(live.locator("#finals .entry p").first).to_be_visible()
            live.get_by_role("button", name="Stop", exact=True).click()
            expect(live.locator("body[data-state=idle]")).to_be_attached()
            stored = "JSON.stringify({...localStorage, ...sessionStorage})"
            assert key not in tab.page.evaluate(stored) + live.locator("body").evaluate(f"() => {stored}")
            tab.press("Sign out")
            expect(tab.page.get_by_label("API key")).to_have_value("")
            assert tab.problems == []
            assert not [address for address in tab.addresses if "kk_" in address]
        assert key not in server.log.read_text()
        first = console_process(server)
        assert key not in " ".join([*first.cmdline(), *first.environ().values()])
        first.kill()
        until(lambda: not first.is_running())
        until(lambda: answers(f"{url}/_stcore/health"))  # it was started again
        second = console_process(server)
    assert not second.is_running()


def console_process(server: Server) -> psutil.Process:
    """The console that a server has started."""
    [found] = [
        child
        for child in psutil.Process(server.process.pid).children()
        if child.status() != psutil.STATUS_ZOMBIE and "kikitori.console.process" in child.cmdline()
    ]
    return found


def test_every_page_looks_right(
    server: Server, console: ConsoleProcess, browser: Browser, long: Path, pictures: Path
) -> None:
    """People look at the pictures; here, nothing may stick out of the page, and no script may fail."""
    with open_console(browser, console.url, viewport=LARGE) as tab:
        tab.start(long)
        expect(tab.page.locator("li.line").nth(9)).to_be_attached()
        expect(tab.page.get_by_text("as fast as spoken")).to_be_visible()
        take_pictures(tab, pictures, "file")
        tab.press("Stop")
        tab.is_in_stage("Stopped")
        tab.go_to("Live")
        expect(tab.page.frame_locator("iframe.page").locator("body[data-ready]")).to_be_attached()
        take_pictures(tab, pictures, "live")
        tab.go_to("Tasks")
        expect(tab.page.get_by_text("board-meeting.wav").filter(visible=True).first).to_be_visible()
        expect(tab.page.get_by_role("textbox", name="Search")).to_be_visible()
        take_pictures(tab, pictures, "tasks")
        tab.go_to("Models and keys")
        expect(tab.page.get_by_text("pocketsphinx").filter(visible=True).first).to_be_visible()
        take_pictures(tab, pictures, "models")
        assert tab.problems == []


@pytest.fixture(scope="module")
def pictures(place: Path, server: Server, short: Path) -> Path:
    """Where pictures go. There are tasks to be seen."""
    for name in ("board-meeting.wav", "interview.wav", "lecture-3.wav"):
        with short.open("rb") as recording:
            httpx.post(f"{server.url}/api/tasks", files={"file": (name, recording)}, data={"tags": "demo"}, timeout=60)
    wanted = {"tag": "demo", "status": "succeeded"}
    until(lambda: httpx.get(f"{server.url}/api/tasks", params=wanted).json()["total"] == 3)
    return place


def take_pictures(tab: ConsolePage, folder: Path, name: str) -> None:
    """The page by day, by night, and on a phone."""
    for look, (scheme, viewport) in LOOKS.items():
        tab.page.emulate_media(color_scheme=scheme)
        tab.page.set_viewport_size(viewport)
        take_picture(tab, folder / f"console-{name}-{look}.png")
    tab.page.set_viewport_size(LARGE)


def take_picture(tab: ConsolePage, target: Path) -> None:
    wide = tab.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    main = tab.page.get_by_test_id("stMain").evaluate("main => main.scrollWidth - main.clientWidth")
    assert (wide, main) == (0, 0), target.name
    tab.page.screenshot(path=target, animations="disabled")
    if os.environ.get("KIKITORI_TEST_SCREENSHOTS") and target.stem in DOCUMENTED:
        IMAGES.mkdir(exist_ok=True)
        shutil.copy(target, IMAGES / f"{DOCUMENTED[target.stem]}.png")


def test_a_server_that_is_killed_and_comes_back_is_met_again(
    server: Server,
    start_server: Callable[[], AbstractContextManager[Server]],
    console: ConsoleProcess,
    browser: Browser,
    short: Path,
    long: Path,
) -> None:
    """After all others that use the server."""
    with open_console(browser, console.url) as tab:
        tab.start(long)
        tab.has_lines()
        server.process.kill()
        server.process.wait()
        tab.is_in_stage("Connection lost")
        expect(tab.page.get_by_text("The connection to the server was lost.")).to_be_visible()
        tab.has_lines()
        expect(tab.page.get_by_text("Server not reachable")).to_be_visible()
        with start_server() as second:
            tab.is_in_stage("Listening")
            expect(tab.page.get_by_text("Connected again")).to_be_visible()
            tab.press("Stop")
            tab.is_in_stage("Stopped")
            expect(tab.page.get_by_text("Server ready")).to_be_visible()
            tab.start(short)
            tab.is_in_stage("Done")
            assert tab.text() == heard_by_api(second, short)
        assert tab.problems == []
    assert "Traceback" not in console.log.read_text()


def test_no_file_name_and_no_text_is_logged(server: Server, console: ConsoleProcess) -> None:
    """After all the others."""
    for log in (server.log, console.log):
        assert not re.search(r"interview|meeting|station", log.read_text())
