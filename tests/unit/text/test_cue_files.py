import io
import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import av
import pysubs2
import pytest
from av.subtitles.subtitle import AssSubtitle
from hypothesis import given
from hypothesis import strategies as st

from kikitori.text.cue_files import write_ass, write_lrc, write_srt, write_vtt
from kikitori.text.subtitles import Cue

HOUR = 3600.0


def _cue(start: float, end: float, *lines: str, speaker: str | None = None) -> Cue:
    return Cue(start=start, end=end, lines=lines, speaker=speaker)


TWO = (_cue(0.0, 1.5, "One line"), _cue(2.0, 101 * HOUR + 62.345, "二行の", "字幕です。", speaker="left"))


def test_srt() -> None:
    assert write_srt(TWO) == (
        "1\n00:00:00,000 --> 00:00:01,500\nOne line\n\n2\n00:00:02,000 --> 101:01:02,345\n二行の\n字幕です。\n"
    )


def test_vtt() -> None:
    assert write_vtt(TWO) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nOne line\n\n00:00:02.000 --> 101:01:02.345\n二行の\n字幕です。\n"
    )


def test_vtt_escapes_markup() -> None:
    cues = [_cue(0, 1, "a < b & c --> d", "<i>&amp;", speaker="A & B")]
    assert write_vtt(cues).splitlines()[3:] == ["a &lt; b &amp; c --&gt; d", "&lt;i&gt;&amp;amp;"]
    assert write_vtt(cues, voices=True).splitlines()[3] == "<v A &amp; B>a &lt; b &amp; c --&gt; d"
    assert write_vtt(TWO, voices=True).splitlines()[3] == "One line"


def test_lrc() -> None:
    assert write_lrc([*TWO, _cue(101 * HOUR, 102 * HOUR, "two", "words")]) == (
        "[00:00.00]One line\n[00:02.00]二行の字幕です。\n[6060:00.00]two words\n"
    )


def test_ass() -> None:
    head, events = write_ass(TWO).split("[Events]\n")
    assert head.startswith("[Script Info]\n; Written by Kikitori\n")
    assert "ScriptType: v4.00+" in head and "[V4+ Styles]" in head
    assert events == (
        "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        "Dialogue: 0,0:00:00.00,0:00:01.50,Default,,0,0,0,,One line\n"
        "Dialogue: 0,0:00:02.00,101:01:02.35,Default,left,0,0,0,,二行の\\N字幕です。\n"
    )


def test_ass_escapes_markup() -> None:
    text = write_ass([_cue(0, 1, r"{\b1}a, b\Nc", speaker="a,b")]).splitlines()[-1]
    assert text == "Dialogue: 0,0:00:00.00,0:00:01.00,Default,a b,0,0,0,,\\{\\\u2060b1\\}a, b\\\u2060Nc"


def test_no_cues_make_valid_empty_files() -> None:
    assert (write_srt([]), write_vtt([]), write_lrc([])) == ("", "WEBVTT\n", "")
    assert pysubs2.SSAFile.from_string(write_ass([]), format_="ass").events == []


WRITERS: dict[str, Callable[[Sequence[Cue]], str]] = {"srt": write_srt, "vtt": write_vtt, "ass": write_ass}
# Digits at the end of a text, and what looks like markup, are lost by the readers, not by the files.
LINE = st.text(alphabet="abc XYZ.,!?;:-'\"()日本語ひらがなカタカナ、。한국어é", min_size=1, max_size=30).filter(
    lambda line: bool(line) and line == " ".join(line.split())
)


@st.composite
def cue_lists(draw: st.DrawFn) -> list[Cue]:
    times = sorted(draw(st.sets(st.integers(0, 99 * 360_000 - 1), min_size=2, max_size=12)))
    return [
        _cue(start / 100, end / 100, *draw(st.lists(LINE, min_size=1, max_size=3))) for start, end in pairwise(times)
    ]


@pytest.mark.parametrize("name", WRITERS)
@given(cue_lists())
def test_pysubs2_reads_back_what_was_written(name: str, cues: list[Cue]) -> None:
    read = pysubs2.SSAFile.from_string(WRITERS[name](cues), format_=name)
    assert [(event.start, event.end, event.plaintext) for event in read] == [
        (round(cue.start * 1000), round(cue.end * 1000), "\n".join(cue.lines)) for cue in cues
    ]


@pytest.mark.parametrize("name", WRITERS)
def test_ffmpeg_reads_what_was_written(name: str) -> None:
    second = "no markup" if name == "srt" else "{braces}"  # nothing escapes a brace in SubRip
    cues = [_cue(1.5, 2.5, "Tom & Jerry: 1 < 2", second), _cue(20 * HOUR, 20 * HOUR + 2, "二行の", "字幕です。")]
    assert _read_by_ffmpeg(WRITERS[name](cues), {"vtt": "webvtt"}.get(name, name)) == [
        (1.5, 1.0, f"Tom & Jerry: 1 < 2\n{second}"),
        (20 * HOUR, 2.0, "二行の\n字幕です。"),
    ]


def _read_by_ffmpeg(file: str, format: str) -> list[tuple[float, float, str]]:
    """Start, length and shown text of every event."""
    events: list[tuple[float, float, str]] = []
    with av.open(io.BytesIO(file.encode()), "r", format=format) as container:
        for packet in container.demux(container.streams.subtitles[0]):
            if packet.pts is not None and packet.duration is not None:
                parts = [part for part in packet.decode() if isinstance(part, AssSubtitle)]
                text = b"".join(part.ass for part in parts).decode()
                base = float(packet.time_base)
                events.append((packet.pts * base, packet.duration * base, _as_libass_shows(text.split(",", 8)[8])))
    return events


def _as_libass_shows(text: str) -> str:
    r"""An event's text on the screen: ``\{`` is a brace, other braces enclose commands, ``\N`` breaks the line."""
    found = re.findall(r"\\N|\\[{}]|\{[^}]*\}|.", text.rstrip("\r\n"), flags=re.DOTALL)
    return "".join(
        {"\\N": "\n", "\\{": "{", "\\}": "}"}.get(part, "" if part.startswith("{") else part) for part in found
    )
