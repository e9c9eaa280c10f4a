import json
from itertools import pairwise

import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kikitori.errors import InvalidOption
from kikitori.text.formats import BINARY, FORMATS, MEDIA_TYPES, SUFFIXES, OutputFormat, render, render_file
from kikitori.text.subtitles import SubtitleLayout
from kikitori.text.transcripts import transcript_from_dict
from kikitori.types import Segment, Transcript, Word


def _segment(id: int, text: str, start: float, end: float, *words: tuple[str, float, float]) -> Segment:
    heard = tuple(Word(word=word, start=begin, end=finish, probability=0.9) for word, begin, finish in words)
    return Segment(id=id, start=start, end=end, text=text, words=heard or None)


ENGLISH = Transcript(
    segments=(
        _segment(
            0,
            " The doctor goes to the bank on Friday.",
            0.258,
            1.881,
            (" The", 0.258, 0.365),
            (" doctor", 0.365, 0.686),
            (" goes", 0.686, 0.871),
            (" to", 0.871, 0.988),
            (" the", 0.988, 1.097),
            (" bank", 1.097, 1.352),
            (" on", 1.352, 1.508),
            (" Friday.", 1.508, 1.881),
        ),
        _segment(1, " The meeting starts at three o'clock\ton Wednesday.", 2.5, 4.5),
    ),
    language="en",
    duration=6.0,
)
JAPANESE = Transcript(
    segments=(
        _segment(
            0,
            "会議は木曜日の九時に始まります。",
            0.0,
            4.58,
            ("会議", 0.174, 0.753),
            ("は", 0.753, 1.084),
            ("木曜日", 1.084, 2.007),
            ("の", 2.007, 2.408),
            ("九時", 2.408, 2.982),
            ("に", 2.982, 3.375),
            ("始まります。", 3.375, 4.586),
        ),
        _segment(1, "牛乳とお茶をください、それから新しいコンピュータと机もお願いします。", 5.0, 9.0),
    ),
    language="ja",
    duration=9.5,
)
KOREAN = Transcript(
    segments=(
        _segment(
            0,
            " 의사는 은행에 갑니다.",
            0.26,
            1.86,
            (" 의사는", 0.26, 0.78),
            (" 은행에", 0.78, 1.27),
            (" 갑니다.", 1.27, 1.86),
        ),
        _segment(1, " 어머니는 토요일에 호텔에 갑니다. 우유하고 빵 주세요.", 2.0, 6.0),
    ),
    language="ko",
    duration=6.5,
)

FILES = {
    ("en", OutputFormat.TEXT): """\
The doctor goes to the bank on Friday. The meeting starts at three o'clock\ton Wednesday.
""",
    ("en", OutputFormat.TXT): """\
The doctor goes to the bank on Friday.
The meeting starts at three o'clock on Wednesday.
""",
    ("en", OutputFormat.SRT): """\
1
00:00:00,258 --> 00:00:01,881
The doctor goes to the bank on Friday.

2
00:00:02,500 --> 00:00:04,500
The meeting starts at
three o'clock on Wednesday.
""",
    ("en", OutputFormat.VTT): """\
WEBVTT

00:00:00.258 --> 00:00:01.881
The doctor goes to the bank on Friday.

00:00:02.500 --> 00:00:04.500
The meeting starts at
three o'clock on Wednesday.
""",
    ("en", OutputFormat.TSV): """\
start\tend\ttext
258\t1881\tThe doctor goes to the bank on Friday.
2500\t4500\tThe meeting starts at three o'clock on Wednesday.
""",
    ("ja", OutputFormat.TEXT): """\
会議は木曜日の九時に始まります。牛乳とお茶をください、それから新しいコンピュータと机もお願いします。
""",
    ("ja", OutputFormat.TXT): """\
会議は木曜日の九時に始まります。
牛乳とお茶をください、それから新しいコンピュータと机もお願いします。
""",
    ("ja", OutputFormat.SRT): """\
1
00:00:00,174 --> 00:00:04,586
会議は木曜日の九時に始まります。

2
00:00:05,000 --> 00:00:09,000
牛乳とお茶をください、それから新しい
コンピュータと机もお願いします。
""",
    ("ja", OutputFormat.LRC): """\
[00:00.17]会議は木曜日の九時に始まります。
[00:05.00]牛乳とお茶をください、それから新しい
[00:07.12]コンピュータと机もお願いします。
""",
    ("ja", OutputFormat.TSV): """\
start\tend\ttext
0\t4580\t会議は木曜日の九時に始まります。
5000\t9000\t牛乳とお茶をください、それから新しいコンピュータと机もお願いします。
""",
    ("ko", OutputFormat.SRT): """\
1
00:00:00,260 --> 00:00:01,860
의사는 은행에 갑니다.

2
00:00:02,000 --> 00:00:04,522
어머니는 토요일에 호텔에 갑니다.

3
00:00:04,522 --> 00:00:06,000
우유하고 빵 주세요.
""",
    ("ko", OutputFormat.LRC): """\
[00:00.26]의사는 은행에 갑니다.
[00:02.00]어머니는 토요일에 호텔에 갑니다.
[00:04.52]우유하고 빵 주세요.
""",
}
TRANSCRIPTS = {transcript.language: transcript for transcript in (ENGLISH, JAPANESE, KOREAN)}
EMPTY = Transcript(segments=(), language="", duration=5.0)


