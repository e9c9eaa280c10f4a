"""An endpoint that speaks OpenAI's Realtime protocol, as an engine: live speech is forwarded while it is spoken.

An utterance is a socket: its audio goes out as it comes, what is understood so far comes back, and at its end the
endpoint decides. A socket that is lost is replaced, and hears everything again. Recordings go as in ``openai_api``.
"""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar
from urllib.parse import urlunsplit

import numpy as np
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from kikitori.audio.pcm import Encoding, Resampler, from_float
from kikitori.engines.base import Decoding, EngineConfig, EngineInfo, Hypothesis, Language
from kikitori.engines.openai_api import SHORTEST_SAMPLES, OpenAIEngine, prompt_of
from kikitori.engines.openai_http import CONNECT_SECONDS, RETRIES, RETRY_SECONDS, Endpoint, refused, unreachable
from kikitori.engines.registry import engine_info
from kikitori.errors import Busy, DecodingCancelled, RemoteFailed
from kikitori.options import DecodeOptions
from kikitori.types import SAMPLE_RATE, Audio, Segment, Word

RATE = 24_000
PIECE_SAMPLES = 10 * SAMPLE_RATE
"""Of one event: well below what endpoints take."""
ANSWER_SECONDS = 0.1
"""Waited for words after new audio."""
BUSY_SECONDS = 10.0
LISTENING = {"type": "server_vad", "threshold": 0.3, "prefix_padding_ms": 2_000, "silence_duration_ms": 10_000}
"""Endpoints show words of a turn only while they listen for its end. We end it sooner than they do."""
UNAUTHORIZED, UNKNOWN, SERVER_FAULT = 401, 404, 500
_STATUS = {"invalid_api_key": UNAUTHORIZED, "invalid_model": UNKNOWN, "model_not_found": UNKNOWN}
_TRANSCRIPTION, _BUFFER = "conversation.item.input_audio_transcription.", "input_audio_buffer."
_LOST = (OSError, ConnectionClosed, InvalidHandshake)

Event = dict[str, Any]
T = TypeVar("T")


