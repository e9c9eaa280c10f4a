"""What the live page does with all that can happen, on a server that says what the test wants."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.live_page import ALLOWED, FAKE_MICROPHONE, LivePage, chromium, open_page
from tests.live_servers import KEY, ScriptedServer, scripted_server

pytestmark = pytest.mark.service

FIRST, SECOND, THIRD = "The first sentence.", "The second one.", "And a third."
LONG = " ".join(["Somebody tells a long story about a river and the people who live beside it."] * 4)
WEBM = b"\x1aE\xdf\xa3"
"""How every WebM stream begins."""
TWO_SECONDS_OR_MORE = re.compile(r"0[1-9]:\d\d|00:(0[2-9]|[1-5]\d)")
"""On the timer, which shows each second once, whoever looks or not."""
READABLE_CONTRAST = 4.5
"""Of WCAG 2.2, level AA, for text of any size."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(FAKE_MICROPHONE, ALLOWED) as browser:
        yield browser


@pytest.fixture
def script() -> Iterator[ScriptedServer]:
    with scripted_server() as script:
        yield script


@pytest.fixture
def live(browser: Browser, script: ScriptedServer) -> Iterator[LivePage]:
    with open_page(browser, script.url) as live:
        yield live
        assert live.problems == []


@pytest.fixture(scope="module")
def modules(browser: Browser) -> Iterator[Page]:
    """A page that nobody does anything with: its scripts are tried by themselves, and keep nothing in mind."""
    with scripted_server() as script, open_page(browser, script.url) as live:
        yield live.page
        assert live.problems == []


def listening(live: LivePage) -> LivePage:
    live.start()
    live.is_in_state("live")
    return live


# Text ------------------------------------------------------------------------------------------------------------


def test_what_is_stable_is_darker_than_what_may_change(live: LivePage, script: ScriptedServer) -> None:
    listening(live)
    script.interim("The first sen", stable="The first")
    pending = live.page.locator("#pending")
    expect(pending.locator(".stable")).to_have_text("The first")
    expect(pending.locator(".tail")).to_have_text(" sen", use_inner_text=True)
    assert live.page.locator(".stable").evaluate(COLOR) != live.page.locator(".tail").evaluate(COLOR)
    script.final(FIRST)
    live.shows(FIRST)
    expect(pending.locator(".entry")).to_have_count(0)


def test_a_final_that_comes_twice_is_shown_once(live: LivePage, script: ScriptedServer) -> None:
    listening(live)
    script.final(FIRST, utterance=0)
    script.final(FIRST, utterance=0)
    script.interim("late", utterance=0)
    script.final(FIRST, utterance=1)
    live.shows(FIRST, FIRST)
    expect(live.page.locator("#pending .entry")).to_have_count(0)


def test_a_text_that_was_no_speech_goes_away(live: LivePage, script: ScriptedServer) -> None:
    listening(live)
    script.interim("Thank you")
    expect(live.page.locator("#pending")).to_contain_text("Thank you")
    script.interim("")
    expect(live.page.locator("#pending .entry")).to_have_count(0)


def test_a_translation_grows_below_its_sentence_and_is_kept(live: LivePage, script: ScriptedServer) -> None:
    live.choose("Translation", "Japanese")
    listening(live)
    assert script.starts[0]["translate_to"] == "ja"
    script.final(FIRST, utterance=1)
    script.final(SECOND, utterance=2)
    script.say(type="translation", utterance=1, text="最初の", lang="ja", done=False)
    live.shows(FIRST, "最初の", SECOND)
    script.say(type="translation", utterance=1, text="最初の文。", lang="ja", done=True)
    script.say(type="translation", utterance=2, text="", lang="ja", done=True, failed=True)
    script.say(type="notice", message="No language model is set up.", code="llm_unavailable", utterance=2)
    live.notices("No language model is set up.")
    live.shows(FIRST, "最初の文。", SECOND)
    end_round(live, script)
    live.page.reload()
    live.shows(FIRST, "最初の文。", SECOND)


def test_an_utterance_that_failed_keeps_what_was_read(live: LivePage, script: ScriptedServer) -> None:
    listening(live)
    script.interim("The first sen", stable="The first")
    script.say(type="error", message="The engine failed.", code="internal_error", utterance=0, start=0, end=1)
    live.shows("The first sen")
    live.notices("The engine failed.")
    live.is_in_state("live")


