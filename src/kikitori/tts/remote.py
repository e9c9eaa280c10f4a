"""Any server that speaks OpenAI's ``/v1/audio/speech``."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx

from kikitori.errors import Busy, InvalidInput, SpeechFailed
from kikitori.tts.espeak_voices import OPENAI_VOICES
from kikitori.tts.plan import SpeechPlan
from kikitori.tts.speaker import SAMPLE_BYTES, Sound, SpeakerInfo, Voice

PCM_RATE = 24_000
"""Of ``response_format=pcm``."""
CONNECT_SECONDS = 10.0
MOST_BYTES = 256 * 1024 * 1024
"""Of one text: more than an hour and a half."""
MOST_ERROR_BYTES = 64 * 1024
LONGEST_QUOTE = 300
DEFAULT_MODEL, DEFAULT_VOICE = "tts-1", "alloy"
PATH = "/audio/speech"
RETRY_AFTER_SECONDS = 5.0
TRIES = 2
RETRIED = frozenset({502, 503, 504})
RAW_TYPES = ("audio/pcm", "audio/l16", "audio/x-pcm", "audio/wav", "audio/x-wav", "audio/wave", "application/octet")


class RemoteSpeaker:
    """A ``Speaker``. ``url`` is the operator's, and trusted: ``http://host/v1``, or the whole address."""

    info = SpeakerInfo(name="openai", title="OpenAI-compatible speech endpoint")

    def __init__(
        self, url: str, *, api_key: str = "", model: str = "", voice: str = "", silence_seconds: float = 30.0
    ) -> None:
        """The endpoint may be silent for ``silence_seconds``. Raises SpeechFailed for what is no address."""
        self._url = _address(url)
        self._model, self._voice = model or DEFAULT_MODEL, voice or DEFAULT_VOICE
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._api_key, self._headers = api_key, {**headers, "user-agent": "kikitori"}
        self._timeout = httpx.Timeout(silence_seconds, connect=CONNECT_SECONDS)
        self._client: httpx.AsyncClient | None = None

    def prepare(self) -> None:
        pass

    async def voices(self) -> Sequence[Voice]:
        """The default, and OpenAI's; the endpoint may have more."""
        names = [self._voice, *(name for name in OPENAI_VOICES if name != self._voice)]
        return [Voice(name=name, title=name.capitalize()) for name in names]

    async def speak(
        self, text: str, *, voice: str = "", speed: float = 1.0, language: str = "", instructions: str = ""
    ) -> AsyncGenerator[Sound, None]:
        asked = {
            "model": self._model,
            "input": text,
            "voice": voice or self._voice,
            "response_format": "pcm",
            "speed": speed,
            **({"instructions": instructions} if instructions else {}),
        }
        with self._errors_told():
            async with self._answer(asked) as answer:
                cutter = _PcmCutter()
                async for data in answer.aiter_bytes():
                    if sound := cutter.push(data):
                        yield sound
                if not cutter.bytes:
                    raise SpeechFailed("The speech endpoint sent no sound.", remedy="Check KIKITORI_TTS_URL.")

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    @asynccontextmanager
    async def _answer(self, asked: Mapping[str, Any]) -> AsyncGenerator[httpx.Response, None]:
        """The endpoint's answer, when it is sound. What may pass is tried again once, before there is any sound."""
        client = await self._http()
        for tries_left in reversed(range(TRIES)):
            request = client.build_request("POST", self._url, json=asked, headers=self._headers)
            try:
                answer = await client.send(request, stream=True)
            except (httpx.ConnectError, httpx.RemoteProtocolError):
                if tries_left:
                    continue
                raise
            try:
                if answer.status_code in RETRIED and tries_left:
                    continue
                await self._check(answer, asked["voice"])
                yield answer
                return
            finally:
                await answer.aclose()

    async def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            # Reading the certificates takes a while.
            self._client = await asyncio.to_thread(lambda: httpx.AsyncClient(timeout=self._timeout))
        return self._client

    async def _check(self, answer: httpx.Response, voice: str) -> None:
        """Raises SpeechFailed, Busy, InvalidInput for what is no sound."""
        status = answer.status_code
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if status == 200:
            if kind and not kind.startswith(RAW_TYPES):
                raise SpeechFailed(f"The speech endpoint answers with {kind}, not with pcm.", remedy=_CHECK_URL)
            return
        if status in (401, 403):
            raise SpeechFailed(f"The speech endpoint refused the key ({status}).", remedy="Check KIKITORI_TTS_API_KEY.")
        if status == 429:
            raise Busy("The speech endpoint has too much to do.", retry_after=_retry_after(answer))
        said, param = _told(await _beginning(answer))
        if self._api_key:
            said = said.replace(self._api_key, "[key]")
        if status in (400, 404, 422) and ("voice" in (param or "") or "voice" in said.lower()):
            raise InvalidInput(f"The speech endpoint refused the voice {voice!r}.", remedy=said, param="voice")
        if status == 404:
            raise SpeechFailed("The speech endpoint is not there, or has no such model (404).", remedy=_CHECK_MODEL)
        if status < 500:
            raise SpeechFailed(f"The speech endpoint refused the request ({status}). {said}".strip(), remedy=_CHECK_URL)
        raise SpeechFailed(f"The speech endpoint failed ({status}).", remedy="Try again later.")

    @contextmanager
    def _errors_told(self) -> Generator[None, None, None]:
        try:
            yield
        except httpx.TimeoutException:
            raise SpeechFailed("The speech endpoint did not answer in time.", remedy="Try again later.") from None
        except httpx.ConnectError:
            raise SpeechFailed("The speech endpoint cannot be reached.", remedy=_CHECK_URL) from None
        except httpx.HTTPError:
            raise SpeechFailed("The speech endpoint broke off.", remedy="Try again.") from None


