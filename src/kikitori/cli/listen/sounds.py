"""Sound to listen to: a microphone, a recording at the speed it was spoken, samples on stdin."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kikitori.errors import InvalidInput, InvalidOption, Unavailable
from kikitori.types import SAMPLE_RATE

if TYPE_CHECKING:
    from kikitori.audio.decode import Block
    from kikitori.cli.interrupts import StoppableInput
    from kikitori.types import Audio

FRAME_SECONDS = 0.04
"""Sound comes in pieces of this length."""
STDIN_BYTES = 3_200
"""Most bytes of stdin taken at once: 0.1 s at 16 kHz."""
WAITING_FRAMES = 1_500
"""Frames of a microphone that may wait to be sent: a minute."""
WIDTHS = {"s16le": 2, "f32le": 4, "mulaw": 1, "alaw": 1}
"""Bytes of a sample."""

INSTALL = "Install it: pip install 'kikitori[microphone]'."
INSTALL_PORTAUDIO = "Install PortAudio: apt install libportaudio2, or brew install portaudio."
OTHER_SOUND = "Or listen to a file: kikitori listen talk.mp3."


class Sound(Protocol):
    """Samples, until they end or ``stop`` is called."""

    encoding: str
    rate: int
    lost_seconds: float
    """Of sound that nobody took in time."""

    def frames(self) -> AsyncGenerator[bytes, None]: ...

    def stop(self) -> None:
        """No more frames. May be called from a signal handler or another thread."""
        ...


@dataclass(slots=True)
class FileSound:
    """A recording, ``speed`` times as fast as it was spoken."""

    path: Path
    speed: float = 1.0
    encoding: str = "s16le"
    rate: int = SAMPLE_RATE
    lost_seconds: float = 0.0
    _stopped: bool = False

    async def frames(self) -> AsyncGenerator[bytes, None]:
        from kikitori.audio.decode import decode
        from kikitori.audio.pcm import Encoding, from_float

        loop = asyncio.get_running_loop()
        with closing(decode(self.path, block_seconds=1.0)) as blocks:
            begun, done = loop.time(), 0
            while not self._stopped and (block := await _next(blocks)) is not None:
                for piece in _cut(block[0], round(FRAME_SECONDS * self.rate)):
                    done += len(piece)
                    await asyncio.sleep(begun + done / self.rate / self.speed - loop.time())
                    if self._stopped:
                        return
                    yield from_float(piece, Encoding.S16LE)

    def stop(self) -> None:
        self._stopped = True


async def _next(blocks: Iterator[Block]) -> Block | None:
    """The decoder is never left while it works."""
    reading = asyncio.ensure_future(asyncio.to_thread(next, blocks, None))
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        await asyncio.wait([reading])
        raise


def _cut(audio: Audio, length: int) -> Iterator[Audio]:
    return (audio[begin : begin + length] for begin in range(0, len(audio), length))


@dataclass(slots=True)
class StdinSound:
    """Samples on stdin, as fast as they come."""

    stdin: StoppableInput
    encoding: str
    rate: int
    lost_seconds: float = 0.0

    async def frames(self) -> AsyncGenerator[bytes, None]:
        reader = io.BufferedReader(self.stdin)
        while data := await asyncio.to_thread(reader.read1, STDIN_BYTES):
            yield data

    def stop(self) -> None:
        self.stdin.stop()


@dataclass(slots=True)
class MicrophoneSound:
    """What a microphone hears; ``device`` is its name or number, "" the usual one."""

    device: str = ""
    rate: int = SAMPLE_RATE
    encoding: str = "s16le"
    lost_seconds: float = 0.0
    _queue: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(WAITING_FRAMES))
    _loop: asyncio.AbstractEventLoop | None = None
    _stopped: bool = False

    async def frames(self) -> AsyncGenerator[bytes, None]:
        self._loop = asyncio.get_running_loop()
        library = import_microphone_library()
        with _opened(library, self.device, self._hear) as stream:
            self.rate = int(stream.samplerate)
            while not self._stopped and (data := await self._queue.get()) is not None:
                yield data
        while not self._queue.empty():  # heard before it was stopped
            if data := self._queue.get_nowait():
                yield data

    def stop(self) -> None:
        self._stopped = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._put, None)

    def _hear(self, data: Any, frames: int, time: Any, status: Any) -> None:
        """Called on a thread of the library."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._put, bytes(data))

    def _put(self, data: bytes | None) -> None:
        if self._queue.full():
            self._queue.get_nowait()
            self.lost_seconds += FRAME_SECONDS
        self._queue.put_nowait(data)


def import_microphone_library() -> Any:
    """``sounddevice``. Raises Unavailable with what to install."""
    try:
        return import_module("sounddevice")
    except ImportError as exc:
        raise Unavailable("The library for microphones is missing.", remedy=f"{INSTALL} {OTHER_SOUND}") from exc
    except OSError as exc:  # the library is there, but not what it stands on
        raise Unavailable(
            f"Microphones cannot be used here ({exc}).", remedy=f"{INSTALL_PORTAUDIO} {OTHER_SOUND}"
        ) from exc


def _opened(library: Any, device: str, hear: Any) -> Any:
    """A stream of the microphone: at 16 kHz, or at its own rate if it cannot. Raises Unavailable, InvalidOption."""
    chosen: int | str | None = int(device) if device.isdecimal() else device or None
    try:
        facts = library.query_devices(chosen, "input")
        for rate in (SAMPLE_RATE, int(facts["default_samplerate"])):
            try:
                library.check_input_settings(device=chosen, channels=1, dtype="int16", samplerate=rate)
            except library.PortAudioError:
                continue
            return library.RawInputStream(
                device=chosen,
                channels=1,
                dtype="int16",
                samplerate=rate,
                blocksize=round(FRAME_SECONDS * rate),
                callback=hear,
            )
    except (library.PortAudioError, ValueError) as exc:
        if device:
            raise InvalidOption("microphone", device, f"one of these: {_names(library)}") from exc
        raise Unavailable(f"There is no microphone ({exc}).", remedy=f"Plug one in. {OTHER_SOUND}") from exc
    raise Unavailable("The microphone gives no 16-bit samples.", remedy=f"Try another --microphone. {OTHER_SOUND}")


def _names(library: Any) -> str:
    inputs = [device["name"] for device in library.query_devices() if device["max_input_channels"]]
    return ", ".join(inputs) or "there is no microphone here"


def check_format(encoding: str, rate: int) -> None:
    """Raises InvalidOption."""
    if encoding not in WIDTHS:
        raise InvalidOption("encoding", encoding, ", ".join(WIDTHS))
    if not 8_000 <= rate <= 48_000:
        raise InvalidOption("rate", rate, "8000 to 48000")


def file_sound(name: str) -> FileSound:
    """Raises InvalidInput."""
    path = Path(name).expanduser()
    if not path.is_file():
        raise InvalidInput(f"{name}: There is no such file.", param="source")
    return FileSound(path)
