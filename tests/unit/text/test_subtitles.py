import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kikitori.text.glyphs import width
from kikitori.text.subtitles import Cue, SubtitleLayout, layout_cues
from kikitori.types import Segment, Transcript, Word

ONE_LINE = SubtitleLayout(max_lines=1)
NARROW = SubtitleLayout(max_line_width=20)


def _said(text: str, start: float = 0.0, *, rate: float = 15.0, speaker: str | None = None, id: int = 0) -> Segment:
    """Words spoken at ``rate`` columns a second; ``/`` parts words, each ``_`` is a pause of a tenth."""
    words: list[Word] = []
    at = start
    for piece in text.split("/"):
        end = at + width(piece.replace("_", "")) / rate
        words.append(Word(word=piece.replace("_", ""), start=at, end=end, probability=1.0))
        at = end + piece.count("_") / 10
    heard = "".join(word.word for word in words)
    return Segment(id=id, start=start, end=words[-1].end, text=heard, words=tuple(words), speaker=speaker)


def _english(text: str, start: float = 0.0, *, rate: float = 15.0, speaker: str | None = None) -> Segment:
    return _said("/".join(f" {word}" for word in text.split()), start, rate=rate, speaker=speaker)


def _plain(text: str, start: float, end: float) -> Segment:
    return Segment(id=0, start=start, end=end, text=text)


def _laid(*segments: Segment, layout: SubtitleLayout = SubtitleLayout(), duration: float = 0.0) -> list[Cue]:  # noqa: B008
    return layout_cues(Transcript(segments=segments, language="en", duration=duration), layout)


def _lines(cues: Iterable[Cue]) -> list[str]:
    return [" / ".join(cue.lines) for cue in cues]


def _times(cues: Iterable[Cue]) -> list[tuple[float, float]]:
    return [(cue.start, cue.end) for cue in cues]


def _letters(text: str) -> str:
    return "".join(char for char in text if not char.isspace() and unicodedata.category(char) != "Cc")


# Where cues and lines break


KENNEDY = "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country."


def test_lines_and_cues_break_at_commas() -> None:
    assert _lines(_laid(_english(KENNEDY))) == [
        "And so, my fellow Americans, / ask not what your country can do for you,",
        "ask what you can do for your country.",
    ]


def test_each_sentence_is_a_cue() -> None:
    cues = _laid(_english("The doctor goes to the bank on Friday. I would like milk and bread."))
    assert _lines(cues) == ["The doctor goes to the bank on Friday.", "I would like milk and bread."]
    assert _times(cues) == [(0.0, 2.6), (2.6, 4.533)]


def test_sentences_too_short_to_read_share_a_cue() -> None:
    assert _lines(_laid(_english("Yes. I do. Of course I do."))) == ["Yes. I do. Of course I do."]


def test_a_long_sentence_falls_into_equal_parts() -> None:
    words = "it was the best of times it was the worst of times it was the age of wisdom it was the age of fools"
    cues = _laid(_english(words))
    assert len(cues) == 2
    assert abs(width("".join(cues[0].lines)) - width("".join(cues[1].lines))) <= 8


def test_the_last_word_is_not_left_alone() -> None:
    text = "Nobody in this whole long row of houses had seen such a large green caterpillar, neighbour."
    layout = SubtitleLayout(max_cue_seconds=20.0)
    cues = _laid(_english(text, rate=8.0), layout=layout)
    assert len(cues) == 2
    assert all(len(line.split()) > 1 for cue in cues for line in cue.lines)


def test_lines_of_a_cue_are_balanced() -> None:
    assert _lines(_laid(_english("The meeting starts at three o'clock on Wednesday."))) == [
        "The meeting starts at / three o'clock on Wednesday."
    ]


def test_a_pause_ends_a_cue_and_a_shorter_one_does_not() -> None:
    assert _lines(_laid(_said(" one________/ two"))) == ["one", "two"]
    assert _lines(_laid(_said(" one_______/ two"))) == ["one two"]
    assert _lines(_laid(_said(" one_______/ two"), layout=SubtitleLayout(pause_seconds=0.5))) == ["one", "two"]