@pytest.mark.parametrize(("language", "name"), FILES)
def test_files(language: str, name: OutputFormat) -> None:
    assert render(TRANSCRIPTS[language], name) == FILES[language, name]


def test_ass_holds_the_cues() -> None:
    events = render(KOREAN, OutputFormat.ASS).splitlines()[-3:]
    assert events == [
        "Dialogue: 0,0:00:00.26,0:00:01.86,Default,,0,0,0,,의사는 은행에 갑니다.",
        "Dialogue: 0,0:00:02.00,0:00:04.52,Default,,0,0,0,,어머니는 토요일에 호텔에 갑니다.",
        "Dialogue: 0,0:00:04.52,0:00:06.00,Default,,0,0,0,,우유하고 빵 주세요.",
    ]


def test_json_is_readable_and_holds_everything() -> None:
    text = render(JAPANESE, OutputFormat.JSON)
    assert '"text": "会議は' in text and text.endswith("}\n")
    assert transcript_from_dict(json.loads(text)) == JAPANESE


def test_verbose_json_asks_for_segments_unless_told() -> None:
    assert "words" not in json.loads(render(ENGLISH, OutputFormat.VERBOSE_JSON))
    answer = json.loads(render(ENGLISH, OutputFormat.VERBOSE_JSON, granularities={"word"}))
    assert [word["word"] for word in answer["words"]][:2] == ["The", "doctor"]
    assert "segments" not in answer


def test_speakers() -> None:
    def said(speaker: str, text: str, start: float) -> Segment:
        return Segment(id=0, start=start, end=start + 1, text=text, speaker=speaker)

    call = Transcript(segments=(said("left", " Hello.", 0), said("right", " Hi.", 1)), language="en", duration=2.0)
    bare = SubtitleLayout(speaker_prefix=False)
    assert render(call, OutputFormat.TEXT) == "Hello. Hi.\n"
    assert render(call, OutputFormat.TXT) == "left: Hello.\nright: Hi.\n"
    assert render(call, OutputFormat.TXT, layout=bare) == "Hello.\nHi.\n"
    assert render(call, OutputFormat.TSV).splitlines()[:2] == ["start\tend\ttext\tspeaker", "0\t1000\tHello.\tleft"]
    assert "left: Hello." in render(call, OutputFormat.VTT)
    assert "<v left>Hello." in render(call, OutputFormat.VTT, layout=bare)


def test_silence_makes_valid_empty_files() -> None:
    silent = {name: render(EMPTY, name) for name in OutputFormat if name not in BINARY}
    assert silent[OutputFormat.TEXT] == "\n"
    assert silent[OutputFormat.TXT] == silent[OutputFormat.SRT] == silent[OutputFormat.LRC] == ""
    assert silent[OutputFormat.VTT] == "WEBVTT\n"
    assert silent[OutputFormat.TSV] == "start\tend\ttext\n"
    assert json.loads(silent[OutputFormat.JSON])["segments"] == []
    assert json.loads(silent[OutputFormat.VERBOSE_JSON])["text"] == ""
    assert list(pysubs2.SSAFile.from_string(silent[OutputFormat.ASS])) == []


def test_files_of_text_are_what_is_rendered() -> None:
    assert render_file(JAPANESE, OutputFormat.SRT) == render(JAPANESE, OutputFormat.SRT).encode()


def test_a_document_is_no_text() -> None:
    assert render_file(ENGLISH, OutputFormat.DOCX).startswith(b"PK")
    with pytest.raises(InvalidOption, match=r"format is 'docx'"):
        render(ENGLISH, OutputFormat.DOCX)


def test_every_format_has_a_name_of_each_kind() -> None:
    assert set(FORMATS) == set(MEDIA_TYPES) == set(SUFFIXES) == set(OutputFormat)
    assert all("/" in media_type for media_type in MEDIA_TYPES.values())
    assert all(suffix.startswith(".") for suffix in SUFFIXES.values())


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(-1, 30), st.text(alphabet="ab. 日。", max_size=200)), max_size=5))
def test_times_of_subtitles_rise(parts: list[tuple[float, float, str]]) -> None:
    segments = tuple(
        Segment(id=index, start=start, end=start + length, text=f" {text}")
        for index, (start, length, text) in enumerate(parts)
    )
    transcript = Transcript(segments=segments, language="en", duration=40.0)
    for name in (OutputFormat.SRT, OutputFormat.VTT, OutputFormat.ASS):
        cues = list(pysubs2.SSAFile.from_string(render(transcript, name), format_=name.value))
        assert all(cue.start < cue.end for cue in cues)
        assert all(cue.end <= after.start for cue, after in pairwise(cues))
        shown = "".join("".join(cue.plaintext.split()) for cue in cues)
        assert shown == "".join(transcript.text.split())