def test_times_go_on_in_the_next_round(live: LivePage, script: ScriptedServer) -> None:
    listening(live)
    script.final(FIRST, start=0.5, end=2)
    expect(live.page.get_by_role("timer")).to_have_text(TWO_SECONDS_OR_MORE)
    end_round(live, script)
    listening(live)
    script.final(SECOND, start=0.5, end=2)
    live.shows(FIRST, SECOND)
    times = live.page.locator("#finals time").all_inner_texts()
    assert times[0] == "00:00" and times[1] >= "00:02"


def test_a_reload_keeps_the_text_and_clear_can_be_taken_back(live: LivePage, script: ScriptedServer) -> None:
    listening(live)
    script.final(FIRST)
    script.interim("not yet final", utterance=1)
    expect(live.page.locator("#pending")).to_contain_text("not yet final")
    live.page.once("dialog", lambda dialog: dialog.accept())
    live.page.reload()
    live.shows(FIRST, "not yet final")
    live.page.get_by_role("button", name="Clear").click()
    expect(live.page.get_by_role("heading", name="Speak, and read along.")).to_be_visible()
    live.page.get_by_role("button", name="Bring it back").click()
    live.shows(FIRST, "not yet final")
    live.page.get_by_role("button", name="Clear").click()
    live.page.reload()
    expect(live.page.locator("#finals .entry")).to_have_count(0)


def test_clear_while_somebody_speaks_keeps_what_comes(live: LivePage, script: ScriptedServer) -> None:
    listening(live)
    script.final(FIRST, utterance=0)
    script.interim("The second", utterance=1)
    live.shows(FIRST)
    live.page.get_by_role("button", name="Clear").click()
    live.shows()
    script.final(FIRST, utterance=0)
    script.final(SECOND, utterance=1)
    live.shows(SECOND)


def test_copy_and_downloads(browser: Browser, script: ScriptedServer) -> None:
    with open_page(browser, script.url, permissions=["clipboard-read", "clipboard-write", "microphone"]) as live:
        listening(live)
        words = [{"word": f" {word}", "start": 4 + n, "end": 4.9 + n} for n, word in enumerate(LONG.split())]
        script.final("A < B & C", start=0.5, end=2.25)
        script.final(LONG, utterance=1, start=4, end=4 + len(words), words=words)
        live.shows("A < B & C", LONG)
        live.page.get_by_role("button", name="Copy").click()
        live.notices("Copied.")
        assert live.page.evaluate("navigator.clipboard.readText()") == f"A < B & C\n{LONG}\n"
        assert downloaded(live, "Text") == f"A < B & C\n{LONG}\n"
        srt = downloaded(live, "Subtitles, SubRip")
        assert srt.startswith("1\n00:00:00,500 --> 00:00:02,250\nA < B & C\n\n2\n00:00:04,000 --> ")
        vtt = downloaded(live, "Subtitles, WebVTT")
        assert vtt.startswith("WEBVTT\n\n00:00:00.500 --> 00:00:02.250\nA &lt; B &amp; C\n\n")
        cues = [block.split("\n") for block in srt.strip().split("\n\n")]
        assert " ".join(cue[2] for cue in cues[1:]) == LONG
        assert len(cues) > 5 and all(len(cue) == 3 and len(cue[2]) <= 84 for cue in cues)


def downloaded(live: LivePage, option: str) -> str:
    with live.page.expect_download() as started:
        live.choose("Download", option)
    path = started.value.path()
    return Path(path).read_text(encoding="utf-8")


def test_a_reader_who_looks_back_is_left_in_peace(live: LivePage, script: ScriptedServer) -> None:
    listening(live)
    for number in range(12):
        script.final(LONG, utterance=number)
    expect(live.page.locator("#finals .entry")).to_have_count(12)
    live.page.wait_for_function("scrollY + innerHeight > document.documentElement.scrollHeight - 5")
    live.page.evaluate(SCROLL_UP)
    script.final(THIRD, utterance=12)
    newest = live.page.get_by_role("button", name="Newest text")
    expect(newest).to_be_visible()
    assert live.page.evaluate("scrollY") == 0
    newest.click()
    expect(live.page.get_by_text(THIRD)).to_be_in_viewport()


# The connection --------------------------------------------------------------------------------------------------


def end_round(live: LivePage, script: ScriptedServer) -> None:
    before = script.ends
    live.stop()
    script.wait_for(lambda: script.ends == before + 1)
    script.say(type="ended")
    live.is_in_state("idle")