def test_sentences_run_across_segments() -> None:
    first, second = _english("The doctor goes to"), _english("the bank on Friday.", 1.3)
    assert _lines(_laid(first, second)) == ["The doctor goes to the bank on Friday."]


def test_cues_break_where_the_engine_ended_a_segment() -> None:
    first, second = _said("今日/は/とても/良い/天気/です"), _said("明日/は/朝/から/雨/が/降る/でしょう", 1.6)
    assert _lines(_laid(first, second)) == ["今日はとても良い天気です", "明日は朝から雨が降るでしょう"]
    words = "it was the best of times it was the worst"
    rest = "of times it was the age of wisdom and it was also the age of foolishness"
    cues = _laid(_english(words), _english(rest, 2.8))
    assert _lines(cues)[0] == words


def test_short_segments_share_a_cue() -> None:
    assert _lines(_laid(_said("はい"), _said("そう/です", 0.3))) == ["はいそうです"]


def test_cues_break_where_the_speaker_pauses() -> None:
    before = "it was the best of times it was"
    after = "the worst of times it was the age of wisdom and it was also an age"
    pausing = _said("/".join(f" {word}" for word in before.split()) + "_______/ " + "/ ".join(after.split()))
    assert _lines(_laid(pausing))[0] == before


def test_segments_without_word_times_are_not_joined() -> None:
    assert _lines(_laid(_plain(" The doctor", 0, 1), _plain(" is in.", 1, 2))) == ["The doctor", "is in."]


def test_segments_without_spaces_between_them_get_one_in_scripts_with_spaces() -> None:
    assert _lines(_laid(_said("Hello"), _said("world.", 0.4))) == ["Hello world."]
    assert _lines(_laid(_said("今日/は"), _said("晴れ", 0.4))) == ["今日は晴れ"]


def test_words_take_their_spaces_from_the_text() -> None:
    words = tuple(Word(word=text, start=at, end=at + 1, probability=1.0) for at, text in enumerate(["two", "words"]))
    segment = Segment(id=0, start=0.0, end=2.0, text=" two words", words=words)
    assert _lines(_laid(segment)) == ["two words"]


def test_words_that_do_not_make_up_the_text_are_not_used() -> None:
    wrong = Word(word=" other", start=5.0, end=6.0, probability=1.0)
    segment = Segment(id=0, start=0.0, end=2.0, text=" the text", words=(wrong,))
    assert [(cue.start, cue.end, cue.lines) for cue in _laid(segment)] == [(0.0, 2.0, ("the text",))]


def test_a_long_segment_is_split_in_proportion() -> None:
    cues = _laid(_plain(" " + KENNEDY, 10.0, 20.0))
    assert _lines(cues) == _lines(_laid(_english(KENNEDY)))
    share = width("".join(KENNEDY.split()[:14])) / width("".join(KENNEDY.split()))
    assert cues[0].start == 10.0 and cues[-1].end == 20.0
    assert cues[0].end == cues[1].start == pytest.approx(10 + 10 * share, abs=0.001)


def test_little_text_in_a_long_segment_stays_one_cue() -> None:
    assert _times(_laid(_plain(" Thank you very much.", 0.0, 30.0))) == [(0.0, 7.0)]


JAPANESE = (
    "気象庁によりますと、去年より三日早く、平年と比べても五日早い満開だということです（観測史上二番目）。"
    "コンピュータを使った計算では「来年はもっと早くなる」と予測されます。"
)


def test_japanese_breaks_at_punctuation_and_phrases() -> None:
    assert _lines(_laid(_plain(JAPANESE, 0.0, 16.0))) == [
        "気象庁によりますと、去年より三日早く、",
        "平年と比べても五日早い / 満開だということです（観測史上二番目）。",
        "コンピュータを使った計算では / 「来年はもっと早くなる」と予測されます。",
    ]


