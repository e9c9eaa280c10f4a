from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kikitori.audio.pcm import Encoding, from_float, to_wav_bytes
from kikitori.cli.interrupts import StoppableInput
from kikitori.cli.listen.sounds import (
    FileSound,
    MicrophoneSound,
    StdinSound,
    check_format,
    file_sound,
    import_microphone_library,
)
from kikitori.errors import InvalidInput, InvalidMedia, InvalidOption, Unavailable

RAMP = np.linspace(-0.5, 0.5, 16_000, dtype=np.float32)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "ramp.wav"
    path.write_bytes(to_wav_bytes(RAMP))
    return path


async def test_a_file_comes_in_short_frames_and_whole(recording: Path) -> None:
    frames = [frame async for frame in FileSound(recording, speed=1_000.0).frames()]
    assert {len(frame) for frame in frames} == {640 * 2}
    assert b"".join(frames) == from_float(RAMP, Encoding.S16LE)


async def test_a_file_can_be_stopped(recording: Path) -> None:
    sound = FileSound(recording, speed=1_000.0)
    async with aclosing(sound.frames()) as frames:
        await anext(frames)
        sound.stop()
        assert [frame async for frame in frames] == []


async def test_a_file_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(InvalidMedia):
        await anext(FileSound(path).frames())


def test_a_file_must_be_there() -> None:
    with pytest.raises(InvalidInput, match="no such file"):
        file_sound("nowhere.wav")


async def test_stdin_is_taken_as_it_comes_until_it_ends() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, StoppableInput(stdin) as stoppable:
        os.write(writing, b"abc")
        async with aclosing(StdinSound(stoppable, "mulaw", 8_000).frames()) as frames:
            assert await anext(frames) == b"abc"
            os.write(writing, b"d")
            os.close(writing)
            assert [frame async for frame in frames] == [b"d"]


async def test_stdin_can_be_stopped_while_nothing_comes() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, StoppableInput(stdin) as stoppable:
        sound = StdinSound(stoppable, "s16le", 16_000)
        sound.stop()
        assert [frame async for frame in sound.frames()] == []
        os.close(writing)


@pytest.mark.parametrize(("encoding", "rate"), [("mp3", 16_000), ("webm-opus", 48_000), ("s16le", 4_000)])
def test_samples_that_cannot_be_read_are_refused(encoding: str, rate: int) -> None:
    with pytest.raises(InvalidOption):
        check_format(encoding, rate)


# Microphones


class PortAudioError(Exception):
    pass


class FakeStream:
    def __init__(self, library: FakeMicrophones, samplerate: int, callback: Callable[..., None]) -> None:
        self.samplerate, self._library, self._callback = float(samplerate), library, callback

    def __enter__(self) -> FakeStream:
        for frame in self._library.frames:
            self._callback(memoryview(frame), 1, None, None)
        return self

    def __exit__(self, *error: object) -> None:
        self._library.closed = True


class FakeMicrophones(types.ModuleType):
    """As much of ``sounddevice`` as is used."""

    PortAudioError = PortAudioError

    def __init__(self, *, rates: tuple[int, ...] = (16_000, 44_100), names: tuple[str, ...] = ("Headset",)) -> None:
        super().__init__("sounddevice")
        self.rates, self.names = rates, names
        self.frames: list[bytes] = []
        self.closed = False

    def query_devices(self, device: object = None, kind: str = "") -> Any:
        if not kind:
            return [{"name": name, "max_input_channels": 1} for name in self.names]
        if not self.names or (device is not None and device not in self.names):
            raise PortAudioError("No input device")
        return {"default_samplerate": float(self.rates[-1])}

    def check_input_settings(self, *, samplerate: int, **settings: object) -> None:
        if samplerate not in self.rates:
            raise PortAudioError("Invalid sample rate")

    def RawInputStream(self, *, samplerate: int, callback: Callable[..., None], **settings: object) -> FakeStream:
        return FakeStream(self, samplerate, callback)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[FakeMicrophones], FakeMicrophones]]:
    def use(library: FakeMicrophones) -> FakeMicrophones:
        monkeypatch.setitem(sys.modules, "sounddevice", library)
        return library

    yield use


Use = Callable[[FakeMicrophones], FakeMicrophones]


async def test_a_microphone_is_heard_until_it_is_stopped(use: Use) -> None:
    library = use(FakeMicrophones())
    library.frames = [b"one", b"two"]
    sound = MicrophoneSound()
    async with aclosing(sound.frames()) as frames:
        assert await anext(frames) == b"one"
        assert sound.rate == 16_000
        sound.stop()
        assert [frame async for frame in frames] == [b"two"]
    assert library.closed


async def test_a_microphone_keeps_its_own_rate_when_it_must(use: Use) -> None:
    library = use(FakeMicrophones(rates=(44_100,)))
    library.frames = [b"one"]
    sound = MicrophoneSound("Headset")
    async with aclosing(sound.frames()) as frames:
        await anext(frames)
    assert sound.rate == 44_100


async def test_an_unknown_microphone_is_answered_with_those_there_are(use: Use) -> None:
    use(FakeMicrophones())
    with pytest.raises(InvalidOption, match="Headset"):
        await anext(MicrophoneSound("Webcam").frames())


async def test_a_machine_without_a_microphone_says_so(use: Use) -> None:
    use(FakeMicrophones(names=()))
    with pytest.raises(Unavailable, match=r"no microphone .*kikitori listen talk\.mp3"):
        await anext(MicrophoneSound().frames())


async def test_a_microphone_that_gives_nothing_we_can_use_says_so(use: Use) -> None:
    use(FakeMicrophones(rates=()))
    library = FakeMicrophones(rates=(96_000,))
    library.check_input_settings = _refuse  # type: ignore[method-assign]
    use(library)
    with pytest.raises(Unavailable, match="16-bit"):
        await anext(MicrophoneSound().frames())


def _refuse(**settings: object) -> None:
    raise PortAudioError("Invalid sample format")


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(Unavailable, match=r"pip install 'kikitori\[microphone\]'"):
        import_microphone_library()


def test_a_missing_portaudio_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Unavailable, match="libportaudio2"):
        import_microphone_library()


async def test_a_microphone_that_nobody_reads_loses_the_oldest_and_counts_it(use: Use) -> None:
    library = use(FakeMicrophones())
    library.frames = [str(number).encode() for number in range(1_502)]
    sound = MicrophoneSound()
    async with aclosing(sound.frames()) as frames:
        first = await anext(frames)
        sound.stop()
        rest = [frame async for frame in frames]
    assert sound.lost_seconds > 0
    assert rest[-1] == b"1501"
    assert len([first, *rest]) + round(sound.lost_seconds / 0.04) == 1_502
