"""Where replies sound: a device that asks for sound, a file, a clock."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import pytest

from kikitori.cli.talk.playing import ClockPlayer, DevicePlayer, FilePlayer
from kikitori.errors import InvalidInput, Unavailable
from kikitori.testing import FakeClock

SECOND = b"\1\2" * 24_000


class FakeSounddevice:
    """A loudspeaker that asks for sound when a test says so."""

    class PortAudioError(Exception):
        pass

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.callback: Any = None
        self.closed = False

    def RawOutputStream(self, **facts: Any) -> FakeSounddevice:
        if self.broken:
            raise self.PortAudioError("no device")
        assert (facts["samplerate"], facts["channels"], facts["dtype"]) == (24_000, 1, "int16")
        self.callback = facts["callback"]
        return self

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def ask(self, frames: int) -> bytes:
        out = bytearray(frames * 2)
        self.callback(out, frames, None, None)
        return bytes(out)


def test_a_device_gets_sound_and_then_silence() -> None:
    device = FakeSounddevice()
    player = DevicePlayer(device)
    player.play(SECOND)
    assert device.ask(18_000) == SECOND[:36_000]
    assert player.left_seconds == pytest.approx(0.25)
    assert device.ask(12_000) == SECOND[:12_000] + bytes(12_000)
    assert player.stop() == 1_000
    player.close()
    assert device.closed


def test_a_device_is_silent_at_once() -> None:
    device = FakeSounddevice()
    player = DevicePlayer(device)
    player.play(SECOND)
    device.ask(6_000)
    assert player.stop() == 250
    assert device.ask(100) == bytes(200)
    assert player.stop() == 0


def test_without_a_loudspeaker_it_says_what_else_there_is() -> None:
    with pytest.raises(Unavailable, match="--text"):
        DevicePlayer(FakeSounddevice(broken=True))


def test_a_clock_takes_as_long_as_the_sound() -> None:
    clock = FakeClock()
    player = ClockPlayer(clock)
    player.play(SECOND)
    player.play(SECOND)
    clock.advance(0.5)
    assert player.left_seconds == pytest.approx(1.5)
    assert player.stop() == 500
    assert player.left_seconds == player.stop() == 0
    player.play(SECOND)
    clock.advance(5)
    assert player.stop() == 1_000


def test_a_file_has_all_replies(tmp_path: Path) -> None:
    player = FilePlayer(tmp_path / "replies.wav")
    player.play(SECOND)
    player.play(SECOND)
    assert player.left_seconds == 0
    player.close()
    with wave.open(str(tmp_path / "replies.wav")) as file:
        assert (file.getframerate(), file.getnframes()) == (24_000, 48_000)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="--output"):
        FilePlayer(tmp_path / "nowhere" / "replies.wav")
