"""Where the sound of a reply goes: to a loudspeaker, into a file, or nowhere."""

from __future__ import annotations

import threading
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from kikitori.cli.talk.dialogue import RATE
from kikitori.errors import InvalidInput, Unavailable

SAMPLE_BYTES = 2


class Player(Protocol):
    """Sound of ``RATE``, 16 bit, mono."""

    def play(self, pcm: bytes) -> None:
        """After what is playing."""
        ...

    def stop(self) -> int:
        """Be silent at once; how many milliseconds were heard since it was silent last."""
        ...

    @property
    def left_seconds(self) -> float:
        """What is still to be heard."""
        ...

    def close(self) -> None: ...


class ClockPlayer:
    """Plays nothing, and takes as long as if it did."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = 0.0
        self._seconds = 0.0
        """Of sound since it was silent last."""

    def play(self, pcm: bytes) -> None:
        if not self._seconds:
            self._began = self._clock()
        self._seconds += len(pcm) / SAMPLE_BYTES / RATE

    def stop(self) -> int:
        heard = min(self._seconds, self._clock() - self._began) if self._seconds else 0.0
        self._seconds = 0.0
        return int(heard * 1_000)

    @property
    def left_seconds(self) -> float:
        return max(0.0, self._began + self._seconds - self._clock()) if self._seconds else 0.0

    def close(self) -> None:
        pass


class FilePlayer(ClockPlayer):
    """Writes all replies into a WAV file, as fast as they come."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidInput."""
        super().__init__()
        try:
            self._target = path.open("wb")
        except OSError as exc:
            raise InvalidInput(f"{path} cannot be written ({exc.strerror}).", remedy="Name another --output.") from exc
        self._file = wave.open(self._target, "wb")
        self._file.setnchannels(1)
        self._file.setsampwidth(SAMPLE_BYTES)
        self._file.setframerate(RATE)

    def play(self, pcm: bytes) -> None:
        super().play(pcm)
        self._file.writeframes(pcm)

    def stop(self) -> int:
        written, self._seconds = self._seconds, 0.0
        return round(written * 1_000)  # what is in the file counts as heard

    @property
    def left_seconds(self) -> float:
        return 0.0

    def close(self) -> None:
        self._file.close()
        self._target.close()


class DevicePlayer:
    """A loudspeaker, through ``sounddevice``, which asks for sound on a thread of its own."""

    def __init__(self, library: Any) -> None:
        """Raises Unavailable when there is none."""
        self._lock = threading.Lock()
        self._waiting = bytearray()
        self._heard_bytes = 0
        try:
            self._stream = library.RawOutputStream(samplerate=RATE, channels=1, dtype="int16", callback=self._fill)
            self._stream.start()
        except (library.PortAudioError, ValueError) as exc:
            raise Unavailable(
                f"There is no loudspeaker ({exc}).",
                remedy="Read the replies with --text, or keep them with --output FILE.",
            ) from exc

    def play(self, pcm: bytes) -> None:
        with self._lock:
            self._waiting += pcm

    def stop(self) -> int:
        with self._lock:
            heard, self._heard_bytes = self._heard_bytes, 0
            self._waiting.clear()
        return heard * 1_000 // (SAMPLE_BYTES * RATE)

    @property
    def left_seconds(self) -> float:
        return len(self._waiting) / SAMPLE_BYTES / RATE

    def close(self) -> None:
        self._stream.stop()
        self._stream.close()

    def _fill(self, out: Any, frames: int, time: Any, status: Any) -> None:
        size = frames * SAMPLE_BYTES
        with self._lock:
            piece = bytes(self._waiting[:size])
            del self._waiting[:size]
            self._heard_bytes += len(piece)
        out[:] = piece.ljust(size, b"\0")