class OpenAIRealtimeEngine(OpenAIEngine):
    """As ``OpenAIEngine``; and streams."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self.info: EngineInfo = engine_info("openai_realtime")

    def stream(self, options: DecodeOptions) -> RealtimeStream:
        return RealtimeStream(lambda: Line(self.endpoint, _session(self.model, options)), options, self.endpoint)


class Line:
    """A socket that is ready to listen, and what it has said."""

    def __init__(self, endpoint: Endpoint, session: Event) -> None:
        """Raises RemoteFailed, Busy, and what a network raises."""
        self._endpoint = endpoint
        self._held = ExitStack()
        self._socket: ClientConnection = self._held.enter_context(_connection(endpoint))
        self._resampler = Resampler(SAMPLE_RATE, RATE)
        self.taken = 0
        """Pieces of audio that were sent."""
        self._seconds = 0.0
        self._texts: dict[str, str] = {}
        """By item, in order."""
        self._ends: list[float] = []
        """How far audio had come when a word was heard."""
        self._open: set[str] = set()
        """Items that are complete and have no text yet."""
        self._stopped: set[str] = set()
        """Items that ended by themselves."""
        self._updated = self._committed = False
        self.language = ""
        try:
            self._begin(session)
        except BaseException:  # nobody else knows of the socket
            self.close()
            raise

    def say(self, pieces: Sequence[Audio]) -> None:
        self.taken += len(pieces)
        for piece in pieces:
            self._seconds += len(piece) / SAMPLE_RATE
            for start in range(0, len(piece), PIECE_SAMPLES):
                self._append(self._resampler.push(piece[start : start + PIECE_SAMPLES]))

    def listen(self, seconds: float) -> None:
        """Take in what was said; wait for something when there is nothing."""
        try:
            self._hear(self._receive(seconds))
            while True:
                self._hear(self._receive(0.0))
        except TimeoutError:
            pass

    def finish(self) -> None:
        """The utterance has ended: wait for all of its text. Raises TimeoutError."""
        missing = SHORTEST_SAMPLES - round(self._seconds * SAMPLE_RATE)
        self._append(self._resampler.push(np.zeros(max(0, missing), np.float32)))
        self._append(self._resampler.flush())
        self._send({"type": f"{_BUFFER}commit"})
        while not self._committed or self._open:
            self._hear(self._receive(self._endpoint.seconds))

    @property
    def text(self) -> str:
        return " ".join(text.strip() for text in self._texts.values() if text.strip())

    def words(self) -> tuple[Word, ...]:
        """Nobody says when they were spoken: each ends where the audio had come when it was heard first."""
        texts = self.text.split()
        self._ends = self._ends[: len(texts)] + [self._seconds] * (len(texts) - len(self._ends))
        starts = [0.0, *self._ends]
        return tuple(
            Word(word=f" {text}", start=start, end=end, probability=1.0)
            for text, start, end in zip(texts, starts, self._ends, strict=False)
        )

    def cut(self) -> None:
        """From any thread: whoever waits gets an error now."""
        try:
            self._socket.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is closed already

    def close(self) -> None:
        self.cut()
        self._held.close()

    def _begin(self, session: Event) -> None:
        self._send({"type": "session.update", "session": session})
        while not self._updated:
            try:
                self._hear(self._receive(CONNECT_SECONDS))
            except _NoTurns:
                session["audio"]["input"]["turn_detection"] = None
                self._send({"type": "session.update", "session": session})

    def _append(self, audio: Audio) -> None:
        if len(audio):
            data = base64.b64encode(from_float(audio, Encoding.S16LE)).decode()
            self._send({"type": f"{_BUFFER}append", "audio": data})

    def _send(self, event: Event) -> None:
        self._socket.send(json.dumps(event))

    def _receive(self, seconds: float) -> Event:
        try:
            event = json.loads(self._socket.recv(timeout=seconds))
        except ValueError:
            event = None
        if not isinstance(event, dict):
            raise refused(200, "")
        return event

    def _hear(self, event: Event) -> None:
        kind, item = str(event.get("type")), str(event.get("item_id"))
        if kind == "session.updated":
            self._updated = True
        elif kind == f"{_BUFFER}speech_stopped":
            self._stopped.add(item)
        elif kind == f"{_BUFFER}committed":
            self._texts.setdefault(item, "")
            self._open.add(item)
            self._committed = self._committed or item not in self._stopped
        elif kind == f"{_TRANSCRIPTION}delta":
            self._texts[item] = self._texts.get(item, "") + str(event.get("delta") or "")
        elif kind == f"{_TRANSCRIPTION}completed":
            self._texts[item] = str(event.get("transcript") or "")
            self._open.discard(item)
            self.language = _language(event) or self.language
        elif kind == f"{_TRANSCRIPTION}failed":
            raise refused(SERVER_FAULT, "")
        elif kind == "error":
            self._fail(event.get("error"))

    def _fail(self, error: Any) -> None:
        said = error if isinstance(error, dict) else {}
        code, param, message = (str(said.get(name) or "") for name in ("code", "param", "message"))
        if code == "input_audio_buffer_commit_empty":
            self._committed = True  # what was said is decided already
        elif param.endswith("turn_detection") and not self._updated:
            raise _NoTurns
        elif code in ("rate_limit_exceeded", "insufficient_quota"):
            raise Busy("The transcription endpoint has too much to do.", retry_after=BUSY_SECONDS)
        else:
            key = self._endpoint.api_key
            raise refused(_STATUS.get(code, 400), message.replace(key, "[key]") if key else message)


class RealtimeStream:
    """An EngineStream. ``interrupt`` may come from any thread; everything else from one at a time."""

    def __init__(self, open_line: Callable[[], Line], options: DecodeOptions, endpoint: Endpoint) -> None:
        self._open, self._options, self._endpoint = open_line, options, endpoint
        self._heard: list[Audio] = []
        """All of it: another socket may have to hear it again."""
        self._line: Line | None = None
        self._failures = 0
        self._interrupted = threading.Event()

    def accept(self, audio: Audio) -> Hypothesis:
        """Raises RemoteFailed, Busy, DecodingCancelled."""
        self._heard.append(audio)
        words = self._on_a_line(self._show)
        return Hypothesis(text="".join(word.word for word in words).strip(), words=words)

    def finish(self) -> Decoding:
        """Raises as ``accept``."""
        seconds = sum(map(len, self._heard)) / SAMPLE_RATE
        if not seconds:
            return Decoding(Language(code=self._options.language or "", probability=0.0), iter(()))
        text, language = self._on_a_line(self._decide)
        self.close()
        segments = [Segment(id=0, start=0.0, end=seconds, text=f" {text}")] if text else []
        return Decoding(Language(code=language or self._options.language or ""), iter(segments))

    def interrupt(self) -> None:
        self._interrupted.set()
        if (line := self._line) is not None:
            line.cut()

    def close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _show(self, line: Line) -> tuple[Word, ...]:
        line.listen(ANSWER_SECONDS)
        return line.words()

    def _decide(self, line: Line) -> tuple[str, str]:
        line.finish()
        return line.text, line.language

    def _on_a_line(self, work: Callable[[Line], T]) -> T:
        """Do ``work`` when everything was sent; a lost socket is replaced a few times."""
        while True:
            self._check()
            try:
                self._line = self._line or self._open()
                self._check()
                self._line.say(self._heard[self._line.taken :])
                return work(self._line)
            except TimeoutError as exc:
                self.close()
                raise unreachable(exc) from None
            except _LOST as exc:
                self.close()
                self._check()
                if self._failures == RETRIES or not _passes(exc):
                    raise _error_of(exc) from None
                self._interrupted.wait(RETRY_SECONDS[self._failures])
                self._failures += 1

    def _check(self) -> None:
        if self._interrupted.is_set():
            raise DecodingCancelled


class _NoTurns(Exception):
    """The endpoint's model does not look for ends of turns."""


