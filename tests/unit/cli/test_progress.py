from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from kikitori.cli.inputs import Recording
from kikitori.cli.progress import Bars, Lines, Reporter, Silence, progress_words, shortened, summary
from kikitori.pipeline.events import Progress
from kikitori.testing import FakeClock
from kikitori.types import Transcript

TALK = Recording(name="talk.mp3", path=Path("talk.mp3"))
OTHER = Recording(name="other.mp3", path=Path("other.mp3"))
TRANSCRIPT = Transcript(segments=(), language="en", duration=60.0, model="small", engine="whisper")


@pytest.mark.parametrize(
    ("done", "duration", "elapsed", "words"),
    [
        (0.0, 60.0, 0.0, "0 %, 0:00 of 1:00"),
        (15.0, 60.0, 5.0, "25 %, 0:15 of 1:00, 3.0× real time, 0:15 left"),
        (60.0, 60.0, 5.0, "100 %, 1:00 of 1:00, 12.0× real time, 0:00 left"),
        (3_700.0, None, 37.0, "1:01:40, 100.0× real time"),
        (0.0, None, 0.0, "0:00"),
    ],
)
def test_progress_in_words(done: float, duration: float | None, elapsed: float, words: str) -> None:
    assert progress_words(Progress(seconds_done=done, duration=duration), elapsed) == words


def test_a_summary_names_what_is_known() -> None:
    assert summary(TRANSCRIPT, 5.0) == "1:00 of audio in 0:05 (12.0× real time), small, en"
    assert summary(replace(TRANSCRIPT, language="", model=""), 0.0) == "1:00 of audio in 0:00 (- real time)"


def test_lines_come_every_few_seconds() -> None:
    clock, out = FakeClock(), io.StringIO()
    with Lines(out, clock=clock) as lines:
        lines.begin(TALK)
        for second in range(1, 13):
            clock.advance(1)
            lines.advance(TALK, Progress(seconds_done=float(second * 5), duration=60.0))
        lines.end(TALK, TRANSCRIPT)
    assert out.getvalue().splitlines() == [
        "talk.mp3: 42 %, 0:25 of 1:00, 5.0× real time, 0:07 left",
        "talk.mp3: 83 %, 0:50 of 1:00, 5.0× real time, 0:02 left",
        "talk.mp3: done, 1:00 of audio in 0:12 (5.0× real time), small, en",
    ]


def test_what_others_measured_is_told_as_they_say() -> None:
    clock, out = FakeClock(), io.StringIO()
    with Lines(out, clock=clock) as lines:
        lines.begin(TALK)
        lines.tell(TALK, "queued, number 3")
        clock.advance(100)
        lines.advance(TALK, Progress(seconds_done=30.0, duration=60.0), elapsed=10.0)
        lines.end(TALK, TRANSCRIPT, elapsed=20.0)
    assert out.getvalue().splitlines() == [
        "talk.mp3: queued, number 3",
        "talk.mp3: 50 %, 0:30 of 1:00, 3.0× real time, 0:10 left",
        "talk.mp3: done, 1:00 of audio in 0:20 (3.0× real time), small, en",
    ]


def test_a_failed_recording_has_no_summary() -> None:
    out = io.StringIO()
    lines = Lines(out)
    lines.begin(TALK)
    lines.end(TALK, None)
    assert out.getvalue() == ""


def test_bars_show_each_recording_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "140")
    clock, out = FakeClock(), io.StringIO()
    with Bars(out, clock=clock) as bars:
        bars.begin(TALK)
        bars.begin(OTHER)
        clock.advance(5)
        bars.advance(TALK, Progress(seconds_done=15.0, duration=60.0))
        bars.note("[a note] with brackets")
        with bars.paused():
            out.write("<stdout>\n")
        bars.end(TALK, TRANSCRIPT)
        bars.end(OTHER, None)
    shown = out.getvalue()
    assert "25 %, 0:15 of 1:00, 3.0× real time, 0:15 left" in shown
    assert "other.mp3" in shown
    assert "[a note] with brackets" in shown
    assert "✓ talk.mp3: 1:00 of audio in 0:05 (12.0× real time), small, en" in shown
    assert "other.mp3: " not in shown


@pytest.mark.parametrize("reporter", [Lines(io.StringIO()), Bars(io.StringIO()), Silence()])
def test_every_reporter_takes_every_event(reporter: Reporter) -> None:
    with reporter:
        reporter.note("a note")
        reporter.begin(TALK)
        reporter.tell(TALK, "queued")
        reporter.advance(TALK, Progress(seconds_done=0.0, duration=None), elapsed=1.0)
        reporter.advance(TALK, Progress(seconds_done=1.0, duration=0.5))
        with reporter.paused():
            pass
        reporter.end(TALK, TRANSCRIPT)


def test_a_long_name_keeps_its_end() -> None:
    assert shortened("talk.mp3", 12) == "talk.mp3"
    assert shortened("a/very/long/way/to/talk.mp3", 12) == "…to/talk.mp3"
