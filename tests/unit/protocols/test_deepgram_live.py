"""Deepgram's live socket without a socket: what clients send, what sessions say, and what comes of it."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.protocols.live_line import final, interim

from kikitori.errors import Busy, InvalidMedia, InvalidOption, KikitoriError, ModelNotFound, Unsupported
from kikitori.live.events import CommitRefused, Committed, EndReason, FinalFailed, LiveEvent, Quiet, SpeechStarted
from kikitori.live.options import LiveOptions
from kikitori.protocols.actions import Action, Close, Commit, Configure, Encoding, End, Feed, InputFormat, Open, Send
from kikitori.protocols.deepgram.codec import IDLE_CODE, ListenCodec
from kikitori.protocols.deepgram.listening import read_listen
from kikitori.protocols.deepgram.messages import About, bare, estimated
from kikitori.protocols.deepgram.samples import Splitter, look, wav_head
from kikitori.types import Word

ABOUT = About(request_id="r-1", model="small", engine="whisper")
RAW = {"encoding": "linear16", "sample_rate": "16000"}
WORDS = (
    Word(word=" Hello,", start=0.6, end=1.0, probability=0.9),
    Word(word=" world.", start=1.1, end=1.5, probability=0.7),
)


class Line:
    """The codec of one socket; sessions open at once and say what a test makes them say."""

    def __init__(self, **query: str) -> None:
        wanted = read_listen(list((RAW | query).items()), LiveOptions())
        self.codec = ListenCodec(wanted, ABOUT, created="2026-01-01T00:00:00Z")
        self.actions: list[Action] = []
        self.take(self.codec.opened())

    def take(self, actions: Sequence[Action]) -> list[dict[str, Any]]:
        self.actions += actions
        for action in actions:
            if isinstance(action, Open):
                self.codec.ready(action.stream, token="", samples=0, resumed=False)
        return [json.loads(action.text) for action in actions if isinstance(action, Send)]

    def send(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        return self.take(self.codec.text(json.dumps({"type": kind, **fields})))

    def say(self, data: bytes) -> list[dict[str, Any]]:
        return self.take(self.codec.binary(data))

    def hear(self, *events: LiveEvent, channel: int = 0) -> list[dict[str, Any]]:
        return [told for event in events for told in self.take(self.codec.event(event, f"channel-{channel}"))]

    def of(self, kind: type[Any]) -> list[Any]:
        return [action for action in self.actions if isinstance(action, kind)]


def committed(utterance: int = 1, reason: EndReason = EndReason.PAUSE) -> Committed:
    return Committed(utterance=utterance, start=8_000, end=32_000, reason=reason, audio=np.zeros(0, np.float32))


# Results -------------------------------------------------------------------------------------------------------------


def test_a_final_has_words_with_and_without_punctuation() -> None:
    (told,) = Line().hear(committed(), final("Hello, world.", words=WORDS))
    assert (told["is_final"], told["speech_final"], told["from_finalize"]) == (True, True, False)
    assert (told["start"], told["duration"], told["channel_index"]) == (0.5, 1.5, [0, 1])
    (alternative,) = told["channel"]["alternatives"]
    assert (alternative["transcript"], alternative["confidence"]) == ("Hello, world.", 0.8)
    assert alternative["words"][1] == {
        "word": "world",
        "start": 1.1,
        "end": 1.5,
        "confidence": 0.7,
        "punctuated_word": "world.",
    }
    assert told["metadata"]["model_info"] == {"name": "small", "version": "local", "arch": "whisper"}


@pytest.mark.parametrize(
    ("reason", "query", "ended"),
    [
        (EndReason.PAUSE, {}, True),
        (EndReason.LONGEST, {}, False),
        (EndReason.COMMIT, {}, True),
        (EndReason.PAUSE, {"endpointing": "false"}, False),
    ],
)
def test_speech_final_tells_a_pause(reason: EndReason, query: dict[str, str], ended: bool) -> None:
    (told,) = Line(**query).hear(committed(reason=reason), final("Hello.", reason=reason))
    assert told["speech_final"] is ended
    assert told["is_final"]


def test_interims_come_when_they_are_wanted_and_new_and_are_taken_back() -> None:
    assert Line().hear(interim("Hello")) == []
    line = Line(interim_results="true")
    (told,) = line.hear(interim("Hello there"), interim("Hello there", revision=2))
    assert (told["is_final"], told["speech_final"]) == (False, False)
    words = told["channel"]["alternatives"][0]["words"]
    assert [(word["word"], word["start"], word["end"]) for word in words] == [("hello", 0.5, 1.0), ("there", 1.0, 1.5)]
    (nothing,) = line.hear(committed(), final(""))
    assert (nothing["is_final"], nothing["channel"]["alternatives"][0]["transcript"]) == (True, "")
    assert line.hear(committed(2), final("", utterance=2)) == []


def test_who_speaks_is_told_on_request() -> None:
    began = SpeechStarted(utterance=1, start=8_000)
    assert Line().hear(began) == []
    assert Line(vad_events="true").hear(began) == [{"type": "SpeechStarted", "channel": [0, 1], "timestamp": 0.5}]


def test_an_utterance_that_failed_is_told_and_taken_back() -> None:
    line = Line(interim_results="true")
    failed = FinalFailed(utterance=1, start=0, end=16_000, code="unavailable", message="Broken.")
    error, nothing = line.hear(interim("Hello"), committed(), failed)[1:]
    assert (error["type"], error["variant"], error["description"]) == ("Error", "unavailable", "Broken.")
    assert nothing["is_final"]


# UtteranceEnd --------------------------------------------------------------------------------------------------------


def test_utterance_end_comes_after_the_silence_and_after_the_final() -> None:
    line = Line(utterance_end_ms="1000")
    assert line.of(Open)[0].options.quiet_ms == 1_000
    end = {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": 1.5}
    assert line.hear(committed(), final("Hello, world.", words=WORDS), Quiet(utterance=1, end=40_000))[1:] == [end]
    assert line.hear(Quiet(utterance=1, end=40_000)) == []
    late = line.hear(committed(2), Quiet(utterance=2, end=80_000), final("Hello.", utterance=2, words=WORDS))
    assert [told["type"] for told in late] == ["Results", "UtteranceEnd"]


def test_no_utterance_end_after_what_was_no_speech() -> None:
    assert Line(utterance_end_ms="1000").hear(committed(), final(""), Quiet(utterance=1, end=40_000)) == []


# Messages of clients -------------------------------------------------------------------------------------------------


def test_finalize_is_answered_with_from_finalize_whatever_there_is() -> None:
    line = Line()
    assert line.send("Finalize") == []
    assert line.of(Commit) == [Commit(stream="channel-0")]
    (open_one,) = line.hear(committed(1, EndReason.COMMIT), final("Hello.", reason=EndReason.COMMIT))
    assert open_one["from_finalize"]
    (nothing,) = line.hear(CommitRefused(samples=0))
    assert (nothing["from_finalize"], nothing["start"], nothing["duration"]) == (True, 2.0, 0.0)
    (waiting,) = line.hear(committed(2), CommitRefused(samples=0), final("", utterance=2))
    assert waiting["from_finalize"]


def test_keep_alive_says_nothing_and_nonsense_is_answered() -> None:
    line = Line()
    assert line.send("KeepAlive") == []
    for frame in ("no json", "[]", '{"type":"Dance"}', '{"type":["Finalize"]}', '{"type":"Finalize","channel":3}'):
        (told,) = line.take(line.codec.text(frame))
        assert (told["type"], told["variant"], told["message"]) == ("Error", "SchemaError", frame)
    assert line.of(Close) == []


def test_words_to_listen_for_can_be_changed() -> None:
    line = Line(keyterm="Kikitori")
    assert line.of(Open)[0].options.decode.hotwords == "Kikitori"
    (told,) = line.send("Configure", keyterms=["Ghibli", "Ukiyo-e"])
    assert told == {"type": "ConfigureSuccess", "request_id": "r-1", "keyterms": ["Ghibli", "Ukiyo-e"]}
    assert line.of(Configure)[0].options.decode.hotwords == "Ghibli, Ukiyo-e"
    assert line.send("Configure", keyterms="Ghibli")[0]["variant"] == "SchemaError"
    line.send("Configure", keyterms=["x"])
    (failed,) = line.take(line.codec.failed(InvalidOption("hotwords", "x", "y"), "channel-0"))
    assert failed["type"] == "ConfigureFailure"


@pytest.mark.parametrize("how", ["CloseStream", "empty"])
def test_the_end_is_finals_metadata_and_1000(how: str) -> None:
    line = Line()
    line.say(bytes(32_000))
    assert (line.send("CloseStream") if how == "CloseStream" else line.say(b"")) == []
    assert line.of(End) == [End(stream="channel-0")]
    assert line.say(bytes(2)) == [] == line.send("CloseStream")
    line.hear(committed(reason=EndReason.END), final("Hello.", reason=EndReason.END))
    (metadata,) = line.take(line.codec.ended("channel-0"))
    assert metadata["type"] == "Metadata"
    assert (metadata["duration"], metadata["channels"], metadata["request_id"]) == (1.0, 1, "r-1")
    assert metadata["sha256"] == hashlib.sha256(bytes(32_000)).hexdigest()
    assert line.of(Close) == [Close(code=1000)]


def test_sessions_that_end_by_themselves_end_with_the_server() -> None:
    line = Line()
    assert line.take(line.codec.ended("channel-0"))[0]["type"] == "Metadata"
    assert line.of(Close)[0].code == 1012
    assert line.codec.closing(IDLE_CODE, "NET-0001") == ()
    assert line.take(line.codec.closing(1008, "Too slow."))[0]["description"] == "Too slow."


@pytest.mark.parametrize(
    ("error", "code"),
    [(Busy("Full."), 1013), (ModelNotFound("x"), 1011), (InvalidMedia("Bad."), 1008), (KikitoriError("Oh."), 1011)],
)
def test_a_session_that_cannot_begin_closes_the_socket(error: KikitoriError, code: int) -> None:
    codec = ListenCodec(read_listen(list(RAW.items()), LiveOptions()), ABOUT, created="")
    codec.opened()
    told, close = codec.failed(error, "channel-0")
    assert isinstance(told, Send)
    assert isinstance(close, Close)
    assert close.code == code


def test_audio_that_breaks_off_is_told_after_what_was_heard() -> None:
    line = Line(encoding="ogg-opus")
    (told,) = line.take(line.codec.failed(InvalidMedia("It is damaged."), "channel-0"))
    assert told["variant"] == "DATA-0000"
    assert line.of(Close) == []
    line.take(line.codec.ended("channel-0"))
    assert line.of(Close)[0].code == 1008


# Audio ---------------------------------------------------------------------------------------------------------------


def test_channels_are_sessions_of_their_own() -> None:
    line = Line(channels="2", multichannel="true")
    assert [opened.stream for opened in line.of(Open)] == ["channel-0", "channel-1"]
    samples = np.array([[1, 2], [3, 4]], "<i2").tobytes()
    line.say(samples[:5])
    line.say(samples[5:])
    fed = {
        stream: b"".join(f.data for f in line.of(Feed) if f.stream == stream) for stream in ("channel-0", "channel-1")
    }
    assert [np.frombuffer(data, "<i2").tolist() for data in fed.values()] == [[1, 3], [2, 4]]
    (told,) = line.hear(committed(), final("Hello."), channel=1)
    assert told["channel_index"] == [1, 2]
    line.send("Finalize", channel=1)
    assert line.of(Commit) == [Commit(stream="channel-1")]
    line.send("CloseStream")
    assert line.take(line.codec.ended("channel-0")) == []
    assert line.take(line.codec.ended("channel-1"))[0]["channels"] == 2


def test_channels_that_are_not_told_apart_are_mixed() -> None:
    line = Line(channels="2")
    line.say(np.array([[1000, 3000]], "<i2").tobytes())
    (feed,) = line.of(Feed)
    assert np.frombuffer(feed.data, "<i2").tolist() == [2000]


def test_a_container_tells_what_it_is() -> None:
    line = Line(encoding="", sample_rate="")
    assert line.of(Open) == []
    head = wav_head(InputFormat(encoding=Encoding.MULAW, rate=8_000), 1)
    line.say(head[:20])
    line.say(head[20:] + b"\x7f\x80")
    assert line.of(Open)[0].format == InputFormat(encoding=Encoding.MULAW, rate=8_000)
    assert line.of(Feed)[0].data == b"\x7f\x80"
    for start, encoding in ((b"OggS", Encoding.OGG_OPUS), (b"\x1aE\xdf\xa3", Encoding.WEBM_OPUS)):
        found = look(start + bytes(20))
        assert found
        assert found.format.encoding is encoding
        assert found.skip == 0


@pytest.mark.parametrize("encoding", [Encoding.S16LE, Encoding.F32LE, Encoding.MULAW, Encoding.ALAW])
def test_the_head_we_write_is_the_head_we_read(encoding: Encoding) -> None:
    head = wav_head(InputFormat(encoding=encoding, rate=44_100), 2)
    found = look(head)
    assert found
    assert (found.format, found.channels, found.skip) == (InputFormat(encoding=encoding, rate=44_100), 2, len(head))


@pytest.mark.parametrize(
    "head",
    [
        b"ID3\x04 an mp3 file",
        b"fLaC and more bytes",
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 16_000, 48_000, 3, 24),
        b"RIFF\0\0\0\0WAVEdata\0\0\0\0",
    ],
)
def test_what_cannot_be_heard_live_closes_with_data_0000(head: bytes) -> None:
    line = Line(encoding="", sample_rate="")
    told = line.say(head + bytes(64))
    assert told[0]["variant"] == "DATA-0000"
    assert line.of(Close)[0].code == 1008
    assert line.say(bytes(100)) == []


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_head_is_judged_without_an_accident(head: bytes) -> None:
    for data in (head, b"RIFF\0\0\0\0WAVE" + head):
        try:
            found = look(data)
        except InvalidMedia:
            continue
        assert found is None or found.skip <= len(data) or found.format.encoding is not Encoding.S16LE


@settings(deadline=None)
@given(st.lists(st.binary(max_size=9), max_size=20))
def test_splitting_does_not_depend_on_the_cut(parts: list[bytes]) -> None:
    whole = Splitter(InputFormat(), 3, mix=False).push(b"".join(parts))
    splitter = Splitter(InputFormat(), 3, mix=False)
    pieces = [splitter.push(part) for part in parts]
    assert [b"".join(piece[channel] for piece in pieces) for channel in range(3)] == whole


# The query -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"diarize": "true"}, "diarize"),
        ({"redact": "pci"}, "redact"),
        ({"callback": "https://example.org"}, "callback"),
        ({"alternatives": "3"}, "alternatives"),
        ({"encoding": "amr-nb"}, "encoding"),
        ({"encoding": "linear16", "sample_rate": ""}, "sample_rate"),
        ({"sample_rate": "1"}, "sample_rate"),
        ({"channels": "1.5"}, "channels"),
        ({"channels": "99"}, "channels"),
        ({"multichannel": "true"}, "channels"),
        ({"interim_results": "maybe"}, "interim_results"),
        ({"endpointing": "99999999"}, "endpointing"),
        ({"utterance_end_ms": "5"}, "utterance_end_ms"),
        ({"language": "x" * 20}, "language"),
    ],
)
def test_what_is_wrong_is_named(query: dict[str, str], name: str) -> None:
    with pytest.raises((InvalidOption, Unsupported)) as refused:
        Line(**query)
    assert refused.value.param == name


def test_what_shapes_the_text_or_labels_the_request_is_accepted() -> None:
    line = Line(
        punctuate="true",
        smart_format="true",
        numerals="false",
        tag="x",
        mip_opt_out="true",
        no_delay="",
        diarize="false",
    )
    assert len(line.of(Open)) == 1


@pytest.mark.parametrize(
    ("query", "model", "language", "endpoint_ms"),
    [
        ({"model": "nova-3"}, "", None, 500),
        ({"model": "nova-2-medical", "language": "multi"}, "", None, 500),
        ({"model": "whisper-large", "language": "ko-KR"}, "large", "ko", 500),
        ({"model": "small", "endpointing": "10"}, "small", None, 100),
        ({"endpointing": "800", "language": "en"}, "", "en", 800),
        ({"endpointing": "true"}, "", None, 500),
    ],
)
def test_the_query_in_our_words(query: dict[str, str], model: str, language: str | None, endpoint_ms: int) -> None:
    options = Line(**query).of(Open)[0].options
    assert (options.model, options.decode.language, options.endpoint_ms) == (model, language, endpoint_ms)


def test_boosts_are_left_out_of_keywords() -> None:
    pairs = [*RAW.items(), ("keywords", "Kikitori:2.5"), ("keywords", "Ghibli"), ("keyterm", "Kikitori")]
    assert read_listen(pairs, LiveOptions()).options.decode.hotwords == "Kikitori, Ghibli"


def test_words_alone() -> None:
    assert [bare(word) for word in ("Hello,", "«don’t»", "3.5%", "—", "안녕하세요.")] == [
        "hello",
        "don’t",
        "3.5",
        "—",
        "안녕하세요",
    ]
    assert estimated("", 0.0, 1.0) == ()