def test_a_sentence_ends_after_the_bracket_that_closes_it() -> None:
    assert _lines(_laid(_plain("「来年はもっと早くなります。」今年もかなり早かったようです。", 0.0, 6.0))) == [
        "「来年はもっと早くなります。」",
        "今年もかなり早かったようです。",
    ]


def test_a_word_with_a_space_inside_is_two() -> None:
    assert _lines(_laid(_said("New York City/ today"))) == ["New York City today"]


def test_japanese_words_are_not_cut() -> None:
    said = _said("それでは/次/の/ニュース/を/お伝え/します/東京/都内/では/今日/桜/が/満開/に/なりました")
    assert _lines(_laid(said, layout=NARROW)) == [
        "それでは次のニュース / をお伝えします",
        "東京都内では今日桜が / 満開になりました",
    ]


def test_no_line_of_japanese_begins_or_ends_with_the_wrong_character() -> None:
    for columns in range(16, 60):
        lines = [
            line
            for cue in _laid(_plain(JAPANESE, 0, 30), layout=SubtitleLayout(max_line_width=columns))
            for line in cue.lines
        ]
        assert "".join(lines) == JAPANESE
        assert not [line for line in lines if line[0] in "、。）」ッャー" or line[-1] in "（「"]
        assert max(map(width, lines)) <= columns


def test_korean_breaks_at_spaces() -> None:
    text = " 우리는 함께 공원에 산책하러 가서 점심을 먹고 새로 생긴 식당에서 저녁을 먹을 예정입니다."
    cues = _laid(_plain(text, 0.0, 8.0))
    assert [word for cue in cues for line in cue.lines for word in line.split()] == text.split()


def test_french_punctuation_stays_with_its_word() -> None:
    text = " Il est parti : personne n'a compris pourquoi ; il a dit « merci beaucoup » et puis quoi ? Rien du tout !"
    for columns in range(16, 60):
        for cue in _laid(_plain(text, 0, 12), layout=SubtitleLayout(max_line_width=columns)):
            assert not [line for line in cue.lines if line[0] in ":;?!»" or line[-1] == "«"]


def test_a_word_wider_than_the_line_is_cut() -> None:
    cues = _laid(_plain(" " + "x" * 50, 0.0, 4.0), layout=NARROW)
    assert _lines(cues) == ["x" * 20, "x" * 20 + " / " + "x" * 10]


# Who speaks


def test_cues_name_their_speaker() -> None:
    cues = _laid(_english("Good morning.", speaker="left"), _english("Hello.", 1.0, speaker="right"))
    assert [(cue.speaker, cue.lines) for cue in cues] == [
        ("left", ("left: Good morning.",)),
        ("right", ("right: Hello.",)),
    ]


def test_the_prefix_can_be_left_out() -> None:
    layout = SubtitleLayout(speaker_prefix=False)
    assert _lines(_laid(_english("Good morning.", speaker="left"), layout=layout)) == ["Good morning."]


def test_the_prefix_counts_as_width() -> None:
    layout = SubtitleLayout(max_line_width=20)
    assert _lines(_laid(_english("twelve chars here and on", speaker="left"), layout=layout)) == [
        "left: twelve chars / here and on"
    ]
    wide = SubtitleLayout(max_line_width=16)
    assert _lines(_laid(_english("hello", speaker="channel 12"), layout=wide)) == ["hello"]


def test_an_interjection_comes_between_the_cues_of_the_other_speaker() -> None:
    cues = _laid(
        _english("Hello, how can I help you today? Let me have a look at the machine, please.", speaker="left"),
        _english("It does not work.", 2.0, speaker="right"),
    )
    assert _lines(cues) == [
        "left: Hello, how can I help you today?",
        "right: It does not work.",
        "left: Let me have a look / at the machine, please.",
    ]
    assert _times(cues) == [(0.0, 2.2), (2.0, 3.2), (2.2, 5.067)]


