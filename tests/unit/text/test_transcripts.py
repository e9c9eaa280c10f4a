import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.audio import TranscriptionVerbose

from kikitori.errors import InvalidInput
from kikitori.text.transcripts import segment_dict, transcript_dict, transcript_from_dict, verbose_dict
from kikitori.types import DecodeMode, Segment, Task, Transcript, Word

numbers = st.floats(-1e6, 1e6)
words = st.builds(Word, word=st.text(max_size=5), start=numbers, end=numbers, probability=numbers)
segments = st.builds(
    Segment,
    id=st.integers(0, 10**6),
    start=numbers,
    end=numbers,
    text=st.text(max_size=20),
    words=st.none() | st.lists(words, max_size=4).map(tuple),
    tokens=st.lists(st.integers(0, 60_000), max_size=4).map(tuple),
    temperature=numbers,
    avg_logprob=numbers,
    compression_ratio=numbers,
    no_speech_prob=numbers,
    speaker=st.none() | st.text(max_size=5),
)
transcripts = st.builds(
    Transcript,
    segments=st.lists(segments, max_size=4).map(tuple),
    language=st.text(max_size=3),
    language_probability=numbers,
    duration=numbers,
    model=st.text(max_size=5),
    engine=st.text(max_size=5),
    task=st.sampled_from(Task),
    mode=st.sampled_from(DecodeMode),
)


def _heard(**changes: Any) -> Transcript:
    hello = Segment(
        id=0,
        start=0.25,
        end=1.8800000000000001,
        text=" Hello there.",
        words=(
            Word(word=" Hello", start=0.25, end=0.9, probability=0.98),
            Word(word=" there.", start=0.9, end=1.9, probability=0.75),
        ),
        tokens=(2425, 456, 13),
        avg_logprob=-0.25,
        compression_ratio=0.9,
        no_speech_prob=0.01,
    )
    values: dict[str, Any] = {"segments": (hello,), "language": "en", "duration": 1.8765, "model": "small"}
    return Transcript(**(values | {"engine": "whisper"} | changes))


def test_our_json_holds_everything() -> None:
    assert transcript_dict(_heard()) == {
        "text": "Hello there.",
        "language": "en",
        "language_probability": 1.0,
        "duration": 1.8765,
        "model": "small",
        "engine": "whisper",
        "task": "transcribe",
        "mode": "windowed",
        "segments": [
            {
                "id": 0,
                "start": 0.25,
                "end": 1.8800000000000001,
                "text": " Hello there.",
                "words": [
                    {"word": " Hello", "start": 0.25, "end": 0.9, "probability": 0.98},
                    {"word": " there.", "start": 0.9, "end": 1.9, "probability": 0.75},
                ],
                "tokens": [2425, 456, 13],
                "temperature": 0.0,
                "avg_logprob": -0.25,
                "compression_ratio": 0.9,
                "no_speech_prob": 0.01,
            }
        ],
    }


def test_words_and_speaker_are_left_out_when_unknown() -> None:
    bare = Segment(id=3, start=0.0, end=1.0, text=" a")
    assert not {"words", "speaker"} & set(segment_dict(bare))
    assert segment_dict(Segment(id=3, start=0.0, end=1.0, text=" a", speaker="left"))["speaker"] == "left"


@given(transcripts)
def test_json_and_back_changes_nothing(transcript: Transcript) -> None:
    sent = json.dumps(transcript_dict(transcript), allow_nan=False)
    assert transcript_from_dict(json.loads(sent)) == transcript


def test_what_is_not_known_is_ignored_when_read() -> None:
    stored = transcript_dict(_heard()) | {"task_id": "t1", "text": "edited"}
    assert transcript_from_dict(stored) == _heard()


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({}, "segments"),
        ({"segments": [], "language": None}, "language"),
        ({"segments": [{"id": 0, "start": "x", "end": 1, "text": ""}], "language": "en"}, "segments.0.start"),
    ],
)
def test_what_is_no_transcript_is_refused(values: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidInput, match="Not a transcript") as caught:
        transcript_from_dict(values)
    assert caught.value.param == param


def test_verbose_json() -> None:
    assert verbose_dict(_heard()) == {
        "task": "transcribe",
        "language": "english",
        "duration": 1.877,
        "text": "Hello there.",
        "segments": [
            {
                "id": 0,
                "seek": 25,
                "start": 0.25,
                "end": 1.88,
                "text": " Hello there.",
                "tokens": [2425, 456, 13],
                "temperature": 0.0,
                "avg_logprob": -0.25,
                "compression_ratio": 0.9,
                "no_speech_prob": 0.01,
            }
        ],
        "usage": {"type": "duration", "seconds": 2},
    }


def test_verbose_json_gives_the_granularities_asked_for() -> None:
    only_words = verbose_dict(_heard(), {"word"})
    assert "segments" not in only_words
    assert only_words["words"] == [
        {"word": "Hello", "start": 0.25, "end": 0.9},
        {"word": "there.", "start": 0.9, "end": 1.877},  # not past the end of the recording
    ]
    assert {"words", "segments"} <= set(verbose_dict(_heard(), {"word", "segment"}))


def test_verbose_json_of_a_translation_is_english() -> None:
    answer = verbose_dict(_heard(language="ja", task=Task.TRANSLATE))
    assert (answer["task"], answer["language"]) == ("translate", "english")


def test_words_of_split_channels_come_in_order_of_time() -> None:
    def said(speaker: str, start: float) -> Segment:
        word = Word(word=f" {speaker}", start=start, end=start + 1, probability=1.0)
        return Segment(id=0, start=start, end=start + 1, text=word.word, words=(word,), speaker=speaker)

    answer = verbose_dict(_heard(segments=(said("left", 2.0), said("right", 1.0)), duration=9.0), {"word", "segment"})
    assert [word["word"] for word in answer["words"]] == ["right", "left"]
    assert [segment["speaker"] for segment in answer["segments"]] == ["left", "right"]


@given(transcripts, st.sets(st.sampled_from(["word", "segment"])))
def test_verbose_json_is_what_the_sdk_expects(transcript: Transcript, granularities: set[str]) -> None:
    answer = verbose_dict(transcript, granularities)
    parsed = TranscriptionVerbose.model_validate_json(json.dumps(answer, allow_nan=False), strict=True)
    assert parsed.text == transcript.text
    assert parsed.usage is not None and parsed.usage.seconds >= parsed.duration
    starts = [word.start for word in parsed.words or ()]
    assert starts == sorted(starts)
    assert all(word.start <= word.end <= (parsed.duration or math.inf) for word in parsed.words or ())


def test_neither_json_holds_what_json_cannot() -> None:
    odd = Word(word=" a", start=math.nan, end=math.inf, probability=math.nan)
    segment = Segment(
        id=0,
        start=math.nan,
        end=math.inf,
        text=" a",
        words=(odd,),
        temperature=math.nan,
        avg_logprob=-math.inf,
        compression_ratio=math.inf,
        no_speech_prob=math.nan,
    )
    transcript = _heard(segments=(segment,), duration=math.nan, language_probability=math.nan)
    for answer in (transcript_dict(transcript), verbose_dict(transcript, {"word", "segment"})):
        json.dumps(answer, allow_nan=False)
    assert transcript_dict(transcript)["segments"][0]["avg_logprob"] == -1e9
