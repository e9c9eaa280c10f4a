"""The query of ``/v1/listen``: what is done, what is passed over, what is refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from kikitori.errors import InvalidOption, Unsupported
from kikitori.protocols.actions import Encoding, InputFormat
from kikitori.protocols.live_start import HIGHEST_RATE, LOWEST_RATE, language_code

ENCODINGS: Mapping[str, Encoding] = {
    "linear16": Encoding.S16LE,
    "linear32": Encoding.F32LE,
    "mulaw": Encoding.MULAW,
    "alaw": Encoding.ALAW,
    "ogg-opus": Encoding.OGG_OPUS,
}
"""Deepgram's names of what we can read; the others (amr, speex, g729, bare opus and flac) are refused."""
MOST_CHANNELS = 8
TRUE, FALSE = ("true", "1", "yes", "on", ""), ("false", "0", "no", "off")
"""A name alone, without a value, says yes."""

UNDONE: Mapping[str, str] = {
    "diarize": "Speakers are told apart by channel only: multichannel=true.",
    "diarize_model": "Speakers are told apart by channel only: multichannel=true.",
    "redact": "Nothing is redacted here.",
    "replace": "Nothing is replaced here.",
    "search": "Search the transcript of a task: GET /api/tasks?q=….",
    "profanity_filter": "Nothing is filtered here.",
    "detect_entities": "Entities are not detected here.",
    "sentiment": "Sentiment is not judged here.",
    "summarize": "Summaries are made of tasks: POST /api/tasks/{id}/summary.",
    "topics": "Topics are not detected here.",
    "custom_topic": "Topics are not detected here.",
    "intents": "Intents are not detected here.",
    "custom_intent": "Intents are not detected here.",
    "callback": "Make a task with a callback_url: POST /api/tasks.",
}
"""A client that asks for these relies on them, so they are refused. Names that only shape the text (punctuate,
smart_format, numerals …) or label the request are accepted: the model writes as it writes."""

_DEFAULT_MODELS = re.compile(
    r"(nova|enhanced|flux)(-.*)?|base-.+|general|whisper|whisper-cloud|meeting|phonecall|finance|conversationalai|"
    r"voicemail|video|medical|drivethru|automotive|custom"
)
"""Deepgram's own models: the default one of this server."""
_WHISPER_SIZE = re.compile(r"whisper-(tiny|base|small|medium|large)")
_BOOST = re.compile(r":-?\d+(\.\d+)?$")


class Query:
    """Names and values in the order in which they came."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._pairs = tuple(pairs)

    def many(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key == name and value.strip()]

    def one(self, name: str, default: str = "") -> str:
        """The last value, without space around it."""
        return next(iter(reversed(self.many(name))), default).strip()

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Raises InvalidOption."""
        values = [value.strip().lower() for key, value in self._pairs if key == name]
        if not values:
            return default
        if values[-1] not in (*TRUE, *FALSE):
            raise InvalidOption(name, values[-1], "true, false")
        return values[-1] in TRUE

    def number(self, name: str, default: float, *, least: float, most: float) -> float:
        """Raises InvalidOption."""
        text = self.one(name)
        try:
            value = float(text) if text else default
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise InvalidOption(name, text, f"a number of {least:g} to {most:g}")
        return value

    def whole(self, name: str, default: int, *, least: int, most: int) -> int:
        """Raises InvalidOption."""
        value = self.number(name, default, least=least, most=most)
        if value != int(value):
            raise InvalidOption(name, self.one(name), f"a whole number of {least} to {most}")
        return int(value)


def check_undone(query: Query) -> None:
    """Raise Unsupported for what would be missed in the answer."""
    for name, remedy in UNDONE.items():
        if any(value.strip().lower() not in FALSE for value in query.many(name)):
            raise Unsupported(f"{name} is not there. {remedy}", param=name)
    if query.one("alternatives", "1") != "1":
        raise Unsupported("There is one alternative.", param="alternatives")


def model_of(query: Query, default: str) -> str:
    name = query.one("model")
    if not name or _DEFAULT_MODELS.fullmatch(name):
        return default
    return match[1] if (match := _WHISPER_SIZE.fullmatch(name)) else name


def language_of(query: Query, default: str | None) -> str | None:
    """None: detected. Raises InvalidOption."""
    tag = query.one("language")
    if not tag:
        return default
    try:
        return None if tag.lower() == "multi" else language_code(tag)
    except ValueError as exc:
        raise InvalidOption("language", tag, "a language such as en, ko-KR, zh-Hans, or multi") from exc


def words_to_listen_for(query: Query) -> str | None:
    """``keyterm`` and ``keywords``, whose boosts mean nothing here."""
    words = [_BOOST.sub("", word.strip()) for word in (*query.many("keyterm"), *query.many("keywords"))]
    return ", ".join(dict.fromkeys(filter(None, words))) or None


def format_of(query: Query) -> InputFormat | None:
    """None: the audio brings its own description. Raises InvalidOption, Unsupported."""
    name = query.one("encoding")
    if not name:
        return None
    if name not in ENCODINGS:
        allowed = f"{', '.join(ENCODINGS)}, or none for WAV, Ogg Opus and WebM Opus"
        raise InvalidOption("encoding", name, allowed)
    encoding = ENCODINGS[name]
    if not encoding.has_rate:
        return InputFormat(encoding=encoding)
    if not query.one("sample_rate"):
        raise InvalidOption("sample_rate", "", f"the rate of the audio, {LOWEST_RATE} to {HIGHEST_RATE} Hz")
    return InputFormat(encoding=encoding, rate=query.whole("sample_rate", 0, least=LOWEST_RATE, most=HIGHEST_RATE))


def channels_of(query: Query) -> int:
    """Raises InvalidOption."""
    return query.whole("channels", 1, least=1, most=MOST_CHANNELS)
