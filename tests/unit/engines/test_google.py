"""Google's recogniser against a gRPC server of the same service, and what can go wrong: no word is lost or doubled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from tests.google_server import Fault, GoogleServer, Spoken, audio_of, google_server, sentences

from kikitori.engines.base import EngineConfig
from kikitori.engines.google_cloud import GoogleEngine, judge, pieces
from kikitori.engines.google_codes import tags
from kikitori.engines.google_results import Result, Stitcher
from kikitori.engines.google_stream import QUEUE_CHUNKS, GoogleStream, Leg, Tape
from kikitori.errors import Busy, DecodingCancelled, ModelLoadFailed, RemoteFailed
from kikitori.options import DecodeOptions
from kikitori.types import SAMPLE_RATE, Word

LIMITS = {"answer": 0.0, "pause": 0.01, "stall": 20.0}
OPTIONS = DecodeOptions(language="en", word_timestamps=True)


@contextmanager
def engine(server: GoogleServer, **more: Any) -> Iterator[GoogleEngine]:
    extra = {"project": "p", "endpoint": server.endpoint, "limits": LIMITS | more.pop("limits", {}), **more}
    made = GoogleEngine(EngineConfig(model="long", extra=extra))
    try:
        yield made
    finally:
        made.close()


def said(stream: GoogleStream, seconds: float, *, piece: float = 0.5) -> list[str]:
    """The words of an utterance, fed piece by piece."""
    audio = audio_of(seconds)
    for start in range(0, len(audio), int(piece * SAMPLE_RATE)):
        stream.accept(audio[start : start + int(piece * SAMPLE_RATE)])
    return [word.word.strip() for segment in stream.finish().segments for word in segment.words or ()]


def words(spoken: Sequence[Spoken]) -> list[str]:
    return [word.word for word in spoken]


def length(spoken: Sequence[Spoken]) -> float:
    return spoken[-1].end + 0.2


def leftovers() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("kikitori-google")]


class Calls:
    def __init__(self, gone: Callable[[], bool] = lambda: False) -> None:
        self.gone = gone

    def submit(self, key: object, payload: object) -> Any:
        raise AssertionError("Nothing is merged.")

    def check(self) -> None:
        if self.gone():
            raise DecodingCancelled


# Utterances ----------------------------------------------------------------------------------------------------------


def test_interims_grow_and_finals_have_times() -> None:
    spoken = sentences(2)
    with google_server(spoken=spoken) as server, engine(server, limits={"answer": 5.0}) as google:
        stream = google.stream(OPTIONS)
        heard = []
        audio = audio_of(length(spoken))
        for start in range(0, len(audio), SAMPLE_RATE):
            heard.append(stream.accept(audio[start : start + SAMPLE_RATE]).text)
        decoding = stream.finish()
        segments = list(decoding.segments)
        assert any(heard[1:3]), "interims come while somebody speaks"
        assert all("  " not in text for text in heard)
        assert decoding.language.code == "en"
        assert "".join(segment.text for segment in segments).split() == words(spoken)
        found = [word for segment in segments for word in segment.words or ()]
        assert [word.start for word in found] == pytest.approx([word.start for word in spoken], abs=0.02)
        assert found[0].probability == pytest.approx(0.9)
        (recognizer, config), *_ = server.configs
        assert recognizer == "projects/p/locations/global/recognizers/_"
        assert config.config.model == "long"
        assert list(config.config.language_codes) == ["en-US"]
        assert config.streaming_features.interim_results
        assert server.streams == 1
    assert leftovers() == []


BROKEN = [
    [Fault(after=after, code=code)]
    for after in (0.0, 3.3, 9.9)
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
] + [
    [Fault(after=1e9, code=grpc.StatusCode.INTERNAL)],
    [Fault(after=5.0, code=grpc.StatusCode.ABORTED), Fault(after=5.0, code=grpc.StatusCode.UNAVAILABLE)],
    [Fault(after=6.0 + n / 7, code=grpc.StatusCode.UNAVAILABLE) for n in range(6)],
]


@pytest.mark.parametrize("word_times", [True, False], ids=["timed", "untimed"])
@pytest.mark.parametrize(
    "faults", BROKEN, ids=lambda faults: "-".join(f"{each.code.name}@{each.after:g}" for each in faults)
)
def test_streams_that_break_lose_and_double_no_word(faults: list[Fault], word_times: bool) -> None:
    spoken = sentences(5, words=6)
    with google_server(spoken=spoken, faults=[*faults], word_times=word_times) as server, engine(server) as google:
        stream = google.stream(OPTIONS)
        audio = audio_of(length(spoken))
        for start in range(0, len(audio), SAMPLE_RATE // 2):
            stream.accept(audio[start : start + SAMPLE_RATE // 2])
        text = "".join(segment.text for segment in stream.finish().segments)
        assert text.split() == words(spoken)
        assert server.streams == len(faults) + 1
    assert leftovers() == []


@pytest.mark.parametrize("word_times", [True, False], ids=["timed", "untimed"])
def test_streams_are_renewed_before_they_are_too_old(word_times: bool) -> None:
    spoken = sentences(12, words=20, gap=0.6)
    with google_server(spoken=spoken, word_times=word_times) as server:
        with engine(server, limits={"soft": 7.0, "hard": 7.0}) as google:
            stream = google.stream(OPTIONS)
            audio = audio_of(length(spoken))
            for start in range(0, len(audio), SAMPLE_RATE):
                stream.accept(audio[start : start + SAMPLE_RATE])
            text = "".join(segment.text for segment in stream.finish().segments)
            assert text.split() == words(spoken)
        assert server.streams > 10


def test_the_five_minutes_of_google_are_never_reached_and_would_be_survived() -> None:
    spoken = sentences(90, words=8, gap=0.8)
    seconds = length(spoken)
    assert seconds > 350
    with google_server(spoken=spoken) as server:
        with engine(server) as google:
            assert said(google.stream(OPTIONS), seconds, piece=5.0) == words(spoken)
        assert server.streams == 2
        with engine(server, limits={"soft": 400.0, "hard": 400.0}) as google:
            assert said(google.stream(OPTIONS), seconds, piece=5.0) == words(spoken)
        assert server.streams == 4, "the second one was cut after 305 s"


def test_nobody_speaks_for_longer_than_a_stream_lasts() -> None:
    with google_server() as server, engine(server, limits={"soft": 2.0, "hard": 2.0}) as google:
        assert said(google.stream(OPTIONS), 9.0) == []
        assert server.streams == 5


def test_interims_out_of_order_show_nothing_old() -> None:
    spoken = sentences(4)
    with google_server(spoken=spoken, reorders=True) as server, engine(server, limits={"answer": 0.2}) as google:
        stream = google.stream(OPTIONS)
        audio, before = audio_of(length(spoken)), 0
        for start in range(0, len(audio), SAMPLE_RATE // 2):
            count = len(stream.accept(audio[start : start + SAMPLE_RATE // 2]).words)
            assert count >= before, "words were taken back"
            before = count
        assert "".join(segment.text for segment in stream.finish().segments).split() == words(spoken)


def test_slow_answers_are_waited_for() -> None:
    spoken = sentences(2, words=3)
    with google_server(spoken=spoken, slow=0.02) as server, engine(server) as google:
        assert said(google.stream(OPTIONS), length(spoken)) == words(spoken)
        assert server.streams == 1


def test_a_stream_that_hangs_is_replaced() -> None:
    spoken = sentences(2, words=3)
    with google_server(spoken=spoken, faults=[Fault(after=1.0, hangs=True)]) as server:
        with engine(server, limits={"stall": 0.3}) as google:
            assert said(google.stream(OPTIONS), length(spoken)) == words(spoken)
        assert server.streams == 2


def test_an_utterance_without_audio_costs_nothing() -> None:
    with google_server() as server, engine(server) as google:
        stream = google.stream(OPTIONS)
        assert list(stream.finish().segments) == []
        stream.close()
        assert server.streams == 0


# What does not pass --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "error", "about", "streams"),
    [
        (grpc.StatusCode.UNAVAILABLE, RemoteFailed, "UNAVAILABLE", 3),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Busy, "quota", 3),
        (grpc.StatusCode.UNAUTHENTICATED, RemoteFailed, "KIKITORI_GOOGLE_CREDENTIALS", 1),
        (grpc.StatusCode.NOT_FOUND, RemoteFailed, "KIKITORI_GOOGLE_PROJECT", 1),
        (grpc.StatusCode.INVALID_ARGUMENT, RemoteFailed, "as the test wants it", 1),
    ],
)
def test_what_does_not_pass_is_ours_to_tell_after_a_few_tries(
    code: grpc.StatusCode, error: type[Exception], about: str, streams: int
) -> None:
    with google_server(faults=[Fault(code=code)] * 9) as server, engine(server) as google:
        stream = google.stream(OPTIONS)
        with pytest.raises(error) as raised:
            said(stream, 2.0)
        assert about in str(raised.value)
        assert server.streams == streams
        stream.close()
        with pytest.raises(error):
            google.transcribe(audio_of(2.0), OPTIONS, Calls())
    assert leftovers() == []


def test_who_leaves_frees_the_stream_at_once() -> None:
    with google_server(faults=[Fault(hangs=True)]) as server, engine(server) as google:
        stream = google.stream(OPTIONS)
        stream.accept(audio_of(1.0))
        failures: list[BaseException] = []

        def finish() -> None:
            try:
                stream.finish()
            except DecodingCancelled as exc:
                failures.append(exc)

        finishing = threading.Thread(target=finish)
        finishing.start()
        stream.interrupt()
        finishing.join(15)
        assert not finishing.is_alive()
        assert failures
        stream.close()
        assert leftovers() == []


# Recordings ----------------------------------------------------------------------------------------------------------


def test_recordings_go_in_pieces() -> None:
    spoken = sentences(30)
    seconds = length(spoken)
    with google_server(spoken=spoken) as server, engine(server) as google:
        decoding = google.transcribe(audio_of(seconds), OPTIONS, Calls())
        found = [word for segment in decoding.segments for word in segment.words or ()]
        assert decoding.language.code == "en"
        assert [word.start for word in found] == sorted(word.start for word in found)
        assert len(server.configs) == len(list(pieces(audio_of(seconds)))) == 3
        assert all(len(request.content) <= 55 * 2 * SAMPLE_RATE for request in server.configs)
        assert server.streams == 0


def test_a_recording_is_tried_again_and_silence_is_not_sent() -> None:
    spoken = sentences(1)
    fault = Fault(code=grpc.StatusCode.UNAVAILABLE)
    with google_server(spoken=spoken, faults=[fault, fault]) as server, engine(server) as google:
        decoding = google.transcribe(audio_of(length(spoken)), OPTIONS, Calls())
        assert "".join(segment.text for segment in decoding.segments).split() == words(spoken)
        assert len(server.configs) == 3
        assert list(google.transcribe(np.zeros(SAMPLE_RATE, np.float32), OPTIONS, Calls()).segments) == []
        assert len(server.configs) == 3


def test_who_leaves_frees_a_recording_at_once() -> None:
    with google_server(faults=[Fault(hangs=True)]) as server, engine(server) as google:
        with pytest.raises(DecodingCancelled):
            google.transcribe(audio_of(2.0), OPTIONS, Calls(lambda: bool(server.configs)))


# Settings ------------------------------------------------------------------------------------------------------------


def test_hotwords_and_languages_reach_google() -> None:
    with (
        google_server() as server,
        engine(server, languages=["en-GB", "ja-JP"], location="eu", recognizer="r") as google,
    ):
        google.transcribe(audio_of(1.0), DecodeOptions(language="en", hotwords="Kikitori, Ghibli"), Calls())
        google.transcribe(audio_of(1.0), DecodeOptions(), Calls())
        first, second = server.configs
        assert first.recognizer == "projects/p/locations/eu/recognizers/r"
        assert list(first.config.language_codes) == ["en-GB"]
        phrases = first.config.adaptation.phrase_sets[0].inline_phrase_set.phrases
        assert [phrase.value for phrase in phrases] == ["Kikitori", "Ghibli"]
        assert list(second.config.language_codes) == ["en-GB", "ja-JP"]


@pytest.mark.parametrize(
    ("language", "preferred", "told"),
    [("zh", (), ["cmn-Hans-CN"]), ("zh", ("cmn-Hant-TW",), ["cmn-Hant-TW"]), (None, (), ["en-US"]), ("xx", (), ["xx"])],
)
def test_languages_in_googles_words(language: str | None, preferred: tuple[str, ...], told: list[str]) -> None:
    assert tags(language, preferred) == told


@pytest.mark.parametrize(
    ("extra", "about"),
    [
        ({}, "KIKITORI_GOOGLE_PROJECT"),
        ({"project": "p", "credentials": "/nowhere/key.json"}, "KIKITORI_GOOGLE_CREDENTIALS"),
    ],
)
def test_what_is_missing_is_said_when_it_is_loaded(extra: dict[str, Any], about: str) -> None:
    with pytest.raises(ModelLoadFailed, match=about):
        GoogleEngine(EngineConfig(model="long", extra=extra))


# Parts ---------------------------------------------------------------------------------------------------------------


def test_what_is_no_grpc_error_is_a_fault_that_does_not_pass() -> None:
    assert judge(ValueError())[1] is False
    assert judge(TimeoutError())[1] is True


def test_a_pause_is_much_quieter_than_speech() -> None:
    rng = np.random.default_rng(1)
    tape = Tape()
    tape.add((rng.standard_normal(5 * SAMPLE_RATE) * 0.1).astype(np.float32))
    assert not tape.is_quiet(tape.end)
    tape.add((rng.standard_normal(SAMPLE_RATE // 2) * 0.001).astype(np.float32))
    assert tape.is_quiet(tape.end)
    tape.forget(3 * SAMPLE_RATE)
    assert len(tape.read(4 * SAMPLE_RATE, 10**9)) == tape.end - 4 * SAMPLE_RATE


def test_audio_on_its_way_is_bounded() -> None:
    class Stuck:
        """Takes no audio."""

        def __init__(self) -> None:
            self.gone = threading.Event()

        def __iter__(self) -> Iterator[Sequence[Result]]:
            self.gone.wait()
            yield from ()

        def cancel(self) -> None:
            self.gone.set()

    leg = Leg(lambda pieces: Stuck(), lambda results: None)
    taken = 0
    while leg.put(bytes(2), 0.1):
        taken += 1
    assert taken == QUEUE_CHUNKS
    leg.close()
    assert leftovers() == []


def timed(*spoken: str, start: float = 0.0) -> tuple[Word, ...]:
    return tuple(
        Word(word=f" {word}", start=start + n * 0.5, end=start + n * 0.5 + 0.4, probability=0.9)
        for n, word in enumerate(spoken)
    )


def test_a_new_stream_repeats_nothing_and_leaves_nothing_out() -> None:
    stitcher = Stitcher()
    stitcher.begin(0.0)
    stitcher.hear([Result(text="one two three", end=2.0, final=True, words=timed("one", "two", "three"))])
    assert stitcher.boundary == pytest.approx(1.4)
    stitcher.begin(stitcher.origin)
    assert stitcher.origin == pytest.approx(0.4)
    stitcher.hear([Result(text="two three four", end=2.5, stability=0.5)])
    assert "".join(word.word for word in stitcher.words) == " one two three four"
    again = timed("Three,", "four", start=0.75)  # heard a little later than before
    stitcher.hear([Result(text="Three, four", end=3.0, final=True, words=again)])
    assert "".join(segment.text for segment in stitcher.segments) == " one two three four"


def test_scripts_without_spaces_are_joined_without() -> None:
    stitcher = Stitcher()
    stitcher.begin(0.0)
    stitcher.hear([Result(text="今日は。", end=1.0, final=True)])
    stitcher.hear([Result(text="元気です。", end=2.0, final=True)])
    assert "".join(segment.text for segment in stitcher.segments) == "今日は。元気です。"