def test_stop_waits_for_the_last_words(live: LivePage, script: ScriptedServer) -> None:
    listening(live)
    script.interim("The last")
    live.stop()
    live.is_in_state("finishing")
    script.wait_for(lambda: script.ends == 1)
    script.final("The last words.")
    script.say(type="ended")
    live.is_in_state("idle")
    live.shows("The last words.")


def test_a_second_press_does_not_wait(live: LivePage, script: ScriptedServer) -> None:
    listening(live)
    script.interim("The last")
    live.stop()
    live.page.get_by_role("button", name="Finish now").click()
    live.is_in_state("idle")
    live.shows("The last")


def test_a_session_is_taken_up_again(live: LivePage, script: ScriptedServer) -> None:
    listening(live)
    script.final(FIRST, utterance=0)
    script.interim("The sec", utterance=1)
    script.cut()
    live.notices("Nothing was lost")
    script.final(FIRST, utterance=0)
    script.final(SECOND, utterance=1)
    live.shows(FIRST, SECOND)
    end_round(live, script)
    assert script.resumes == 1 and len(script.starts) == 1


def test_a_session_that_is_gone_goes_on_in_a_new_one(live: LivePage, script: ScriptedServer) -> None:
    listening(live)
    script.final(FIRST, utterance=0, start=0, end=0.5)
    script.interim("The sec", utterance=1, start=0.6, end=1)
    expect(live.page.locator("#pending")).to_contain_text("The sec")
    script.forgets = True
    script.cut(1012)
    live.notices("in a new session")
    script.wait_for(lambda: len(script.starts) == 2 and len(script.audio) > 0)
    script.final(SECOND, utterance=0, start=0.1, end=1)
    live.shows(FIRST, SECOND)
    end_round(live, script)


def test_a_session_that_the_server_ends_goes_on_in_a_new_one(live: LivePage, script: ScriptedServer) -> None:
    listening(live)
    script.final(FIRST, utterance=0, start=0, end=0.5)
    script.say(type="ended")
    script.wait_for(lambda: len(script.starts) == 2 and len(script.audio) > 0)
    script.final(SECOND, utterance=0, start=0.1, end=1)
    live.shows(FIRST, SECOND)
    end_round(live, script)


def test_a_server_that_is_full_after_an_outage_is_asked_again(live: LivePage, script: ScriptedServer) -> None:
    listening(live)
    script.forgets = script.full = True
    script.cut()
    live.is_in_state("reconnecting")
    script.wait_for(lambda: script.refusals >= 2)
    script.full = False
    script.wait_for(lambda: len(script.starts) == 2)
    live.is_in_state("live")


def test_stop_during_an_outage_still_gives_the_last_words(live: LivePage, script: ScriptedServer) -> None:
    listening(live)
    script.away = True
    script.cut()
    live.is_in_state("reconnecting")
    live.stop()
    script.away = False
    script.wait_for(lambda: script.resumes == 1 and script.ends == 1)
    script.final("The last words.")
    script.say(type="ended")
    live.is_in_state("idle")
    live.shows("The last words.")


SCROLL_UP = """() => new Promise((noticed) => {
  addEventListener("scroll", () => noticed(), {once: true});
  scrollTo(0, 0);
})"""
"""Until the page knows of it, too."""
EXACT_AUDIO = """async ({url, frames}) => {
  const {Connection} = await import("/live/connection.js");
  const states = [];
  await new Promise((over) => {
    const on = new Proxy({}, {get: (_, name) => (...facts) => {
      states.push([name, ...facts]);
      if (name === "over") over();
    }});
    const start = {lang: "en", resumable: true, encoding: "s16le"};
    const connection = new Connection({url, apiKey: "", start, on});
    let number = 0;
    const timer = setInterval(() => {
      connection.push(Int16Array.from({length: 1600}, (_, index) => (number * 1600 + index) % 30011));
      if (++number < frames) return;
      clearInterval(timer);
      connection.finish();
    }, 10);
  });
  return states;
}"""


def test_every_sample_arrives_once_over_many_sockets(live: LivePage, script: ScriptedServer) -> None:
    frames, url = 150, script.url.replace("http", "ws")
    script.cuts = [part * 3200 for part in (30, 75, 120)]
    live.page.evaluate(f"void (window.outcome = ({EXACT_AUDIO})({{url: '{url}/stt/websocket', frames: {frames}}}))")
    script.wait_for(lambda: script.ends == 1)
    script.say(type="ended")
    states = live.page.evaluate("window.outcome")
    assert ["over", "ended", ""] in states
    assert script.resumes == 3
    samples = [value for (value,) in struct.iter_unpack("<h", bytes(script.audio))]
    assert samples == [number % 30011 for number in range(frames * 1600)]