def test_speakers_at_once_keep_their_times() -> None:
    call = [
        replace(_plain(" Good morning.", 0.0, 3.0), speaker="left"),
        replace(_plain(" Good morning to you.", 1.0, 4.0), speaker="right"),
        replace(_plain(" How are you?", 3.5, 6.0), speaker="left"),
        replace(_plain(" Well.", 5.0, 5.2), speaker="right"),
        replace(_plain(" Good.", 6.1, 7.5), speaker="right"),
    ]
    assert _times(_laid(*call)) == [(0.0, 3.0), (1.0, 4.0), (3.5, 6.0), (5.0, 6.0), (6.1, 7.5)]
    apart = SubtitleLayout(cue_gap_seconds=0.2)
    assert _times(_laid(*call, layout=apart)) == [(0.0, 3.0), (1.0, 4.0), (3.5, 6.0), (5.0, 5.9), (6.1, 7.5)]


# When cues stand on the screen


def test_a_short_cue_stays_in_following_silence_only() -> None:
    assert _times(_laid(_plain(" Yes.", 1.0, 1.3), _plain(" No.", 9.0, 9.2), duration=9.5)) == [(1.0, 2.0), (9.0, 9.5)]
    assert _times(_laid(_plain(" Yes.", 1.0, 1.3), _plain(" No.", 1.5, 1.7))) == [(1.0, 1.5), (1.5, 2.5)]


def test_a_word_longer_than_the_longest_cue_is_cut() -> None:
    word = Word(word=" ooh", start=2.0, end=40.0, probability=1.0)
    segment = Segment(id=0, start=2.0, end=40.0, text=" ooh", words=(word,))
    assert _times(_laid(segment)) == [(2.0, 9.0)]


def test_the_gap_keeps_cues_apart() -> None:
    layout = SubtitleLayout(cue_gap_seconds=0.1)
    assert _times(_laid(_plain(" One.", 0, 2), _plain(" Two.", 2, 4), layout=layout)) == [(0.0, 1.9), (2.0, 4.0)]


@pytest.mark.parametrize(
    ("given_times", "shown"),
    [
        ([(1.0, 1.0), (5.0, 5.0)], [(1.0, 2.0), (5.0, 6.0)]),  # no length
        ([(3.0, 2.0), (5.0, 6.0)], [(3.0, 4.0), (5.0, 6.0)]),  # backward
        ([(0.0, 4.0), (2.0, 6.0)], [(0.0, 2.0), (2.0, 6.0)]),  # overlapping
        ([(4.0, 5.0), (1.0, 2.0)], [(4.0, 4.667), (4.667, 5.667)]),  # out of order
        ([(-2.0, 1.0), (math.nan, math.nan)], [(0.0, 0.667), (0.667, 1.667)]),
        ([(0.0, math.inf), (5.0, 6.0)], [(0.0, 5.0), (5.0, 6.0)]),
    ],
)
def test_broken_times_are_repaired(
    given_times: Sequence[tuple[float, float]], shown: Sequence[tuple[float, float]]
) -> None:
    segments = [_plain(f" Part {index}.", *times) for index, times in enumerate(given_times)]
    assert _times(_laid(*segments)) == shown


def test_nothing_heard_gives_no_cues() -> None:
    assert _laid() == _laid(_plain("", 0, 1), _plain(" \n", 1, 2), duration=5.0) == []


# Whatever comes in

EDGE = st.sampled_from([0.0, 1.0, 2.5, 30.0, math.nan, math.inf, -math.inf])
TIME = st.floats(-5, 400, width=32) | EDGE
SCRIPTS = (
    "ab Z.,!?;:-'\"()«»…<>{}\\ 日本語はひらがカタカナー。、「」（）々한국어ไทยเ"
    "é\u0301 👍🏽\u200d\n\t\u3000\xa0\x00\u2028"
)
TEXT = st.text(alphabet=SCRIPTS, max_size=60) | st.text(max_size=20)
LAYOUT = st.builds(
    SubtitleLayout,
    max_line_width=st.integers(16, 60),
    max_lines=st.integers(1, 4),
    min_cue_seconds=st.floats(0, 2),
    max_cue_seconds=st.floats(2, 10),
    pause_seconds=st.floats(0.1, 3),
    cue_gap_seconds=st.floats(0, 1),
    speaker_prefix=st.booleans(),
)


