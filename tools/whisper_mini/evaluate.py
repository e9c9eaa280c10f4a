"""How well a model hears held-out voices and sentences, through faster-whisper.

    python evaluate.py --model OUT/whisper-mini-int8 [--count 60] [--json OUT.json]

Errors are in words for English, in characters for Japanese and Korean, in per cent.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
from domain import LANGUAGES
from faster_whisper import BatchedInferencePipeline, WhisperModel
from synth import SAMPLE_RATE, Audio

from recordings import Recording, Studio, normalised

SINGLE: dict[str, dict[str, Any]] = {
    "beam 1": {"beam_size": 1},
    "beam 5": {"beam_size": 5},
    "beam 5, vad_filter": {"beam_size": 5, "vad_filter": True},
    "without_timestamps": {"beam_size": 1, "without_timestamps": True},
}
LONG: dict[str, dict[str, Any]] = {
    "beam 5": {},
    "condition_on_previous_text=False": {"condition_on_previous_text": False},
    "vad_filter": {"vad_filter": True},
    "word_timestamps": {"word_timestamps": True},
    "without_timestamps": {"without_timestamps": True},
    "initial_prompt": {"initial_prompt": "Hello, this is a meeting about the new product."},
    "batched, timestamps": {"batch_size": 4, "without_timestamps": False},
    "batched": {"batch_size": 4},
}
NEAR_SECONDS, RIGHT_SECONDS = 3.0, 0.3


class Judge:
    def __init__(self, model: WhisperModel) -> None:
        self._model, self._batched = model, BatchedInferencePipeline(model)
        self.results: dict[str, float] = {}

    def note(self, name: str, value: float) -> None:
        self.results[name] = round(value, 4)
        print(f"{name}: {value:.2f}", flush=True)

    def errors(self, name: str, recordings: Sequence[Recording], **options: Any) -> None:
        language = recordings[0].language
        heard = [self._hear(each.audio, language=language, **options) for each in recordings]
        truth = [normalised(each.text, language) for each in recordings]
        texts = [normalised("".join(segment.text for segment in segments), language) for segments in heard]
        rate = jiwer.wer if language == "en" else jiwer.cer
        self.note(f"{name}, {language}", 100 * rate(truth, texts))
        if offsets := [offset for pair in zip(recordings, heard, strict=True) for offset in _start_offsets(*pair)]:
            self.note(f"{name}, {language}, starts within 0.3 s", 100 * float(np.mean(np.less(offsets, RIGHT_SECONDS))))

    def translation(self, recordings: Sequence[Recording]) -> None:
        language = recordings[0].language
        truth = [normalised(each.sentences[0].english, "en") for each in recordings]
        heard = [self._hear(each.audio, language=language, task="translate", beam_size=1) for each in recordings]
        texts = [normalised("".join(segment.text for segment in segments), "en") for segments in heard]
        self.note(f"translate, {language}", 100 * jiwer.wer(truth, texts))

    def language(self, recordings: Sequence[Recording]) -> None:
        found = [self._model.transcribe(each.audio)[1].language == each.language for each in recordings]
        self.note(f"language found, {recordings[0].language}", 100 * float(np.mean(found)))

    def silence(self, sounds: Sequence[Audio]) -> None:
        self.note("silences with text", sum(bool(self._hear(sound)) for sound in sounds))

    def _hear(self, audio: Audio, **options: Any) -> list[Any]:
        model = self._batched if "batch_size" in options else self._model
        return list(model.transcribe(audio, **options)[0])


def _start_offsets(recording: Recording, heard: Sequence[Any]) -> list[float]:
    """Between the start of each sentence and of the segment with the same text near it."""
    offsets = []
    for said in recording.sentences:
        text = normalised(said.text, recording.language)
        same = [abs(each.start - said.start) for each in heard if normalised(each.text, recording.language) == text]
        if same and min(same) < NEAR_SECONDS:
            offsets.append(min(same))
    return offsets


def silences(studio: Studio) -> list[Audio]:
    made = [np.zeros(SAMPLE_RATE * seconds, np.float32) for seconds in (1, 8, 35)]
    made += [studio.noise(SAMPLE_RATE * 6, tilt) * level for tilt in (0, 0.5, 1) for level in (1e-4, 1e-3, 1e-2, 5e-2)]
    time = np.arange(SAMPLE_RATE * 6) / SAMPLE_RATE
    return [*made, (0.05 * np.sin(2 * np.pi * 50 * time)).astype(np.float32)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--count", type=int, default=60, help="recordings of one sentence for each language")
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    judge = Judge(WhisperModel(asked.model, device="cpu", compute_type=asked.compute_type))
    studio = Studio(asked.seed)
    for language in LANGUAGES:
        single = [studio.record(language, 1) for _ in range(asked.count)]
        for name, options in SINGLE.items():
            judge.errors(f"single, {name}", single, **options)
        judge.language(single)
        if language != "en":
            judge.translation(single)
        long = [studio.record(language, (10, 22)) for _ in range(max(1, asked.count // 8))]
        for name, options in LONG.items():
            judge.errors(f"long, {name}", long, **options)
    judge.silence(silences(studio))
    if asked.json:
        asked.json.write_text(json.dumps(judge.results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