def test_a_server_that_is_behind_says_so(live: LivePage, script: ScriptedServer) -> None:
    listening(live)
    script.say(type="lag", seconds=12.4)
    live.notices("12 s behind")
    script.say(type="lag", seconds=0)
    expect(live.page.locator(".notice")).to_have_count(0)


def test_a_full_server_says_so(live: LivePage, script: ScriptedServer) -> None:
    script.full = True
    live.start()
    live.notices("The server is full")
    live.is_in_state("idle")


def test_a_key_goes_ahead_of_everything(browser: Browser) -> None:
    with scripted_server(needs_key=True) as script, open_page(browser, script.url) as live:
        live.page.get_by_label("API key").fill(KEY)
        live.page.get_by_role("button", name="Continue").click()
        listening(live)
        assert live.said[0] == {"type": "auth", "api_key": KEY}
        assert live.said[1]["type"] == "start"


def test_a_silent_microphone_is_noticed(browser: Browser, script: ScriptedServer) -> None:
    with open_page(browser, script.url, ready=True) as live:
        live.page.evaluate(SILENT_MICROPHONE)
        listening(live)
        live.notices("It is very quiet.")


def test_an_unplugged_microphone_keeps_the_text(live: LivePage, script: ScriptedServer) -> None:
    live.page.evaluate(WATCHED_MICROPHONE)
    listening(live)
    script.final(FIRST)
    live.shows(FIRST)
    live.page.evaluate("window.track.dispatchEvent(new Event('ended'))")
    live.notices("The microphone was unplugged.")
    script.wait_for(lambda: script.ends == 1)
    script.say(type="ended")
    live.is_in_state("idle")
    live.shows(FIRST)


def test_the_level_moves_with_the_sound_and_rests_without(live: LivePage, script: ScriptedServer) -> None:
    meter = live.page.get_by_role("meter")
    expect(meter).to_have_attribute("aria-valuenow", "0")
    listening(live)
    expect(meter).not_to_have_attribute("aria-valuenow", "0")
    end_round(live, script)
    expect(meter).to_have_attribute("aria-valuenow", "0")


def test_stop_does_not_wait_for_the_browsers_question(live: LivePage, script: ScriptedServer) -> None:
    """Whoever is asked for the microphone and does not answer may think better of it, and is not heard then."""
    live.page.evaluate(LATE_MICROPHONE)
    live.start()
    live.is_in_state("connecting")
    live.stop()
    live.is_in_state("idle")
    assert live.page.evaluate("window.answer()") == "ended"
    live.is_in_state("idle")
    assert script.starts == []
    listening(live)
    assert len(script.starts) == 1


def test_audio_that_does_not_start_is_explained(live: LivePage, script: ScriptedServer) -> None:
    """As in Firefox on a machine without a loudspeaker."""
    live.page.evaluate("void (AudioContext.prototype.resume = () => new Promise(() => {}))")
    live.start()
    live.notices("The browser's audio does not start.")
    live.is_in_state("idle")
    assert script.starts == []


# Choices ---------------------------------------------------------------------------------------------------------


def test_what_is_chosen_is_asked_for_and_remembered(live: LivePage, script: ScriptedServer) -> None:
    live.page.get_by_role("button", name="Spoken language").click()
    live.page.get_by_role("combobox").fill("coreen")
    expect(live.page.get_by_text("No language is called that.")).to_be_visible()
    live.page.get_by_role("combobox").fill("한국")
    live.page.keyboard.press("Enter")
    live.choose("Model", "small")
    listening(live)
    assert (script.starts[0]["lang"], script.starts[0]["model"]) == ("ko", "small")
    expect(live.page.get_by_role("button", name="Model")).to_be_disabled()
    end_round(live, script)
    live.page.reload()
    expect(live.page.get_by_role("button", name="Spoken language")).to_contain_text("Korean")
    expect(live.page.get_by_role("button", name="Model")).to_contain_text("small")


def test_another_microphone_can_be_taken_while_listening(live: LivePage, script: ScriptedServer) -> None:
    listening(live)
    live.page.get_by_role("button", name="Microphone").first.click()
    live.page.get_by_role("option").nth(2).click()
    heard = len(script.audio)
    script.wait_for_audio(heard + 32_000)
    live.is_in_state("live")
    assert len(script.starts) == 1


