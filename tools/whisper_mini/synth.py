"""Speech with exact word times, from espeak-ng through its C library (one engine a process)."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from domain import Plan, Unit, units
from numpy.typing import NDArray
from scipy.signal import resample_poly

Audio = NDArray[np.float32]
Span = tuple[float, float]

SAMPLE_RATE = 16_000
TRAINING_VOICES = (
    "m1 m2 m3 m5 m6 m7 f1 f2 f4 f5 Alex Alicia Andrea Andy Annie Denis Diogo Gene Henrique Hugo "
    "Jacky Lee Mario Michael adam anika antonio aunty benjamin boris caleb david ed edward "
    "grandma gustave iven john klatt klatt2 klatt3 linda marcelo miguel norbert pablo "
    "paul pedro quincy rob robert sandro shelby steph steph2 travis victor"
).split()
HELD_OUT_VOICES = "m4 m8 f3 Marco belinda max steph3 iven2 zac michel".split()
ACCENTS = {
    "en": ["en-us", "en-us", "en-us", "en", "en", "en-gb-x-rp", "en-gb-scotland", "en-029"],
    "ja": ["ja"],
    "ko": ["ko"],
}
WORD_EVENT = 1
RATE, PITCH, RANGE, GAP = 1, 3, 4, 7
"""Numbers of espeak-ng's parameters."""


class Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_id", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    name: str
    rate: int
    pitch: int
    range: int
    gap: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    audio: Audio
    text: str
    units: Sequence[Unit]
    spans: Sequence[Span]
    """When each unit is spoken."""
    start: float
    end: float


class Espeak:
    def __init__(self) -> None:
        self._library = ctypes.CDLL("libespeak-ng.so.1")
        self._library.espeak_Initialize(2, 200, None, 0)
        self._callback = Callback(self._receive)  # kept, or it is collected while C still calls it
        self._library.espeak_SetSynthCallback(self._callback)
        self._voice = ""
        self._pieces: list[NDArray[np.int16]] = []
        self._words: list[tuple[int, float]] = []

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != 0:
            if events[index].type == WORD_EVENT:
                self._words.append((events[index].text_position - 1, events[index].audio_position_ms / 1000.0))
            index += 1
        return 0

    def say(self, text: str, voice: Voice) -> tuple[Audio, list[tuple[int, float]]]:
        """The audio, and where in the text and when each word begins."""
        if voice.name != self._voice:
            if self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
                raise ValueError(f"espeak-ng has no voice {voice.name}")
            self._voice = voice.name
        for number, value in ((RATE, voice.rate), (PITCH, voice.pitch), (RANGE, voice.range), (GAP, voice.gap)):
            self._library.espeak_SetParameter(number, value, 0)
        self._pieces, self._words = [], []
        data = text.encode() + b"\0"
        self._library.espeak_Synth(data, len(data), 0, 1, 0, 1, None, None)  # positions in characters, UTF-8
        self._library.espeak_Synchronize()
        audio = np.concatenate(self._pieces).astype(np.float32) / 32768.0
        return resample_poly(audio, 320, 441).astype(np.float32), [*self._words]  # from 22,050 Hz


def random_voice(rng: random.Random, language: str, *, held_out: bool = False) -> Voice:
    variant = rng.choice(HELD_OUT_VOICES if held_out else TRAINING_VOICES)
    return Voice(
        name=f"{rng.choice(ACCENTS[language])}+{variant}",
        rate=rng.randint(115, 230),
        pitch=rng.randint(25, 85),
        range=rng.randint(20, 80),
        gap=rng.choice([0, 0, 0, 1, 2, 4]),
    )


def utter(espeak: Espeak, rng: random.Random, plan: Plan, language: str, *, held_out: bool = False) -> Utterance | None:
    """The sentence in a random voice, with little silence around it; None when espeak-ng says nothing."""
    text, words = units(plan, language)
    voice = random_voice(rng, language, held_out=held_out)
    mark = text[-1] if text[-1] in "?!" else ("。" if language == "ja" else ".")
    spoken = " ".join(word.spoken for word in words)
    audio, events = espeak.say(spoken + (mark if rng.random() < 0.8 else ""), voice)
    edges = _loud_part(audio)
    if edges is None:
        return None
    low, high = edges
    begins = _begins(words, events, low, high)
    ends = [*begins[1:], high]
    first, last = int(max(0, low - 0.06) * SAMPLE_RATE), int(min(len(audio) / SAMPLE_RATE, high + 0.08) * SAMPLE_RATE)
    shift = first / SAMPLE_RATE
    spans = [
        (max(low, min(begin, high)) - shift, max(low, min(end, high)) - shift)
        for begin, end in zip(begins, ends, strict=True)
    ]
    return Utterance(audio=audio[first:last], text=text, units=words, spans=spans, start=low - shift, end=high - shift)


def _loud_part(audio: Audio) -> Span | None:
    if len(audio) < SAMPLE_RATE // 10:
        return None
    level = np.sqrt(np.convolve(audio**2, np.ones(160) / 160, "same"))
    loud = np.where(level > max(0.004, 0.02 * level.max()))[0]
    return (loud[0] / SAMPLE_RATE, loud[-1] / SAMPLE_RATE) if len(loud) else None


def _begins(words: Sequence[Unit], events: Sequence[tuple[int, float]], low: float, high: float) -> list[float]:
    """When each unit begins. Units that espeak-ng runs together ("of the") share the time by their length."""
    starts = np.cumsum([0, *(len(word.spoken) + 1 for word in words[:-1])])
    known: dict[int, float] = {}
    for position, time in events:
        known.setdefault(max((k for k, start in enumerate(starts) if start <= position), default=0), time)
    known[0] = low
    order = sorted(known)
    times = [*(known[k] for k in order), high]
    begins: list[float] = []
    for index, k in enumerate(order):
        following = order[index + 1] if index + 1 < len(order) else len(words)
        begins.append(known[k])
        if following - k > 1:
            lengths = np.array([len(word.spoken) + 1 for word in words[k:following]], float)
            shares = np.cumsum(lengths)[:-1] / lengths.sum()
            begins += [times[index] + (times[index + 1] - times[index]) * share for share in shares]
    return begins