@st.composite
def transcripts(draw: st.DrawFn, speakers: Sequence[str | None] = (None,)) -> Transcript:
    segments: list[Segment] = []
    for _ in range(draw(st.integers(0, 5))):
        pieces = draw(st.lists(TEXT, max_size=6))
        words = tuple(Word(word=text, start=draw(TIME), end=draw(TIME), probability=1.0) for text in pieces)
        segment = Segment(
            id=len(segments),
            start=draw(TIME),
            end=draw(TIME),
            text=draw(st.just("".join(pieces)) | st.just(" ".join(pieces)) | TEXT),
            words=draw(st.none() | st.just(words)),
            speaker=draw(st.sampled_from(speakers)),
        )
        segments.append(segment)
    return Transcript(segments=tuple(segments), language="", duration=draw(TIME))


@given(transcripts(), LAYOUT)
def test_no_text_is_lost_or_doubled(transcript: Transcript, layout: SubtitleLayout) -> None:
    shown = "".join("".join(cue.lines) for cue in layout_cues(transcript, layout))
    assert _letters(shown) == _letters(transcript.text)


@given(transcripts(("left", "right")), LAYOUT)
def test_no_text_of_any_speaker_is_lost_or_doubled(transcript: Transcript, layout: SubtitleLayout) -> None:
    cues = layout_cues(transcript, layout)
    for speaker in ("left", "right"):
        said = "".join(segment.text for segment in transcript.segments if segment.speaker == speaker)
        prefix = f"{speaker}: " if layout.speaker_prefix else ""
        lines = [
            line
            for cue in cues
            if cue.speaker == speaker
            for line in (cue.lines[0].removeprefix(prefix), *cue.lines[1:])
        ]
        assert _letters("".join(lines)) == _letters(said)


@given(transcripts((None, "left", "right")), LAYOUT)
def test_cues_keep_to_the_layout(transcript: Transcript, layout: SubtitleLayout) -> None:
    cues = layout_cues(transcript, layout)
    for cue in cues:
        assert 100 <= round(cue.end * 1000) - round(cue.start * 1000) <= round(layout.max_cue_seconds * 1000)
        assert 1 <= len(cue.lines) <= layout.max_lines
        assert all(line == line.strip() and 0 <= width(line) <= layout.max_line_width for line in cue.lines)
        assert all(line and "\n" not in line for line in cue.lines)
    assert [cue.start for cue in cues] == sorted(cue.start for cue in cues)
    for speaker in (None, "left", "right"):
        for cue, after in pairwise(cue for cue in cues if cue.speaker == speaker):
            assert 0 <= cue.start < cue.end <= after.start


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0.1, 5)), min_size=1, max_size=8), LAYOUT)
def test_orderly_times_are_kept(parts: list[tuple[float, float]], layout: SubtitleLayout) -> None:
    """Segments that neither overlap nor vanish start when they start, and end early only for gap and maximum."""
    segments: list[Segment] = []
    at = 0.0
    for silence, length in parts:
        segments.append(_plain(" word", round(at + silence, 3), round(at + silence + length, 3)))
        at = segments[-1].end
    cues = layout_cues(Transcript(segments=tuple(segments), language="en", duration=at), layout)
    assert [cue.start for cue in cues] == [segment.start for segment in segments]
    for cue, segment, after in zip(cues, segments, [*segments[1:], None], strict=True):
        latest = after.start - layout.cue_gap_seconds if after else at
        wanted = min(
            max(segment.end, segment.start + layout.min_cue_seconds), latest, segment.start + layout.max_cue_seconds
        )
        assert cue.end == pytest.approx(max(wanted, segment.start + 0.1), abs=0.002)
