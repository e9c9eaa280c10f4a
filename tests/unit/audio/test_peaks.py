"""What pictures of waves are drawn from."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest

from kikitori.audio.peaks import STEP_SECONDS, find_peaks
from kikitori.errors import DecodingCancelled, InvalidMedia, TooLarge
from kikitori.types import SAMPLE_RATE


def wav(*loudness: float, seconds: float = 1.0) -> io.BytesIO:
    """A tone of ``seconds`` for each loudness."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    samples = np.concatenate([np.sin(2 * np.pi * 440 * times) * each * 32_767 for each in loudness])
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.astype("<i2").tobytes())
    buffer.seek(0)
    return buffer


def test_each_part_has_its_loudest_moment() -> None:
    found = find_peaks(wav(0.5, 0.0, 1.0, 0.25), 4)
    assert found.duration == pytest.approx(4.0)
    assert found.values == pytest.approx((0.5, 0.0, 1.0, 0.25), abs=0.01)


def test_a_loud_moment_is_not_lost_in_a_minute() -> None:
    loudness = [0.0] * 60
    loudness[44] = 0.9
    found = find_peaks(wav(*loudness), 7)
    assert [round(value, 1) for value in found.values] == [0, 0, 0, 0, 0, 0.9, 0]


def test_a_short_recording_has_fewer_values() -> None:
    found = find_peaks(wav(0.5, seconds=0.2), 600)
    assert len(found.values) == round(0.2 / STEP_SECONDS)


def test_the_whole_of_it_is_one_value() -> None:
    assert find_peaks(wav(0.1, 0.7), 1).values == pytest.approx((0.7,), abs=0.01)


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"no sound" * 100)
    with pytest.raises(InvalidMedia):
        find_peaks(path, 10)


def test_it_stops_when_asked_and_at_the_longest_recording() -> None:
    def stop() -> None:
        raise DecodingCancelled

    with pytest.raises(DecodingCancelled):
        find_peaks(wav(0.5), 10, check=stop)
    with pytest.raises(TooLarge):
        find_peaks(wav(0.5, 0.5), 10, max_seconds=1.0)
