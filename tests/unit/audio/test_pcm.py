from __future__ import annotations

import io
import struct
import wave
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kikitori.audio.decode import decode
from kikitori.audio.pcm import Encoding, PcmDecoder, Resampler, from_float, to_float, to_wav_bytes

Audio = npt.NDArray[np.float32]

ALL_CODES = bytes(range(256))
ALL_16_BIT = np.arange(-(2**15), 2**15).astype("<i2")
WAV_TAGS = {Encoding.ALAW: 6, Encoding.MULAW: 7}
rates = st.sampled_from([7_999, 8_000, 11_025, 22_050, 24_000, 44_100, 48_000, 96_000])


def cut(items: bytes | Audio, places: list[int]) -> list[bytes | Audio]:
    """``items`` in pieces that end at ``places`` (taken modulo the length)."""
    edges = sorted({0, len(items), *(place % (len(items) + 1) for place in places)})
    return [items[start:end] for start, end in pairwise(edges)]


def tone(rate: int, samples: int, frequency: float = 440.0) -> Audio:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(samples) / rate)).astype(np.float32)


def test_16_bit_samples_come_back_as_they_were() -> None:
    data = ALL_16_BIT.tobytes()
    audio = to_float(data, Encoding.S16LE)
    assert audio.dtype == np.float32
    assert (audio[0], audio[2**15], audio[-1]) == (-1.0, 0.0, np.float32(32_767 / 32_768))
    assert from_float(audio, Encoding.S16LE) == data


def test_8_bit_samples_are_unsigned() -> None:
    assert to_float(bytes([0, 128, 255]), Encoding.U8).tolist() == [-1.0, 0.0, 127 / 128]
    assert from_float(to_float(ALL_CODES, Encoding.U8), Encoding.U8) == ALL_CODES


@given(st.lists(st.integers(-(2**23), 2**23 - 1)))
def test_24_bit_samples_come_back_as_they_were(values: list[int]) -> None:
    data = b"".join(value.to_bytes(3, "little", signed=True) for value in values)
    audio = to_float(data, Encoding.S24LE)
    assert audio.tolist() == [value / 2**23 for value in values]
    assert from_float(audio, Encoding.S24LE) == data


@given(st.lists(st.floats(width=32)))
def test_float_samples_lose_only_what_is_no_number(values: list[float]) -> None:
    audio = to_float(struct.pack(f"<{len(values)}f", *values), Encoding.F32LE)
    assert audio.tolist() == [value if np.isfinite(value) else 0.0 for value in values]
    assert to_float(from_float(audio, Encoding.F32LE), Encoding.F32LE).tolist() == audio.tolist()


@pytest.mark.parametrize("encoding", [Encoding.U8, Encoding.S16LE, Encoding.S24LE])
def test_what_is_too_loud_is_clipped(encoding: Encoding) -> None:
    heard = to_float(from_float(np.array([2.0, -2.0, np.nan], np.float32), encoding), encoding)
    assert heard[0] == pytest.approx(1.0, abs=0.01)
    assert heard[1:].tolist() == [-1.0, 0.0]


@pytest.mark.parametrize("encoding", Encoding)
def test_a_last_sample_that_is_not_whole_is_left_out(encoding: Encoding) -> None:
    whole = bytes(encoding.width * 3)
    assert len(to_float(whole + bytes(encoding.width - 1), encoding)) == 3
    assert len(to_float(b"", encoding)) == 0


@pytest.mark.parametrize("encoding", [Encoding.MULAW, Encoding.ALAW])
def test_g711_decodes_as_libav_does(encoding: Encoding) -> None:
    head = struct.pack("<IHHIIHH", 16, WAV_TAGS[encoding], 1, 16_000, 16_000, 1, 8)
    file = b"RIFF" + struct.pack("<I", 36 + 256) + b"WAVEfmt " + head + b"data" + struct.pack("<I", 256) + ALL_CODES
    by_libav = np.concatenate(list(decode(io.BytesIO(file))), axis=1)[0]
    np.testing.assert_array_equal(to_float(ALL_CODES, encoding), by_libav)


