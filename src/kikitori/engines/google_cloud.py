"""Google Cloud Speech-to-Text v2: utterances on streams, recordings piece by piece."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import grpc
import numpy as np
from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcTransport
from google.cloud.speech_v2.types import cloud_speech
from google.oauth2 import service_account

from kikitori.audio.pcm import Encoding, from_float
from kikitori.engines.base import Calls, Decoding, EngineConfig, EngineInfo, Language, WorksAlone
from kikitori.engines.google_codes import primary, tags
from kikitori.engines.google_results import Result, Stitcher
from kikitori.engines.google_stream import GoogleStream, Limits, timed_out
from kikitori.engines.registry import engine_info
from kikitori.engines.wording import place
from kikitori.errors import Busy, KikitoriError, ModelLoadFailed, RemoteFailed
from kikitori.options import DecodeOptions
from kikitori.types import SAMPLE_RATE, Audio, Segment, Word

PIECE_SAMPLES = 55 * SAMPLE_RATE
"""Google takes a minute at most in one request."""
STREAM_SECONDS = 320.0
"""A stream that lives longer than Google allows is not one."""
REQUEST_SECONDS = 60.0
POLL_SECONDS = 0.1
RETRIES = 2
RETRY_AFTER_SECONDS = 30.0
SILENCE = 1e-3
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
PASSING = frozenset(
    {
        grpc.StatusCode.ABORTED,  # five minutes are over, or audio paused
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.OUT_OF_RANGE,  # five minutes are over
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)
"""Statuses after which it is tried again."""


class GoogleEngine(WorksAlone):
    """``config.model`` is Google's name of the model; ``services.engine_options`` has what is in ``config.extra``."""

    def __init__(self, config: EngineConfig) -> None:
        """Asks nobody. Raises ModelLoadFailed without a project or credentials."""
        self.info: EngineInfo = engine_info("google")
        extra = config.extra
        self._model, self._languages = config.model, tuple(extra.get("languages") or ())
        self._recognizer = _recognizer(extra)
        self._limits = Limits(**extra.get("limits", {}))
        self._pause = self._limits.pause
        self._transport = _transport(extra)

    def transcribe(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Decoding:
        segments: list[Segment] = []
        language = options.language or ""
        for start, end in pieces(audio):
            stitcher = self._recognized(audio[start:end], options, calls)
            segments += [_later(segment, start / SAMPLE_RATE, options) for segment in stitcher.segments]
            language = language or stitcher.language
        return Decoding(Language(code=language, probability=1.0 if language else 0.0), iter(segments))

    def detect_language(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Language:
        return self.transcribe(audio[:PIECE_SAMPLES], options, calls).language

    def stream(self, options: DecodeOptions) -> GoogleStream:
        """One utterance."""

        def open_call(audio: Iterable[bytes]) -> _Call:
            requests = self._requests(audio, options)
            call = self._transport.streaming_recognize(requests, timeout=STREAM_SECONDS, metadata=self._routing)
            return _Call(call)

        return GoogleStream(open_call, judge, self._limits)

    def close(self) -> None:
        self._transport.close()

    @property
    def _routing(self) -> Sequence[tuple[str, str]]:
        return (to_grpc_metadata((("recognizer", self._recognizer),)),)

    def _config(self, options: DecodeOptions) -> cloud_speech.RecognitionConfig:
        decoding = cloud_speech.ExplicitDecodingConfig(
            encoding=cloud_speech.ExplicitDecodingConfig.AudioEncoding.LINEAR16,
            sample_rate_hertz=SAMPLE_RATE,
            audio_channel_count=1,
        )
        features = cloud_speech.RecognitionFeatures(
            enable_automatic_punctuation=True, enable_word_time_offsets=True, enable_word_confidence=True
        )
        return cloud_speech.RecognitionConfig(
            explicit_decoding_config=decoding,
            model=self._model,
            language_codes=tags(options.language, self._languages),
            features=features,
            adaptation=_adaptation(options),
        )

    def _requests(
        self, audio: Iterable[bytes], options: DecodeOptions
    ) -> Iterator[cloud_speech.StreamingRecognizeRequest]:
        streaming = cloud_speech.StreamingRecognitionConfig(
            config=self._config(options),
            streaming_features=cloud_speech.StreamingRecognitionFeatures(interim_results=True),
        )
        yield cloud_speech.StreamingRecognizeRequest(recognizer=self._recognizer, streaming_config=streaming)
        for piece in audio:
            yield cloud_speech.StreamingRecognizeRequest(audio=piece)

    def _recognized(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Stitcher:
        """One piece; what may pass is tried again. Raises RemoteFailed, Busy, and what ``calls.check`` raises."""
        stitcher = Stitcher()
        if not len(audio) or float(np.abs(audio).max()) < SILENCE:
            return stitcher
        request = cloud_speech.RecognizeRequest(
            recognizer=self._recognizer, config=self._config(options), content=from_float(audio, Encoding.S16LE)
        )
        for attempt in range(RETRIES + 1):
            try:
                answer = self._answer(request, calls)
            except grpc.RpcError as exc:
                error, passes = judge(exc)
                if attempt == RETRIES or not passes:
                    raise error from None
                _wait(self._pause * 2**attempt, calls)
            else:
                stitcher.hear([result_of(result, final=True) for result in answer.results])
                return stitcher
        raise AssertionError("The last attempt returns or raises.")

    def _answer(self, request: cloud_speech.RecognizeRequest, calls: Calls) -> cloud_speech.RecognizeResponse:
        """Raises RpcError, and what ``calls.check`` raises."""
        coming = self._transport.recognize.future(request, timeout=REQUEST_SECONDS, metadata=self._routing)
        try:
            while True:
                try:
                    answer: cloud_speech.RecognizeResponse = coming.result(POLL_SECONDS)
                    return answer
                except grpc.FutureTimeoutError:
                    calls.check()
        finally:
            coming.cancel()


class _Call:
    """An open stream, in our words."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __iter__(self) -> Iterator[Sequence[Result]]:
        for response in self._call:
            if response.results:
                yield [result_of(result, final=result.is_final) for result in response.results]

    def cancel(self) -> object:
        return self._call.cancel()


def result_of(result: Any, *, final: bool) -> Result:
    """A result of either kind of request."""
    best = result.alternatives[0] if result.alternatives else cloud_speech.SpeechRecognitionAlternative()
    timed = [word for word in best.words if word.end_offset]
    shown = place(best.transcript, [word.word for word in timed])
    words = tuple(
        Word(
            word=text,
            start=_seconds(word.start_offset),
            end=_seconds(word.end_offset),
            probability=word.confidence or best.confidence,
        )
        for text, word in zip(shown, timed, strict=True)
    )
    return Result(
        text=best.transcript,
        end=_seconds(result.result_end_offset),
        final=final,
        words=words if final else (),
        stability=getattr(result, "stability", 0.0),
        confidence=best.confidence,
        language=primary(result.language_code),
    )


def judge(exc: Exception) -> tuple[KikitoriError, bool]:
    """What went wrong, as our error, and whether it may pass."""
    if not isinstance(exc, grpc.RpcError):
        return timed_out(), isinstance(exc, TimeoutError)
    code = exc.code() if hasattr(exc, "code") else grpc.StatusCode.UNKNOWN
    said = " ".join(str(exc.details() if hasattr(exc, "details") else "").split())[:300]
    return _error_of(code, said), code in PASSING


def _error_of(code: grpc.StatusCode, said: str) -> KikitoriError:
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Busy("The quota of Google's recogniser is used up.", retry_after=RETRY_AFTER_SECONDS)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return timed_out()
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return RemoteFailed("Google refused the credentials.", remedy="Check KIKITORI_GOOGLE_CREDENTIALS.")
    if code is grpc.StatusCode.NOT_FOUND:
        remedy = "Check KIKITORI_GOOGLE_PROJECT, KIKITORI_GOOGLE_LOCATION and KIKITORI_GOOGLE_RECOGNIZER."
        return RemoteFailed("Google knows no such recogniser.", remedy=remedy)
    if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION):
        return RemoteFailed(f"Google refused the request. It said: {said}", remedy="Check the model and the language.")
    return RemoteFailed(f"Google's recogniser failed ({code.name}).", remedy="Try again later.")


def pieces(audio: Audio) -> Iterator[tuple[int, int]]:
    """Stretches of up to ``PIECE_SAMPLES``, cut where it is quietest in their last third."""
    start, size = 0, SAMPLE_RATE // 10
    while len(audio) - start > PIECE_SAMPLES:
        first = start + PIECE_SAMPLES * 2 // 3
        part = audio[first : start + PIECE_SAMPLES]
        energy = np.square(part[: len(part) // size * size]).reshape(-1, size).sum(axis=1)
        end = first + (int(energy.argmin()) * size + size // 2)
        yield start, end
        start = end
    if len(audio) > start:
        yield start, len(audio)


def _later(segment: Segment, seconds: float, options: DecodeOptions) -> Segment:
    """Moved to where its piece begins; without words nobody asked for."""
    words = tuple(
        Word(word=word.word, start=word.start + seconds, end=word.end + seconds, probability=word.probability)
        for word in segment.words or ()
    )
    return Segment(
        id=0,
        start=segment.start + seconds,
        end=segment.end + seconds,
        text=segment.text,
        words=words if words and options.word_timestamps else None,
    )


def _wait(seconds: float, calls: Calls) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        calls.check()
        time.sleep(min(left, POLL_SECONDS))


def _seconds(offset: timedelta | None) -> float:
    return offset.total_seconds() if offset else 0.0


def _adaptation(options: DecodeOptions) -> cloud_speech.SpeechAdaptation | None:
    """Words to listen for."""
    terms = [term.strip() for term in (options.hotwords or "").split(",") if term.strip()]
    if not terms:
        return None
    phrases = [cloud_speech.PhraseSet.Phrase(value=term, boost=10.0) for term in terms]
    phrase_set = cloud_speech.SpeechAdaptation.AdaptationPhraseSet(
        inline_phrase_set=cloud_speech.PhraseSet(phrases=phrases)
    )
    return cloud_speech.SpeechAdaptation(phrase_sets=[phrase_set])


def _recognizer(extra: dict[str, Any]) -> str:
    if not extra.get("project"):
        raise ModelLoadFailed("Google's recogniser needs a project.", remedy="Set KIKITORI_GOOGLE_PROJECT.")
    location, name = extra.get("location") or "global", extra.get("recognizer") or "_"
    return f"projects/{extra['project']}/locations/{location}/recognizers/{name}"


def _transport(extra: dict[str, Any]) -> SpeechGrpcTransport:
    """To Google, or without encryption to a server on this machine. Raises ModelLoadFailed."""
    location = extra.get("location") or "global"
    host = extra.get("endpoint") or (
        "speech.googleapis.com" if location == "global" else f"{location}-speech.googleapis.com"
    )
    if _is_loopback(host):
        return SpeechGrpcTransport(channel=grpc.insecure_channel(host), credentials=AnonymousCredentials())
    try:
        return SpeechGrpcTransport(host=host, credentials=_credentials(extra.get("credentials")))
    except (GoogleAuthError, OSError, ValueError) as exc:
        raise ModelLoadFailed(
            "Google's credentials cannot be used.", remedy="Name a key file in KIKITORI_GOOGLE_CREDENTIALS."
        ) from exc


def _credentials(file: str | None) -> service_account.Credentials | None:
    """Those of a service account's key file; None: the usual ones of this machine."""
    if not file:
        return None
    return service_account.Credentials.from_service_account_file(str(file), scopes=SCOPES)


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0].strip("[]") or host
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
