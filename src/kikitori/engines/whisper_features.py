"""Mel spectrograms as faster-whisper makes them, in a fraction of its memory."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_whisper.feature_extractor import FeatureExtractor

from kikitori.types import Audio

Array = npt.NDArray[Any]

BLOCK_FRAMES = 500
"""Frames (10 ms each) whose Fourier transforms are in memory at once: about 4 MB."""
MOST_PLACES = 4
"""Stretches transformed at a time, however many cores there are: each makes a hundred windows a second."""


class BoundedFeatureExtractor(FeatureExtractor):  # type: ignore[misc]
    """Upstream's result, bit for bit, for stretches of ten minutes too, and a few at a time.

    Upstream transforms the whole stretch at once, which takes 23 MB for a window and 500 MB for ten minutes.
    More of them at once than cores would only wait for a core with their memory in hand.
    """

    places = threading.BoundedSemaphore(min(MOST_PLACES, max(2, os.cpu_count() or 2)))

    def __call__(self, waveform: Audio, padding: int = 160, chunk_length: int | None = None) -> Array:
        with self.places:
            if len(waveform) + padding <= BLOCK_FRAMES * self.hop_length:
                mel: Array = super().__call__(waveform, padding=padding, chunk_length=chunk_length)
                return mel
            if chunk_length is not None:
                self.n_samples = chunk_length * self.sampling_rate
                self.nb_max_frames = self.n_samples // self.hop_length
            return self._in_blocks(waveform.astype(np.float32, copy=False), padding)

    def _in_blocks(self, waveform: Audio, padding: int) -> Array:
        window = np.hanning(self.n_fft + 1)[:-1].astype("float32")
        padded = _padded(waveform, padding, self.n_fft // 2)
        frames = (len(waveform) + padding) // self.hop_length  # upstream drops the last one
        powers = np.empty((self.n_fft // 2 + 1, frames), np.float32)
        for first in range(0, frames, BLOCK_FRAMES):
            last = min(first + BLOCK_FRAMES, frames)
            stretch = padded[first * self.hop_length : (last - 1) * self.hop_length + self.n_fft]
            spectrum = self.stft(
                stretch, self.n_fft, self.hop_length, window=window, center=False, return_complex=True
            ).astype("complex64")
            powers[:, first:last] = np.abs(spectrum) ** 2
        mel: Array = self.mel_filters @ powers
        np.log10(np.clip(mel, a_min=1e-10, a_max=None, out=mel), out=mel)
        np.maximum(mel, mel.max() - 8.0, out=mel)
        mel += 4.0
        mel /= 4.0
        return mel


def _padded(waveform: Audio, zeros: int, mirrored: int) -> Audio:
    """``waveform`` and ``zeros``, and what is mirrored at both ends; one copy, where ``np.pad`` twice makes two."""
    padded = np.zeros(mirrored + len(waveform) + zeros + mirrored, np.float32)
    padded[mirrored : mirrored + len(waveform)] = waveform
    padded[:mirrored] = padded[2 * mirrored : mirrored : -1]
    padded[-mirrored:] = padded[-mirrored - 2 : -2 * mirrored - 2 : -1]
    return padded
