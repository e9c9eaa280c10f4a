"""Synthesise the training corpus once: features and labels on disk.

    python make_corpus.py WORK/corpus [--en 16000 --ja 13000 --ko 13000]

The features are the logarithm of Whisper's mel spectrum, before it is clamped and scaled: training mixes utterances,
noise and silence into windows of its own, and clamps those.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import domain
import numpy as np
import synth
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

EXTRACTOR = FeatureExtractor()
WINDOW = np.hanning(401)[:-1].astype("float32")
SHARD = 1_000
"""Utterances a file."""
NOISE_SECONDS = 60


class Job(NamedTuple):
    seed: int
    language: str
    count: int
    path: Path


def log_mel(audio: synth.Audio) -> NDArray[np.float16]:
    """Shape (frames, 80), 100 frames a second."""
    spectrum = EXTRACTOR.stft(np.pad(audio, (0, 160)), 400, 160, window=WINDOW, return_complex=True)
    power = np.abs(spectrum[..., :-1].astype("complex64")) ** 2
    return np.log10(np.clip(EXTRACTOR.mel_filters @ power, 1e-10, None)).T.astype(np.float16)


def synthesise(job: Job) -> Path:
    """One file of features and one of labels."""
    espeak, rng = synth.Espeak(), random.Random(job.seed)
    features: list[NDArray[np.float16]] = []
    labels: list[dict[str, object]] = []
    offset = 0
    while len(labels) < job.count:
        plan = domain.sample(rng)
        if domain.held_out(plan):
            continue
        said = synth.utter(espeak, rng, plan, job.language)
        if said is None or not 0.15 <= said.end - said.start <= 8:
            continue
        mel = log_mel(said.audio)
        labels.append(
            {
                "language": job.language,
                "plan": plan,
                "offset": offset,
                "frames": len(mel),
                "start": round(float(said.start), 3),
                "end": round(float(said.end), 3),
                "spans": [(round(float(start), 3), round(float(end), 3)) for start, end in said.spans],
            }
        )
        features.append(mel)
        offset += len(mel)
    np.save(job.path.with_suffix(".npy"), np.concatenate(features))
    job.path.with_suffix(".json").write_text(json.dumps(labels), encoding="utf-8")
    return job.path


def noises() -> Iterator[NDArray[np.float64]]:
    """Eighteen backgrounds: coloured noise, bands, mains hum, tones, gusts, clicks."""
    rng = np.random.default_rng(5)
    count = NOISE_SECONDS * synth.SAMPLE_RATE
    frequency = np.fft.rfftfreq(count, 1 / synth.SAMPLE_RATE)
    frequency[0] = frequency[1]
    for tilt in (0, 0, 0.5, 0.5, 1.0, 1.0, 1.5, -0.5):  # white, pink, brown, steeper, blue
        yield np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * frequency ** (-tilt), count)
    for low, high in ((50, 600), (300, 3400), (2000, 7500)):
        spectrum = np.fft.rfft(rng.standard_normal(count))
        spectrum[(frequency < low) | (frequency > high)] *= 0.01
        yield np.fft.irfft(spectrum, count)
    time = np.arange(count) / synth.SAMPLE_RATE
    for mains in (50, 60, 120):
        hum = sum(np.sin(2 * np.pi * mains * k * time + rng.uniform(0, 6)) / k for k in (1, 2, 3, 5, 7))
        yield hum + 0.05 * rng.standard_normal(count)
    for tone in (440, 1000):
        yield np.sin(2 * np.pi * tone * time) + 0.01 * rng.standard_normal(count)
    strength = rng.uniform(0.1, 1, 2 * NOISE_SECONDS + 2)
    yield rng.standard_normal(count) * np.interp(time, np.arange(0, NOISE_SECONDS + 1, 0.5), strength)
    clicks = 0.02 * rng.standard_normal(count)
    for place in rng.integers(0, count - 400, NOISE_SECONDS * 2):
        clicks[place : place + 200] += rng.standard_normal(200) * np.exp(-np.arange(200) / 40)
    yield clicks


def noise_features(audio: NDArray[np.float64]) -> NDArray[np.float16]:
    level = 0.05 * audio / np.sqrt(np.mean(audio**2))
    return log_mel(level.astype(np.float32))[: NOISE_SECONDS * 100]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    for language, count in (("en", 16_000), ("ja", 13_000), ("ko", 13_000)):
        parser.add_argument(f"--{language}", type=int, default=count)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    np.save(asked.out / "noise.npy", np.stack([noise_features(audio) for audio in noises()]))
    jobs: list[Job] = []
    for language in domain.LANGUAGES:
        shards = max(1, getattr(asked, language) // SHARD)
        for index in range(shards):
            count = getattr(asked, language) // shards
            jobs.append(Job(100 + len(jobs), language, count, asked.out / f"{language}{index:02d}"))
    with multiprocessing.Pool(2, maxtasksperchild=1) as pool:
        for path in pool.imap_unordered(synthesise, jobs):
            print(path, flush=True)


if __name__ == "__main__":
    main()
