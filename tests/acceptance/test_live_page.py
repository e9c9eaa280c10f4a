"""The live page in a real browser, with a recording as its microphone and the mini model behind it."""

from __future__ import annotations

import re
import signal
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from tests.acceptance.test_keys import kikitori
from tests.live_page import ALLOWED, FAKE_MICROPHONE, chromium, hears, open_page
from tests.live_servers import line_to
from tests.recordings import PAUSE, RATE, write_wav
from tests.servers import Server, running_server

if TYPE_CHECKING:
    from tests.conftest import Sample

pytestmark = pytest.mark.service

NAMES = ("en_01", "en_02", "en_01")
SECOND_SENTENCE_SAID = re.compile(r"00:(0[6-9]|[1-5]\d)")
"""On the timer."""


def speech(samples: Mapping[str, Sample], names: Sequence[str], target: Path, *, pause: bytes = PAUSE) -> Path:
    """The sentences with ``pause`` before each and two seconds of silence after all of them."""
    frames = b""
    for name in names:
        with wave.open(str(samples[name].path)) as sample:
            first, last = (round(samples[name].facts["segments"][0][end] * RATE) for end in ("start", "end"))
            frames += pause + sample.readframes(sample.getnframes())[2 * first : 2 * last]
    return write_wav(target, frames + 2 * PAUSE)


def clock_seconds(shown: str) -> int:
    """Of ``01:02``."""
    minutes, seconds = shown.split(":")
    return 60 * int(minutes) + int(seconds)


def test_words_appear_while_somebody_speaks(server: Server, samples: Mapping[str, Sample], tmp_path: Path) -> None:
    recording = speech(samples, NAMES, tmp_path / "speech.wav")
    with chromium(*hears(recording)) as browser, open_page(browser, server.url) as live:
        live.choose("Spoken language", "English")
        live.start()
        live.shows(*[samples[name].text for name in NAMES])
        live.stop()
        live.is_in_state("idle")
        live.shows(*[samples[name].text for name in NAMES])
        expect(live.page.locator("#pending .entry")).to_have_count(0)
        assert live.said[0]["lang"] == "en"
        assert live.problems == []


def test_stop_gives_the_last_words(server: Server, samples: Mapping[str, Sample], tmp_path: Path) -> None:
    recording = speech(samples, NAMES * 4, tmp_path / "speech.wav", pause=b"")
    with chromium(*hears(recording)) as browser, open_page(browser, server.url) as live:
        live.start()
        expect(live.page.locator("#pending .entry")).to_be_visible()
        assert not live.finals(), "somebody is still speaking"
        live.stop()
        live.is_in_state("idle")
        assert live.said[-1] == {"type": "end"}
        assert live.finals()
        live.shows(*live.finals())


def test_a_lost_connection_loses_and_doubles_no_word(
    server: Server, samples: Mapping[str, Sample], tmp_path: Path
) -> None:
    recording = speech(samples, NAMES, tmp_path / "speech.wav")
    with (
        line_to(server.url) as line,
        chromium(*hears(recording)) as browser,
        open_page(browser, line.url) as live,
    ):
        live.choose("Spoken language", "English")
        live.start()
        live.shows(samples[NAMES[0]].text)
        line.cut()
        live.is_in_state("reconnecting")
        live.notices("Go on speaking")
        expect(live.page.get_by_role("timer")).to_have_text(SECOND_SENTENCE_SAID)
        line.mend()
        live.notices("Nothing was lost")
        live.shows(*[samples[name].text for name in NAMES])
        live.stop()
        live.is_in_state("idle")
        live.shows(*[samples[name].text for name in NAMES])
        assert [message["type"] for message in live.said if message["type"] != "ping"] == ["start", "resume", "end"]


def test_a_server_that_is_started_anew_loses_no_word(
    server: Server, samples: Mapping[str, Sample], tmp_path: Path, mini_model: Path
) -> None:
    recording = speech(samples, NAMES[:2], tmp_path / "speech.wav", pause=4 * PAUSE)
    with chromium(*hears(recording)) as browser:
        with running_server(tmp_path / "data", model=str(mini_model)) as old, line_to(old.url) as line:
            with open_page(browser, line.url) as live:
                live.choose("Spoken language", "English")
                live.start()
                live.shows(samples[NAMES[0]].text)
                old.process.send_signal(signal.SIGTERM)
                live.is_in_state("reconnecting")
                line.lead_to(server.url)
                live.notices("in a new session")
                live.shows(*[samples[name].text for name in NAMES[:2]])
                live.stop()
                live.is_in_state("idle")
                first, second = (clock_seconds(at) for at in live.page.locator("#finals time").all_inner_texts())
                assert 5 <= second - first <= 7, "the times go on as if nothing had happened"


def test_a_compressed_stream_is_heard_too(server: Server, samples: Mapping[str, Sample], tmp_path: Path) -> None:
    recording = speech(samples, NAMES[:1], tmp_path / "speech.wav")
    with chromium(*hears(recording)) as browser, open_page(browser, server.url) as live:
        live.choose("Spoken language", "English")
        live.choose("Sound", "Compressed")
        live.start()
        live.shows(samples[NAMES[0]].text)
        live.stop()
        live.is_in_state("idle")
        assert live.said[0]["encoding"] == "webm-opus"
        assert live.problems == []


def test_a_server_with_keys_asks_for_one(tmp_path: Path, mini_model: Path, samples: Mapping[str, Sample]) -> None:
    key = kikitori(tmp_path / "data", "keys", "create", "--name", "page").strip()
    recording = speech(samples, NAMES[:1], tmp_path / "speech.wav")
    with (
        running_server(tmp_path / "data", model=str(mini_model)) as guarded,
        chromium(*hears(recording)) as browser,
        open_page(browser, guarded.url) as live,
    ):
        field = live.page.get_by_label("API key")
        field.fill("kk_wrong")
        field.press("Enter")
        expect(live.page.get_by_text("does not accept this key")).to_be_visible()
        field.fill(key)
        field.press("Enter")
        expect(field).to_be_hidden()
        live.start()
        live.shows(samples[NAMES[0]].text)
        stored = live.page.evaluate("[JSON.stringify(localStorage), JSON.stringify(sessionStorage)]")
        assert key not in stored[0] and key in stored[1]


def test_a_forbidden_microphone_is_explained(server: Server) -> None:
    with chromium(FAKE_MICROPHONE, "--deny-permission-prompts") as browser, open_page(browser, server.url) as live:
        live.start()
        live.notices("The microphone is not allowed.")
        live.is_in_state("idle")


def test_a_missing_microphone_is_explained(server: Server) -> None:
    with chromium(ALLOWED) as browser, open_page(browser, server.url) as live:
        live.start()
        live.notices("There is no microphone.")
        live.is_in_state("idle")


def test_a_page_without_https_says_why_it_cannot_listen(server: Server) -> None:
    with chromium("--host-resolver-rules=MAP desk.test 127.0.0.1") as browser:
        port = server.url.rpartition(":")[2]
        with open_page(browser, f"http://desk.test:{port}") as live:
            expect(live.page.get_by_text("The browser keeps the microphone from this page")).to_be_visible()
            expect(live.page.get_by_text(f"http://localhost:{port}/live")).to_be_visible()
            expect(live.page.get_by_role("button", name="Start", exact=True)).to_be_disabled()