_CHECK_URL = "Check KIKITORI_TTS_URL."
_CHECK_MODEL = "Check KIKITORI_TTS_URL and KIKITORI_TTS_MODEL."


class _PcmCutter:
    """Bytes as they come, to sound of whole samples; a WAV header that a server sends all the same is read."""

    def __init__(self) -> None:
        self._rest = b""
        self._rate = PCM_RATE
        self._begun = False
        self.bytes = 0

    def push(self, data: bytes) -> Sound | None:
        self._rest += data
        self.bytes += len(data)
        if self.bytes > MOST_BYTES:
            raise SpeechFailed("The speech endpoint does not end.", remedy="Send shorter texts.")
        if not self._begun and not self._begin():
            return None
        whole = len(self._rest) - len(self._rest) % SAMPLE_BYTES
        pcm, self._rest = self._rest[:whole], self._rest[whole:]
        return Sound(pcm=pcm, rate=self._rate) if pcm else None

    def _begin(self) -> bool:
        """Whether the samples have begun."""
        if not self._rest.startswith(b"RIFF"[: len(self._rest)]):
            self._begun = True
            return True
        if (at := self._rest.find(b"data")) < 0 or len(self._rest) < at + 8 or (form := self._rest.find(b"fmt ")) < 0:
            return False
        kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", self._rest, form + 8)
        if channels != 1 or bits != 8 * SAMPLE_BYTES or kind not in (1, 0xFFFE):
            raise SpeechFailed("The speech endpoint sends WAV that is not 16 bit mono.", remedy=_CHECK_URL)
        self._rate, self._rest, self._begun = rate, self._rest[at + 8 :], True
        return True


def _address(url: str) -> str:
    try:
        parsed = httpx.URL(url.strip())
    except (httpx.InvalidURL, UnicodeError) as exc:
        raise SpeechFailed("KIKITORI_TTS_URL is no address.", remedy="Write it as https://host/v1.") from exc
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise SpeechFailed("KIKITORI_TTS_URL is no address.", remedy="Write it as https://host/v1.")
    path = parsed.path.rstrip("/")
    return str(parsed if path.endswith(PATH) else parsed.copy_with(path=path + PATH))


async def _beginning(answer: httpx.Response) -> bytes:
    body = b""
    async for data in answer.aiter_bytes():
        body += data
        if len(body) > MOST_ERROR_BYTES:
            break
    return body


def _told(body: bytes) -> tuple[str, str | None]:
    """What an error says, on one line, and the parameter that it names."""
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        return "", None
    if isinstance(error, dict) and isinstance(error.get("error"), dict):
        error = error["error"]
    if not isinstance(error, dict):
        return "", None
    said = next((error[name] for name in ("message", "detail", "error") if isinstance(error.get(name), str)), "")
    param = error.get("param")
    return " ".join(said.split())[:LONGEST_QUOTE], param if isinstance(param, str) else None


def _retry_after(answer: httpx.Response) -> float:
    try:
        return min(3_600.0, max(1.0, float(answer.headers["retry-after"])))
    except (KeyError, ValueError):
        return RETRY_AFTER_SECONDS


def make(plan: SpeechPlan) -> RemoteSpeaker:
    return RemoteSpeaker(
        plan.url,
        api_key=plan.api_key,
        model=plan.model,
        voice=plan.voice,
        silence_seconds=plan.silence_seconds,
    )
