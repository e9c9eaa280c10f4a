from __future__ import annotations

import io
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest
from faster_whisper.audio import decode_audio

from kikitori.audio.decode import MAX_SPLIT, MediaInfo, decode, probe
from kikitori.audio.pcm import Encoding, from_float
from kikitori.errors import DecodingCancelled, InvalidMedia, InvalidOption, TooLarge
from kikitori.types import Channels

Audio = npt.NDArray[np.float32]

RATE = 16_000
FLOAT_TAG = 3


def wav(audio: Audio, rate: int = RATE, encoding: Encoding = Encoding.S16LE) -> bytes:
    """A file of ``audio``, shape (channels, n)."""
    tag = FLOAT_TAG if encoding is Encoding.F32LE else 1
    frame = len(audio) * encoding.width
    data = from_float(audio.T.reshape(-1), encoding)
    head = struct.pack("<IHHIIHH", 16, tag, len(audio), rate, rate * frame % 2**32, frame, 8 * encoding.width)
    size = struct.pack("<I", 36 + len(data))
    return b"RIFF" + size + b"WAVEfmt " + head + b"data" + struct.pack("<I", len(data)) + data


def noise(seconds: float, channels: int = 1, rate: int = RATE) -> Audio:
    """Steps of 16-bit samples, so that nothing is rounded on the way."""
    steps = np.random.default_rng(7).integers(-8_000, 8_000, (channels, round(seconds * rate)))
    return (steps / 2**15).astype(np.float32)


def whole(media: Any, **options: Any) -> Audio:
    return np.concatenate(list(decode(media, **options)), axis=1)


class Pipe(io.BufferedIOBase):
    """Bytes that come once, in order."""

    def __init__(self, data: bytes) -> None:
        self._bytes = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int | None = -1) -> bytes:
        return self._bytes.read(size)


@pytest.mark.parametrize("name", ["en_01", "ja_01", "ko_03", "en_multi_40s", "silence_5s"])
def test_16_khz_mono_is_exactly_what_the_library_decodes(samples: Mapping[str, Any], name: str) -> None:
    path = samples[name].path
    np.testing.assert_array_equal(whole(path)[0], decode_audio(str(path)))