@pytest.mark.parametrize("encoding", [Encoding.MULAW, Encoding.ALAW])
def test_g711_encodes_to_the_nearest_level(encoding: Encoding) -> None:
    audio = to_float(ALL_16_BIT.tobytes(), Encoding.S16LE)
    levels = np.sort(to_float(ALL_CODES, encoding))
    nearest = np.abs(levels[:, None] - audio[None, ::7]).min(axis=0)
    heard = to_float(from_float(audio, encoding), encoding)
    np.testing.assert_array_equal(np.abs(heard - audio)[::7], nearest)


def test_wav_bytes_are_a_mono_16_bit_file() -> None:
    audio = tone(8_000, 800)
    with wave.open(io.BytesIO(to_wav_bytes(audio, 8_000))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()) == (1, 2, 8_000, 800)
        np.testing.assert_allclose(to_float(file.readframes(800), Encoding.S16LE), audio, atol=1 / 2**15)


@settings(max_examples=50)
@given(rate=rates, places=st.lists(st.integers(0, 10**6), max_size=20), seed=st.integers(0, 99))
def test_resampling_does_not_depend_on_the_pieces(rate: int, places: list[int], seed: int) -> None:
    audio = np.random.default_rng(seed).normal(0, 0.1, 3_000 + seed).astype(np.float32)
    whole = Resampler(rate)
    expected = np.concatenate([whole.push(audio), whole.flush()])
    resampler = Resampler(rate)
    pieces = [resampler.push(piece) for piece in cut(audio, places)]  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.concatenate([*pieces, resampler.flush()]), expected)


@settings(max_examples=50)
@given(rate=rates, samples=st.integers(400, 20_000))
def test_resampling_keeps_the_length(rate: int, samples: int) -> None:
    resampler = Resampler(rate)
    out = len(resampler.push(tone(rate, samples))) + len(resampler.flush())
    assert abs(out - samples * 16_000 / rate) <= 1


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 96_000])
def test_resampling_keeps_the_sound_in_its_place(rate: int) -> None:
    resampler = Resampler(rate)
    out = np.concatenate([resampler.push(tone(rate, rate)), resampler.flush()])
    np.testing.assert_allclose(out[200:-200], tone(16_000, 16_000)[200:-200], atol=2e-3)


def test_resampling_removes_what_the_lower_rate_cannot_hold() -> None:
    resampler = Resampler(48_000)
    out = np.concatenate([resampler.push(tone(48_000, 48_000, frequency=12_000)), resampler.flush()])
    assert np.abs(out[200:-200]).max() < 1e-3


def test_after_a_flush_a_new_stretch_begins() -> None:
    resampler = Resampler(44_100)
    first, second = (np.concatenate([resampler.push(tone(44_100, 4_410)), resampler.flush()]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_the_same_rate_passes_through() -> None:
    audio = tone(16_000, 100)
    resampler = Resampler(16_000)
    np.testing.assert_array_equal(resampler.push(audio), audio)
    assert len(resampler.flush()) == 0


def test_audio_is_given_out_while_it_comes() -> None:
    resampler = Resampler(48_000)
    given_out = [len(resampler.push(tone(48_000, 960))) for _ in range(10)]
    assert sum(given_out) >= 10 * 320 - 32
    assert given_out[1:] == [320] * 9


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("rate", [16_000, 24_000])
@settings(max_examples=15)
@given(places=st.lists(st.integers(0, 10**6), max_size=20))
def test_a_byte_stream_may_be_cut_anywhere(encoding: Encoding, rate: int, places: list[int]) -> None:
    data = from_float(tone(rate, 1_000), encoding)
    whole = PcmDecoder(encoding, rate)
    expected = np.concatenate([whole.push(data), whole.flush()])
    decoder = PcmDecoder(encoding, rate)
    pieces = [decoder.push(piece) for piece in cut(data, places)]  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.concatenate([*pieces, decoder.flush()]), expected)


def test_a_byte_without_its_partner_is_forgotten_at_the_end() -> None:
    decoder = PcmDecoder(Encoding.S16LE, 16_000)
    assert decoder.push(b"\x00\x40\x00").tolist() == [0.5]
    assert decoder.flush().tolist() == []
    assert decoder.push(b"\x00\x40").tolist() == [0.5]


def test_nothing_in_gives_nothing_out() -> None:
    nothing = np.zeros(0, np.float32)
    resampler = Resampler(44_100)
    assert resampler.push(nothing).size == 0
    assert resampler.flush().size == 0
    assert from_float(nothing, Encoding.S24LE) == b""
