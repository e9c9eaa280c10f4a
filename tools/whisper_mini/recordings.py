"""Recordings that the model was not trained on, with the truth about them: other voices, mostly other sentences."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

import domain
import numpy as np
import synth
from synth import SAMPLE_RATE, Audio


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A sentence of a recording; times in its seconds."""

    start: float
    end: float
    text: str
    english: str
    words: list[tuple[str, float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    language: str
    audio: Audio
    sentences: list[Said]

    @property
    def text(self) -> str:
        return ("" if self.language == "ja" else " ").join(each.text for each in self.sentences)

    @property
    def seconds(self) -> float:
        return len(self.audio) / SAMPLE_RATE


class Studio:
    def __init__(self, seed: int) -> None:
        self._espeak = synth.Espeak()
        self._rng, self._normal = random.Random(seed), np.random.default_rng(seed)

    def record(self, language: str, sentences: int | tuple[int, int], *, noisy: bool = True) -> Recording:
        """``sentences`` with pauses between them, at some loudness; ``noisy``: over noise, seven times in ten."""
        rng = self._rng
        count = rng.randint(*sentences) if isinstance(sentences, tuple) else sentences
        gain = 10 ** rng.uniform(-0.7, 0)
        parts: list[Audio] = []
        said: list[Said] = []
        time = 0.0
        for index in range(count):
            parts.append(_silence(rng.uniform(0.0, 0.5) if index == 0 else rng.uniform(0.2, 0.9)))
            time += len(parts[-1]) / SAMPLE_RATE
            plan, utterance = self._utter(language)
            parts.append(utterance.audio * gain)
            said.append(_said(plan, utterance, time))
            time += len(utterance.audio) / SAMPLE_RATE
        parts.append(_silence(rng.uniform(0, 0.5)))
        audio = np.concatenate(parts)
        if noisy and rng.random() < 0.7:
            level = np.sqrt(np.mean(audio**2))
            background = self.noise(len(audio), rng.choice([0, 0.5, 1]))
            audio = audio + background * level * 10 ** (-rng.uniform(15, 45) / 20)
        return Recording(language=language, audio=quantised(audio), sentences=said)

    def noise(self, count: int, tilt: float) -> Audio:
        """White (0), pink (0.5) or brown (1), as loud as 1."""
        audio = self._normal.standard_normal(count)
        if tilt:
            frequency = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
            frequency[0] = frequency[1]
            audio = np.fft.irfft(np.fft.rfft(audio) * frequency ** (-tilt), count)
        return (audio / np.sqrt(np.mean(audio**2))).astype(np.float32)

    def _utter(self, language: str) -> tuple[domain.Plan, synth.Utterance]:
        while True:
            held_out = self._rng.random() < 0.75
            plan = domain.sample(self._rng)
            while domain.held_out(plan) != held_out:
                plan = domain.sample(self._rng)
            if utterance := synth.utter(self._espeak, self._rng, plan, language, held_out=True):
                return plan, utterance


def _silence(seconds: float) -> Audio:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


def _said(plan: domain.Plan, utterance: synth.Utterance, time: float) -> Said:
    words = zip(utterance.units, utterance.spans, strict=True)
    return Said(
        start=time + utterance.start,
        end=time + utterance.end,
        text=utterance.text.strip(),
        english=domain.units(plan, "en")[0].strip(),
        words=[(unit.written.strip(), time + start, time + end) for unit, (start, end) in words],
    )


def quantised(audio: Audio) -> Audio:
    """As a 16-bit file holds it."""
    return (np.round(np.clip(audio, -1, 1) * 32767) / 32768).astype(np.float32)


def normalised(text: str, language: str) -> str:
    """For comparing: without marks; without spaces where words are not told apart."""
    bare = re.sub(r"[.,?!。、？]", "", text).lower()
    return re.sub(r"\s+", "" if language in ("ja", "ko") else " ", bare).strip()
