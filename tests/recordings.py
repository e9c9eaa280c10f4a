"""Recordings that tests make: long ones, and ones that are not what they seem."""

from __future__ import annotations

import struct
import wave
from collections.abc import Iterable
from functools import cache
from pathlib import Path

RATE = 16_000
PAUSE = bytes(2 * RATE)
"""A second of silence, 16 bit."""


def join(paths: Iterable[Path], target: Path, *, rounds: int) -> Path:
    """The samples one after the other, with pauses between them, ``rounds`` times."""
    frames = b""
    for path in paths:
        with wave.open(str(path)) as sample:
            frames += sample.readframes(sample.getnframes()) + PAUSE
    return write_wav(target, frames * rounds)


def silence(target: Path, seconds: float) -> Path:
    return write_wav(target, bytes(2 * round(seconds * RATE)))


def write_wav(target: Path, frames: bytes) -> Path:
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(frames)
    return target


def flac_bomb(target: Path, *, days: float) -> Path:
    """Days of silence in a few hundred kilobytes: FLAC says of 65,535 samples at once that they are all the same."""
    rate, block = 8_000, 65_535
    count = round(days * 86_400 * rate / block)
    facts = rate << 44 | 0 << 41 | (16 - 1) << 36 | 0  # sample rate, channels - 1, bits - 1, samples: not known
    stream = struct.pack(">HH", block, block) + bytes(6) + facts.to_bytes(8, "big") + bytes(16)
    with target.open("wb") as file:
        file.write(b"fLaC" + bytes([0x80]) + len(stream).to_bytes(3, "big") + stream)
        for number in range(count):
            head = bytes([0xFF, 0xF8, 0x70, 0x08]) + chr(number).encode("utf-8", "surrogatepass")
            head += struct.pack(">H", block - 1)
            head += bytes([_crc(head, 8, 0x07)])
            frame = head + bytes(3)  # one value for all samples: zero
            file.write(frame + struct.pack(">H", _crc(frame, 16, 0x8005)))
    return target


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    table, value, mask = _crc_table(bits, polynomial), 0, (1 << bits) - 1
    for byte in data:
        value = table[(value >> (bits - 8)) ^ byte] ^ (value << 8 & mask)
    return value


@cache
def _crc_table(bits: int, polynomial: int) -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> (bits - 1) else 0)
            value &= (1 << bits) - 1
        table.append(value)
    return tuple(table)