def test_blocks_have_one_length_and_the_last_is_shorter() -> None:
    audio = noise(2.5)
    blocks = list(decode(io.BytesIO(wav(audio)), block_seconds=1))
    assert [block.shape for block in blocks] == [(1, RATE), (1, RATE), (1, RATE // 2)]
    assert all(block.dtype == np.float32 for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), audio)


def test_ten_milliseconds_are_one_block() -> None:
    assert [block.shape for block in decode(io.BytesIO(wav(noise(0.01))))] == [(1, 160)]
    assert [block.shape for block in decode(io.BytesIO(wav(noise(0.01, rate=8_000), 8_000)))] == [(1, 160)]


def test_channels_are_mixed_picked_or_split() -> None:
    audio = noise(1, channels=2)
    file = wav(audio)
    np.testing.assert_array_equal(whole(io.BytesIO(file)), audio.mean(axis=0, keepdims=True))
    np.testing.assert_array_equal(whole(io.BytesIO(file), channels=Channels.LEFT), audio[:1])
    np.testing.assert_array_equal(whole(io.BytesIO(file), channels=Channels.RIGHT), audio[1:])
    np.testing.assert_array_equal(whole(io.BytesIO(file), channels=Channels.SPLIT), audio)


@pytest.mark.parametrize("channels", [Channels.MIX, Channels.LEFT, Channels.SPLIT])
def test_of_one_channel_all_choices_but_right_are_the_same(channels: Channels) -> None:
    audio = noise(0.5)
    np.testing.assert_array_equal(whole(io.BytesIO(wav(audio)), channels=channels), audio)


def test_the_right_channel_must_be_there() -> None:
    with pytest.raises(InvalidOption) as caught:
        list(decode(io.BytesIO(wav(noise(0.5))), channels=Channels.RIGHT))
    assert caught.value.param == "channels"


def test_too_many_channels_are_not_split() -> None:
    file = wav(noise(0.1, channels=MAX_SPLIT + 1))
    assert whole(io.BytesIO(file)).shape == (1, RATE // 10)
    with pytest.raises(InvalidOption, match="channels"):
        list(decode(io.BytesIO(file), channels=Channels.SPLIT))


def test_loud_float_samples_are_kept_and_broken_ones_are_silenced() -> None:
    audio = noise(0.5)
    audio[0, :5] = [2.5, -3.0, np.nan, np.inf, 1e30]
    heard = whole(io.BytesIO(wav(audio, encoding=Encoding.F32LE)))
    assert heard[0, :5].tolist() == [2.5, -3.0, 0.0, 0.0, 0.0]
    np.testing.assert_array_equal(heard[0, 5:], audio[0, 5:])


def test_a_limit_is_kept_whatever_the_container_says() -> None:
    file = bytearray(wav(noise(3)))
    struct.pack_into("<I", file, 40, 1_000)  # the data chunk claims to be short, and the rest is not read
    assert whole(io.BytesIO(file), max_seconds=1).shape[1] == 500
    assert whole(io.BytesIO(wav(noise(3))), max_seconds=3).shape[1] == 3 * RATE
    with pytest.raises(TooLarge) as caught:
        whole(io.BytesIO(wav(noise(3))), max_seconds=2.9)
    assert caught.value.param == "file"


def test_probing_tells_what_the_container_says() -> None:
    expected = MediaInfo(duration=0.5, channels=2, sample_rate=8_000, codec="pcm_s16le", container="wav")
    file = io.BytesIO(wav(noise(0.5, channels=2, rate=8_000), 8_000))
    assert probe(file) == expected
    assert whole(file).shape == (1, RATE // 2)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b"x", "not audio"),
        (b"This is a text, not a recording.\n" * 100, "not audio"),
        (b"1\n00:00:01,000 --> 00:00:02,000\nHello\n\n" * 3, "no audio track"),
        (bytes(100_000), "not audio"),
        (wav(noise(0)), "Nothing"),
        (wav(noise(1), rate=1), "samples a second"),
        (wav(noise(1), rate=2**31 - 1), "samples a second"),
        (wav(noise(0.1, channels=600)), "Nothing"),
    ],
    ids=["empty", "byte", "text", "subtitles", "zeros", "head", "1 Hz", "2 GHz", "600 channels"],
)
def test_what_is_no_sound_is_told_in_a_sentence(data: bytes, told: str) -> None:
    with pytest.raises(InvalidMedia, match=told) as caught:
        list(decode(io.BytesIO(data)))
    assert caught.value.param == "file"
    assert caught.value.remedy
    with pytest.raises(InvalidMedia):
        whole(Pipe(data))


@pytest.mark.parametrize("name", ["missing.wav", ".", "nul\0.wav", "http://127.0.0.1:9/a.wav", "concat:talk.wav"])
def test_what_cannot_be_opened_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidMedia, match="cannot be read"):
        list(decode(f"{tmp_path}/{name}"))
    with pytest.raises(InvalidMedia, match="cannot be read"):
        probe(f"{tmp_path}/{name}")


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:2,\n{path}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:2,\nfile://{path}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{path}'\n",
        "ffconcat version 1.0\nfile 'secret.wav'\n",
    ],
)
def test_a_playlist_opens_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, playlist: str) -> None:
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / "secret.wav"
    secret.write_bytes(wav(noise(1)))
    listed = playlist.format(path=secret).encode()
    (tmp_path / "list.wav").write_bytes(listed)
    for media in (io.BytesIO(listed), tmp_path / "list.wav"):
        with pytest.raises(InvalidMedia):
            list(decode(media))


def test_paths_and_files_are_read_alike(tmp_path: Path) -> None:
    audio = noise(1)
    path = tmp_path / "talk"
    path.write_bytes(wav(audio))
    np.testing.assert_array_equal(whole(path), audio)
    np.testing.assert_array_equal(whole(str(path)), audio)
    with path.open("rb") as file:
        file.read(1_000)
        np.testing.assert_array_equal(whole(file), audio)
        assert not file.closed
        np.testing.assert_array_equal(whole(file), audio)


def test_a_pipe_is_read_as_it_comes() -> None:
    audio = noise(3)
    np.testing.assert_array_equal(whole(Pipe(wav(audio))), audio)
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as out, os.fdopen(reader, "rb") as file:
        out.write(wav(noise(0.5)))
        out.close()
        np.testing.assert_array_equal(whole(file), noise(0.5))


def test_closing_lets_go_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(wav(noise(5)))
    blocks = decode(path, block_seconds=1)
    next(blocks)
    assert str(path) in [file.path for file in psutil.Process().open_files()]
    blocks.close()
    assert str(path) not in [file.path for file in psutil.Process().open_files()]
    with pytest.raises(StopIteration):
        next(blocks)


class Failing(io.BytesIO):
    """A disk that fails after 50 kB."""

    error: Exception = OSError(5, "Input/output error")

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 50_000:
            raise self.error
        return super().read(size)


def test_a_file_that_fails_while_it_is_read_is_told() -> None:
    with pytest.raises(InvalidMedia, match="Input/output error"):
        list(decode(Failing(wav(noise(5)))))


def test_our_own_errors_come_through_the_file_as_they_are() -> None:
    file = Failing(wav(noise(5)))
    file.error = DecodingCancelled()
    with pytest.raises(DecodingCancelled):
        list(decode(file))