def test_compressed_sound_is_a_webm_stream_that_cannot_be_resumed(live: LivePage, script: ScriptedServer) -> None:
    live.choose("Sound", "Compressed")
    listening(live)
    script.wait_for_audio(1000)
    assert script.audio.startswith(WEBM)
    assert script.starts[0]["resumable"] is False and script.starts[0]["encoding"] == "webm-opus"
    script.cut()
    live.notices("press Start to go on")
    live.is_in_state("idle")


def test_the_keyboard_is_enough(live: LivePage, script: ScriptedServer) -> None:
    keyboard = live.page.keyboard
    keyboard.press("Tab")
    expect(live.page.get_by_role("link", name="To the start button")).to_be_in_viewport()
    keyboard.press("Enter")
    keyboard.press("Tab")  # the link goes to the button; the next stop is the button itself, or it has the focus now
    live.page.get_by_role("button", name="Model").focus()
    keyboard.press("Enter")
    keyboard.press("ArrowDown")
    keyboard.press("ArrowDown")
    keyboard.press("Enter")
    expect(live.page.get_by_role("button", name="Model")).to_be_focused()
    live.page.get_by_role("button", name="Start", exact=True).focus()
    keyboard.press("Space")
    live.is_in_state("live")
    assert script.starts[0]["model"] == "small"
    live.page.get_by_role("button", name="Microphone").first.focus()
    keyboard.press("Enter")
    expect(live.page.get_by_role("listbox")).to_be_visible()
    keyboard.press("Escape")
    expect(live.page.get_by_role("listbox")).to_be_hidden()


@pytest.mark.parametrize(
    ("locale", "code", "start"),
    [
        ("en-GB", "en", "Start"),
        ("ja-JP", "ja", "開始"),
        ("ko-KR", "ko", "시작"),
        ("zh-TW", "zh-Hans", "开始"),
        ("fr", "en", "Start"),
    ],
)
def test_the_page_speaks_the_browsers_language(
    browser: Browser, script: ScriptedServer, locale: str, code: str, start: str
) -> None:
    with open_page(browser, script.url, locale=locale) as live:
        expect(live.page.locator("html")).to_have_attribute("lang", code)
        expect(live.page.get_by_role("button", name=start, exact=True)).to_be_enabled()


def test_the_language_of_the_page_can_be_changed(live: LivePage) -> None:
    live.choose("Language of this page", "日本語")
    expect(live.page.get_by_role("button", name="開始", exact=True)).to_be_visible()
    live.page.reload()
    expect(live.page.get_by_role("button", name="開始", exact=True)).to_be_visible()


def test_all_languages_have_the_same_texts(modules: Page) -> None:
    words = modules.evaluate(
        """async () => Object.fromEntries(await Promise.all(["en", "ja", "ko", "zh"].map(
             async (code) => [code, (await import(`/live/words/${code}.js`)).default])))"""
    )
    english = words.pop("en")
    for texts in words.values():
        assert texts.keys() == english.keys()
        for name, text in texts.items():
            assert text and fields(text) == fields(english[name]), name


def fields(text: str) -> set[str]:
    return {part.partition("}")[0] for part in text.split("{")[1:]}


# Looks -----------------------------------------------------------------------------------------------------------