def _connection(endpoint: Endpoint) -> AbstractContextManager[ClientConnection]:
    url = endpoint.url
    scheme = "wss" if url.scheme == "https" else "ws"
    address = urlunsplit((scheme, url.netloc, url.path.rstrip("/") + "/realtime", "intent=transcription", ""))
    headers = {"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
    return connect(
        address,
        additional_headers=headers,
        open_timeout=CONNECT_SECONDS,
        close_timeout=1,
        max_size=None,
        proxy=None,
        user_agent_header="kikitori",
    )


def _session(model: str, options: DecodeOptions) -> Event:
    heard = {"model": model}
    if options.language:
        heard["language"] = options.language
    if prompt := prompt_of(options):
        heard["prompt"] = prompt
    format = {"type": "audio/pcm", "rate": RATE}
    listening = {"format": format, "transcription": heard, "turn_detection": dict(LISTENING)}
    return {"type": "transcription", "audio": {"input": listening}}


def _language(event: Event) -> str:
    found = event.get("languages")
    first = found[0] if isinstance(found, list) and found else None
    return str(first.get("code") or "") if isinstance(first, dict) else ""


def _passes(exc: Exception) -> bool:
    """Whether another try may help."""
    return not isinstance(exc, InvalidStatus) or exc.response.status_code >= SERVER_FAULT


def _error_of(exc: Exception) -> RemoteFailed | Busy:
    if not isinstance(exc, InvalidStatus):
        return unreachable(exc)
    if exc.response.status_code == 429:
        return Busy("The transcription endpoint has too much to do.", retry_after=BUSY_SECONDS)
    return refused(exc.response.status_code, "")
