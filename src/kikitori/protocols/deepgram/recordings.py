"""Whole recordings at ``POST /v1/listen``: its query, and the transcript in Deepgram's shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kikitori.options import DecodeOptions, parse_options
from kikitori.protocols.actions import InputFormat
from kikitori.protocols.deepgram.messages import (
    About,
    alternative,
    confidence_of,
    estimated,
    metadata,
    seconds,
    word_dict,
)
from kikitori.protocols.deepgram.query import (
    Query,
    channels_of,
    check_undone,
    format_of,
    language_of,
    model_of,
    words_to_listen_for,
)
from kikitori.types import Channels, Segment, Transcript, Word, join_text

UTTERANCE_SPLIT_SECONDS = 0.8
"""Silence between words that ends an utterance, unless the query says otherwise."""
PARAGRAPH_SENTENCES = 5
SENTENCE_ENDS = (".", "?", "!", "。", "？", "！", "…")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One recording as its client wants it."""

    options: DecodeOptions
    model: str = ""
    format: InputFormat | None = None
    """Of samples without a head; None: the file tells."""
    channels: int = 1
    utterances: bool = False
    utterance_split: float = UTTERANCE_SPLIT_SECONDS
    paragraphs: bool = False
    detect_language: bool = True
    """The language is part of the answer."""
    tags: tuple[str, ...] = ()


def read_recorded(pairs: Sequence[tuple[str, str]]) -> Recorded:
    """What the query asks for. Raises InvalidOption or Unsupported, naming the parameter."""
    query = Query(pairs)
    check_undone(query)
    input_format = format_of(query)
    if input_format is not None and not input_format.encoding.has_rate:
        input_format = None  # a container; the file tells
    language = language_of(query, None)
    options = DecodeOptions(
        language=None if query.flag("detect_language") else language,
        word_timestamps=True,
        channels=Channels.SPLIT if query.flag("multichannel") else Channels.MIX,
    )
    if words := words_to_listen_for(query):
        options = replace(options, hotwords=parse_options({"hotwords": words}).hotwords)
    return Recorded(
        options=options,
        model=model_of(query, ""),
        format=input_format,
        channels=channels_of(query),
        utterances=query.flag("utterances"),
        utterance_split=query.number("utt_split", UTTERANCE_SPLIT_SECONDS, least=0.1, most=60),
        paragraphs=query.flag("paragraphs"),
        detect_language=options.language is None,
        tags=tuple(query.many("tag")),
    )


def response(transcript: Transcript, wanted: Recorded, about: About, *, sha256: str, created: str) -> dict[str, Any]:
    """The whole answer."""
    channels = _by_channel(transcript.segments)
    facts = metadata(about, sha256=sha256, created=created, duration=transcript.duration, channels=len(channels))
    results: dict[str, Any] = {"channels": [_channel(segments, transcript, wanted) for segments in channels]}
    if wanted.utterances:
        results["utterances"] = _utterances(channels, wanted.utterance_split)
    return {"metadata": facts | ({"tags": list(wanted.tags)} if wanted.tags else {}), "results": results}


def _by_channel(segments: Sequence[Segment]) -> list[list[Segment]]:
    """One list for each channel; channels in which nobody spoke are there too."""
    channels: list[list[Segment]] = [[]]
    for segment in segments:
        index = channel_index(segment.speaker)
        channels += [[] for _ in range(index + 1 - len(channels))]
        channels[index].append(segment)
    return channels


def channel_index(speaker: str | None) -> int:
    """``left`` is 0, ``right`` 1, ``channel 3`` is 2; 0 without channels."""
    if speaker in (None, "left"):
        return 0
    assert speaker is not None
    return 1 if speaker == "right" else int(speaker.rpartition(" ")[2]) - 1


def _channel(segments: Sequence[Segment], transcript: Transcript, wanted: Recorded) -> dict[str, Any]:
    words = words_of(segments)
    chosen = alternative(join_text(segments), words)
    if wanted.paragraphs:
        chosen["paragraphs"] = _paragraphs(words, wanted.utterance_split)
    channel: dict[str, Any] = {"alternatives": [chosen]}
    return channel | ({"detected_language": transcript.language} if wanted.detect_language else {})


def words_of(segments: Sequence[Segment]) -> list[Word]:
    """All words; of an engine without word times, estimated ones."""
    return [
        word
        for segment in segments
        for word in (segment.words or estimated(segment.text, segment.start, segment.end))
        if word.word.strip()
    ]


def _utterances(channels: Sequence[Sequence[Segment]], gap: float) -> list[dict[str, Any]]:
    found = [
        _utterance(words, index)
        for index, segments in enumerate(channels)
        for words in cut(words_of(segments), lambda before, after: after.start - before.end > gap)
    ]
    ordered = sorted(found, key=lambda each: (each["start"], each["channel"]))
    return [{**each, "id": f"utterance-{number}"} for number, each in enumerate(ordered, start=1)]


def _utterance(words: Sequence[Word], channel: int) -> dict[str, Any]:
    return {
        "start": seconds(words[0].start),
        "end": seconds(words[-1].end),
        "confidence": confidence_of(words),
        "channel": channel,
        "transcript": _text(words),
        "words": [word_dict(word) for word in words],
    }


def _paragraphs(words: Sequence[Word], gap: float) -> dict[str, Any]:
    """Sentences together, until a pause or ``PARAGRAPH_SENTENCES`` of them."""
    sentences = cut(words, lambda before, after: _ends(before) or after.start - before.end > gap)
    paragraphs: list[list[list[Word]]] = []
    for sentence in sentences:
        last = paragraphs[-1] if paragraphs else None
        pause = last is not None and sentence[0].start - last[-1][-1].end > gap
        if last is None or pause or len(last) == PARAGRAPH_SENTENCES:
            paragraphs.append([sentence])
        else:
            last.append(sentence)
    texts = [_text([word for sentence in paragraph for word in sentence]) for paragraph in paragraphs]
    return {"transcript": "\n\n".join(texts), "paragraphs": [_paragraph(paragraph) for paragraph in paragraphs]}


def _paragraph(sentences: Sequence[Sequence[Word]]) -> dict[str, Any]:
    told = [
        {"text": _text(sentence), "start": seconds(sentence[0].start), "end": seconds(sentence[-1].end)}
        for sentence in sentences
    ]
    count = sum(map(len, sentences))
    return {"sentences": told, "num_words": count, "start": told[0]["start"], "end": told[-1]["end"]}


def cut(words: Sequence[Word], apart: Callable[[Word, Word], bool]) -> Iterator[list[Word]]:
    """Stretches of words; ``apart`` says whether one ends between two neighbours."""
    stretch: list[Word] = []
    for word in words:
        if stretch and apart(stretch[-1], word):
            yield stretch
            stretch = []
        stretch.append(word)
    if stretch:
        yield stretch


def _ends(word: Word) -> bool:
    return word.word.rstrip("\"'”’)]} ").endswith(SENTENCE_ENDS)


def _text(words: Sequence[Word]) -> str:
    return "".join(word.word for word in words).strip()