COLOR = "(element) => getComputedStyle(element).color"
SILENT_MICROPHONE = """() => {
  navigator.mediaDevices.getUserMedia = async () => new AudioContext().createMediaStreamDestination().stream;
}"""
WATCHED_MICROPHONE = """() => {
  const devices = navigator.mediaDevices;
  const ask = devices.getUserMedia.bind(devices);
  devices.getUserMedia = async (wish) => {
    const stream = await ask(wish);
    [window.track] = stream.getAudioTracks();
    return stream;
  };
}"""
LATE_MICROPHONE = """() => {
  const devices = navigator.mediaDevices;
  const ask = devices.getUserMedia.bind(devices);
  devices.getUserMedia = (wish) => new Promise((allow) => {
    window.answer = async () => {
      const stream = await ask(wish);
      devices.getUserMedia = ask;
      allow(stream);
      const [track] = stream.getTracks();
      while (track.readyState === "live") await new Promise((later) => setTimeout(later, 10));
      return track.readyState;
    };
  });
}"""
CONTRAST = """(element) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const light = (color) => {
    for (const paint of [getComputedStyle(document.documentElement).backgroundColor, color]) {
      canvas.fillStyle = paint;
      canvas.fillRect(0, 0, 1, 1);
    }
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255)
      .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let behind = element;
  while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
  const [a, b] = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(light);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""
TEXTS = (
    ".stable", ".tail", "#finals p", "#finals time", ".choice-name", ".choice-value", ".timer", "#state",
    "#listen-text", ".notice p", ".brand-ja", ".text-tool span",
)  # fmt: skip
SIZES = {"wide": (1280, 800), "tablet": (768, 1024), "phone": (390, 844), "small": (320, 568)}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_fits_and_can_be_read(
    browser: Browser, script: ScriptedServer, scheme: Any, size: str, tmp_path: Path
) -> None:
    width, height = SIZES[size]
    with open_page(browser, script.url, color_scheme=scheme, viewport={"width": width, "height": height}) as live:
        look(live.page, tmp_path / "empty.png")
        listening(live)
        script.final(LONG, start=0.5, end=20)
        script.interim("The second one is not", stable="The second one", utterance=1, start=21, end=24)
        script.say(type="lag", seconds=7)
        live.notices("7 s behind")
        look(live.page, tmp_path / "running.png")
        for text in TEXTS:
            for element in live.page.locator(text).all():
                if element.is_visible():
                    assert element.evaluate(CONTRAST) >= READABLE_CONTRAST, text
        end_round(live, script)
        script.full = True
        live.start()
        live.notices("The server is full")
        look(live.page, tmp_path / "error.png")


def look(page: Page, picture: Path) -> None:
    """Save what is seen; nothing may stick out, and the button is always in reach."""
    page.screenshot(path=picture)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(page.locator("#listen")).to_be_in_viewport(ratio=1)


def test_on_a_phone_what_cannot_be_changed_leaves_its_place_to_the_text(
    browser: Browser, script: ScriptedServer
) -> None:
    with open_page(browser, script.url, viewport={"width": 390, "height": 844}) as live:
        choices = live.page.locator(".choice")
        expect(choices.filter(visible=True)).to_have_count(5)
        listening(live)
        expect(choices.filter(visible=True)).to_have_count(1)
        end_round(live, script)
        live.choose("Sound", "Compressed")
        live.start()
        live.is_in_state("live")
        expect(live.page.locator(".choices")).to_be_hidden()


@pytest.mark.parametrize("locale", ["en-US", "ja-JP", "ko-KR", "zh-CN"])
def test_names_and_usual_values_of_the_choices_are_not_cut_off(
    browser: Browser, script: ScriptedServer, locale: str
) -> None:
    with open_page(browser, script.url, locale=locale, viewport={"width": 1280, "height": 800}) as live:
        for text in live.page.locator(".choice span").all():
            assert text.evaluate("(element) => element.scrollWidth <= element.clientWidth"), text.inner_text()


def test_who_wants_no_motion_gets_none(browser: Browser, script: ScriptedServer) -> None:
    with open_page(browser, script.url, reduced_motion="reduce") as live:
        listening(live)
        script.interim("Still")
        expect(live.page.locator("#pending .entry")).to_be_visible()
        assert live.page.evaluate("document.getAnimations().length") == 0


# Sound -----------------------------------------------------------------------------------------------------------

RESAMPLED = """async ({rate, hertz}) => {
  const {Resampler} = await import("/live/resample.js");
  const tone = Float32Array.from({length: rate}, (_, index) => Math.sin(2 * Math.PI * hertz * index / rate));
  const resampler = new Resampler(rate, 16000);
  const parts = [];
  for (let at = 0, step = 1; at < rate; at += step, step = step % 997 + 13) {
    parts.push(resampler.push(tone.slice(at, at + step)));
  }
  parts.push(resampler.flush());
  return parts.flatMap((part) => [...part]);
}"""


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_a_tone_keeps_its_height_loudness_and_length(modules: Page, rate: int) -> None:
    samples = modules.evaluate(RESAMPLED, {"rate": rate, "hertz": 1000})
    assert len(samples) == pytest.approx(16_000, abs=2)
    wanted = modules.evaluate("Array.from({length: 16000}, (_, index) => Math.sin(2 * Math.PI * index / 16))")
    middle = range(1000, 15_000)
    assert max(abs(samples[index] - wanted[index]) for index in middle) < 0.002


@pytest.mark.parametrize("hertz", [8_400, 12_000, 15_000, 17_000, 23_000])
def test_a_tone_that_16_khz_cannot_hold_does_not_fold_back(modules: Page, hertz: int) -> None:
    samples = modules.evaluate(RESAMPLED, {"rate": 48_000, "hertz": hertz})
    assert max(abs(sample) for sample in samples[1000:15_000]) < 0.0005
