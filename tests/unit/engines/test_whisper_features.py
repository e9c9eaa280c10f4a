import tracemalloc

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor

from kikitori.engines.whisper_features import BLOCK_FRAMES, BoundedFeatureExtractor
from kikitori.types import SAMPLE_RATE, Audio

BLOCK_SECONDS = BLOCK_FRAMES / 100


def noise(samples: int) -> Audio:
    return (np.random.default_rng(0).standard_normal(samples) * 0.1).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.05, BLOCK_SECONDS - 1, BLOCK_SECONDS, BLOCK_SECONDS + 0.003, 29.87, 30.0, 77.7])
def test_features_are_upstreams_bit_for_bit(seconds: float) -> None:
    audio = noise(round(seconds * SAMPLE_RATE))
    ours = BoundedFeatureExtractor()(audio)
    assert ours.dtype == np.float32
    assert np.array_equal(ours, FeatureExtractor()(audio))


def test_features_of_the_largest_models_are_upstreams_too() -> None:
    audio = noise(30 * SAMPLE_RATE)
    extractors = BoundedFeatureExtractor(feature_size=128), FeatureExtractor(feature_size=128)
    ours, theirs = (extractor(audio) for extractor in extractors)
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("padding", [0, 160])
def test_the_arguments_mean_what_they_mean_upstream(padding: int) -> None:
    audio, theirs, ours = noise(round(2 * BLOCK_SECONDS * SAMPLE_RATE)), FeatureExtractor(), BoundedFeatureExtractor()
    expected = theirs(audio, padding=padding, chunk_length=20)
    assert np.array_equal(ours(audio, padding=padding, chunk_length=20), expected)
    assert (ours.n_samples, ours.nb_max_frames) == (theirs.n_samples, theirs.nb_max_frames)


@pytest.mark.parametrize(("seconds", "mebibytes"), [(30, 12), (600, 120)])
def test_a_window_and_ten_minutes_take_little_memory(seconds: int, mebibytes: int) -> None:
    extractor, audio = BoundedFeatureExtractor(), noise(seconds * SAMPLE_RATE)
    tracemalloc.start()
    extractor(audio)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < mebibytes * 1024**2
