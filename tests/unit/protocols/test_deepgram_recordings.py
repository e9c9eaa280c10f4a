"""Whole recordings in Deepgram's shape: channels, words, utterances, paragraphs."""

from __future__ import annotations

from typing import Any

import pytest

from kikitori.errors import InvalidOption, Unsupported
from kikitori.protocols.actions import Encoding, InputFormat
from kikitori.protocols.deepgram.messages import About
from kikitori.protocols.deepgram.recordings import channel_index, read_recorded, response
from kikitori.types import Channels, Segment, Transcript, Word

ABOUT = About(request_id="r-1", model="small", engine="whisper")


def segment(text: str, start: float, *, speaker: str | None = None, words: bool = True) -> Segment:
    """Half a second for each word."""
    parts = text.split()
    timed = tuple(
        Word(word=f" {part}", start=start + n / 2, end=start + n / 2 + 0.4, probability=0.5)
        for n, part in enumerate(parts)
    )
    end = start + len(parts) / 2
    return Segment(id=0, start=start, end=end, text=f" {text}", words=timed if words else None, speaker=speaker)


def answer(*segments: Segment, **query: str) -> dict[str, Any]:
    transcript = Transcript(segments=segments, language="en", duration=12.3456, model="small", engine="whisper")
    return response(transcript, read_recorded(list(query.items())), ABOUT, sha256="ab", created="now")


def test_the_whole_answer() -> None:
    told = answer(segment("Hello there.", 1.0), tag="x")
    assert told["metadata"]["duration"] == 12.346
    assert (told["metadata"]["channels"], told["metadata"]["tags"]) == (1, ["x"])
    (channel,) = told["results"]["channels"]
    assert channel["detected_language"] == "en"
    (alternative,) = channel["alternatives"]
    assert (alternative["transcript"], alternative["confidence"]) == ("Hello there.", 0.5)
    assert [word["word"] for word in alternative["words"]] == ["hello", "there"]
    assert "utterances" not in told["results"]
    assert "paragraphs" not in alternative


def test_a_language_that_was_named_is_not_detected() -> None:
    assert "detected_language" not in answer(language="en-US")["results"]["channels"][0]
    assert "detected_language" in answer(language="en", detect_language="true")["results"]["channels"][0]


def test_utterances_are_cut_at_pauses_and_told_in_order() -> None:
    told = answer(
        segment("Left one", 1.0, speaker="left"),
        segment("Right one", 2.5, speaker="right"),
        segment("Left two", 5.0, speaker="left"),
        utterances="true",
        multichannel="true",
    )
    assert [(each["channel"], each["transcript"]) for each in told["results"]["utterances"]] == [
        (0, "Left one"),
        (1, "Right one"),
        (0, "Left two"),
    ]
    assert len({each["id"] for each in told["results"]["utterances"]}) == 3
    assert (
        len(answer(segment("One", 1.0), segment("two", 2.0), utterances="true", utt_split="5")["results"]["utterances"])
        == 1
    )


def test_paragraphs_end_at_pauses_and_after_five_sentences() -> None:
    told = answer(segment("A b. " * 6, 0.0), segment("Late!", 30.0), paragraphs="true")
    paragraphs = told["results"]["channels"][0]["alternatives"][0]["paragraphs"]
    assert [len(each["sentences"]) for each in paragraphs["paragraphs"]] == [5, 1, 1]
    assert [each["num_words"] for each in paragraphs["paragraphs"]] == [10, 2, 1]
    assert paragraphs["transcript"].split("\n\n")[1:] == ["A b.", "Late!"]
    assert answer(paragraphs="true")["results"]["channels"][0]["alternatives"][0]["paragraphs"]["paragraphs"] == []


def test_words_without_times_are_estimated() -> None:
    told = answer(segment("One two", 1.0, words=False))
    words = told["results"]["channels"][0]["alternatives"][0]["words"]
    assert [(word["start"], word["end"], word["confidence"]) for word in words] == [(1.0, 1.5, 0.0), (1.5, 2.0, 0.0)]


@pytest.mark.parametrize(("speaker", "index"), [(None, 0), ("left", 0), ("right", 1), ("channel 3", 2)])
def test_channels_by_name(speaker: str | None, index: int) -> None:
    assert channel_index(speaker) == index


def test_the_query_in_our_words() -> None:
    wanted = read_recorded(
        [("multichannel", "true"), ("encoding", "mulaw"), ("sample_rate", "8000"), ("keyterm", "Kikitori")]
    )
    assert wanted.options.channels is Channels.SPLIT
    assert wanted.options.word_timestamps
    assert wanted.options.hotwords == "Kikitori"
    assert wanted.format == InputFormat(encoding=Encoding.MULAW, rate=8_000)
    assert read_recorded([("encoding", "ogg-opus")]).format is None


@pytest.mark.parametrize("query", [{"summarize": "v2"}, {"utt_split": "0"}, {"utterances": "perhaps"}])
def test_what_is_wrong_is_named(query: dict[str, str]) -> None:
    with pytest.raises((InvalidOption, Unsupported)) as refused:
        read_recorded(list(query.items()))
    assert refused.value.param in query
