"""Media of many formats, whole and damaged, made here with the encoders that PyAV carries."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import psutil
import pytest
from faster_whisper.audio import decode_audio

from kikitori.audio.decode import decode, probe
from kikitori.audio.vad import VadOptions, file_speech_spans
from kikitori.errors import InvalidMedia, KikitoriError, TooLarge
from kikitori.types import Channels

Audio = npt.NDArray[np.float32]

SECONDS = 2.0
TONE = 440.0
STEP = 110.0
"""Each channel is a tone this much higher than the one before."""


@dataclass(frozen=True)
class Format:
    container: str
    codec: str
    rate: int = 16_000
    layout: str = "mono"
    lossy: bool = False

    def __str__(self) -> str:
        return f"{self.container}-{self.codec}-{self.rate}-{self.layout}"


FORMATS = [
    Format("wav", "pcm_s16le"),
    Format("wav", "pcm_u8", 8_000, lossy=True),
    Format("wav", "pcm_mulaw", 8_000, lossy=True),
    Format("wav", "pcm_alaw", 8_000, lossy=True),
    Format("wav", "pcm_s16le", 7_999),
    Format("wav", "pcm_s16le", 11_025),
    Format("wav", "pcm_s24le", 22_050, "stereo"),
    Format("wav", "pcm_f32le", 44_100, "stereo"),
    Format("wav", "pcm_f64le", 48_000),
    Format("wav", "pcm_s32le", 96_000, "stereo"),
    Format("wav", "pcm_s64le", 48_000),
    Format("wav", "pcm_s16le", 48_000, "7.1"),
    Format("wav", "adpcm_ms", 22_050, lossy=True),
    Format("w64", "pcm_s16le"),
    Format("aiff", "pcm_s16be", 44_100),
    Format("caf", "pcm_s16le", 44_100),
    Format("au", "pcm_mulaw", 8_000, lossy=True),
    Format("flac", "flac", 48_000, "stereo"),
    Format("flac", "flac", 48_000, "7.1"),
    Format("mp3", "libmp3lame", 44_100, "stereo", lossy=True),
    Format("mp3", "libmp3lame", 22_050, lossy=True),
    Format("ipod", "aac", 44_100, "stereo", lossy=True),
    Format("mp4", "aac", 48_000, "5.1", lossy=True),
    Format("mp4", "aac", 48_000, "7.1", lossy=True),
    Format("mp4", "alac", 44_100, "stereo"),
    Format("mov", "pcm_s16be", 48_000, "stereo"),
    Format("adts", "aac", 44_100, "stereo", lossy=True),
    Format("ogg", "libopus", 48_000, "stereo", lossy=True),
    Format("webm", "libopus", 48_000, lossy=True),
    Format("matroska", "ac3", 48_000, "5.1", lossy=True),
    Format("matroska", "wavpack", 48_000, "7.1"),
    Format("avi", "libmp3lame", 44_100, lossy=True),
    Format("flv", "aac", 44_100, "stereo", lossy=True),
    Format("mpegts", "aac", 48_000, "stereo", lossy=True),
    Format("amr", "libopencore_amrnb", 8_000, lossy=True),
    Format("3gp", "libopencore_amrnb", 8_000, lossy=True),
]


def tones(seconds: float, rate: int, channels: int) -> Audio:
    times = np.arange(round(seconds * rate)) / rate
    rows = [0.3 * np.sin(2 * np.pi * (TONE + STEP * number) * times) for number in range(channels)]
    return np.stack(rows).astype(np.float32)


def write(made: Format, seconds: float = SECONDS, **options: str) -> bytes:
    """A file with tones."""
    file = io.BytesIO()
    channels = av.AudioLayout(made.layout).nb_channels
    audio = tones(seconds, made.rate, channels)
    with av.open(file, "w", format=made.container, options=options) as container:
        stream: Any = container.add_stream(made.codec, rate=made.rate, layout=made.layout)
        packed = np.ascontiguousarray(audio.T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=made.layout)
        frame.sample_rate = made.rate
        resampler = av.AudioResampler(format=stream.format.name, layout=made.layout, rate=made.rate)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(part))
    return file.getvalue()


def write_video(container_format: str, *, sound: bool) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container_format) as container:
        video: Any = container.add_stream("mpeg4", rate=25, width=64, height=48, pix_fmt="yuv420p")
        audio: Any = container.add_stream("aac", rate=48_000, layout="stereo") if sound else None
        for number in range(50):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number * 5, np.uint8), format="rgb24")
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(tones(SECONDS, 48_000, 2), format="fltp", layout="stereo")
            frame.sample_rate = 48_000
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return file.getvalue()


def whole(media: Any, **options: Any) -> Audio:
    return np.concatenate(list(decode(media, **options)), axis=1)


def strongest(audio: Audio) -> list[float]:
    """The loudest frequency of each channel, away from the ends."""
    middle = audio[:, 4_000:28_000]
    return [float(np.abs(np.fft.rfft(row)).argmax() * 16_000 / len(row)) for row in middle]


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


@pytest.mark.parametrize("made", FORMATS, ids=str)
def test_every_format_is_heard(made: Format) -> None:
    data = write(made)
    channels = av.AudioLayout(made.layout).nb_channels
    info = probe(io.BytesIO(data))
    assert (info.channels, info.sample_rate) == (channels, made.rate)
    assert info.duration == pytest.approx(SECONDS, abs=0.1)

    mixed = whole(io.BytesIO(data))
    split = whole(io.BytesIO(data), channels=Channels.SPLIT)
    assert mixed.shape == (1, split.shape[1])
    assert mixed.shape[1] == pytest.approx(SECONDS * 16_000, abs=1_600 if made.lossy else 1)
    np.testing.assert_allclose(split.mean(axis=0), mixed[0], atol=1e-4)
    # A subwoofer channel keeps only what is deep.
    expected = [TONE + STEP * number for number in range(channels)]
    heard = strongest(split)
    clear = [index for index in range(channels) if not (made.lossy and channels > 2 and index == 3)]
    assert [heard[index] for index in clear] == pytest.approx([expected[index] for index in clear], abs=2)
    if channels <= 2:
        by_library = decode_audio(io.BytesIO(data))
        assert abs(len(by_library) - mixed.shape[1]) <= 16
        common = min(len(by_library), mixed.shape[1])
        np.testing.assert_allclose(mixed[0, :common], by_library[:common], atol=2e-4)


@pytest.mark.parametrize("name", ["jfk.flac", "multilingual.mp3", "stereo_diarization.wav", "two_cities.wav"])
def test_recordings_of_people_are_heard_as_by_the_library(speech_dir: Path, name: str) -> None:
    heard, by_library = whole(speech_dir / name)[0], decode_audio(str(speech_dir / name))
    assert len(heard) == len(by_library)
    np.testing.assert_allclose(heard, by_library, atol=1e-4)


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "avi"])
def test_of_a_video_the_sound_is_heard(container: str) -> None:
    heard = whole(io.BytesIO(write_video(container, sound=True)), channels=Channels.SPLIT)
    assert strongest(heard) == pytest.approx([TONE, TONE + STEP], abs=2)


def test_a_video_without_sound_is_told() -> None:
    data = write_video("mp4", sound=False)
    with pytest.raises(InvalidMedia, match="no audio track"):
        list(decode(io.BytesIO(data)))
    with pytest.raises(InvalidMedia, match="no audio track"):
        probe(io.BytesIO(data))


@pytest.mark.parametrize(
    "made",
    [
        Format("wav", "pcm_s16le"),
        Format("mp3", "libmp3lame", 44_100),
        Format("flac", "flac"),
        Format("ogg", "libopus", 48_000),
        Format("webm", "libopus", 48_000),
        Format("amr", "libopencore_amrnb", 8_000),
        Format("ipod", "aac", 44_100),
        Format("mov", "alac", 44_100),
    ],
    ids=str,
)
def test_pipes_carry_every_format_even_with_the_index_at_the_end(made: Format) -> None:
    data = write(made)
    heard = whole(Pipe(data))
    assert heard.shape[1] == pytest.approx(SECONDS * 16_000, abs=1_600)
    assert strongest(heard) == pytest.approx([TONE], abs=2)


def test_a_long_file_through_a_real_pipe() -> None:
    data = write(Format("ipod", "aac", 44_100), 20.0)
    reader, writer = os.pipe()

    def feed() -> None:
        with os.fdopen(writer, "wb") as out:
            out.write(data)

    thread = threading.Thread(target=feed)
    thread.start()
    with os.fdopen(reader, "rb") as file:
        assert whole(file).shape[1] == pytest.approx(20 * 16_000, abs=1_600)
    thread.join()


def test_a_cut_off_mp4_is_told() -> None:
    data = write(Format("mp4", "aac", 48_000))
    medias: list[Any] = [io.BytesIO(data[: len(data) // 2]), Pipe(data[: len(data) // 2])]
    for media in medias:
        with pytest.raises(InvalidMedia, match="cut off") as caught:
            list(decode(media))
        assert caught.value.remedy == "Send the whole file."


@pytest.mark.parametrize(
    ("made", "options"),
    [
        (Format("mp4", "aac", 48_000), {"movflags": "frag_keyframe+empty_moov", "frag_duration": "500000"}),
        (Format("mp3", "libmp3lame", 44_100), {}),
        (Format("flac", "flac"), {}),
        (Format("ogg", "libopus", 48_000), {}),
        (Format("wav", "pcm_s16le"), {}),
        (Format("matroska", "libopus", 48_000), {}),
    ],
    ids=lambda value: str(value) if isinstance(value, Format) else "",
)
def test_of_a_file_that_was_cut_off_the_beginning_is_heard(made: Format, options: dict[str, str]) -> None:
    data = write(made, 6.0, **options)
    heard = whole(io.BytesIO(data[: len(data) * 2 // 3]))
    assert 2 * 16_000 < heard.shape[1] < 5 * 16_000
    assert strongest(heard) == pytest.approx([TONE], abs=2)


@pytest.mark.parametrize("made", [Format("mp3", "libmp3lame", 44_100), Format("adts", "aac", 44_100)], ids=str)
def test_what_is_damaged_is_left_out(made: Format) -> None:
    data = bytearray(write(made, 6.0))
    middle = len(data) // 2
    data[middle : middle + 3_000] = np.random.default_rng(1).bytes(3_000)
    heard = whole(io.BytesIO(bytes(data) + b"not audio at all" * 50))
    assert 5 * 16_000 < heard.shape[1] < 6.5 * 16_000
    assert strongest(heard) == pytest.approx([TONE], abs=2)


@pytest.mark.parametrize("codec", [("mp3", "libmp3lame"), ("adts", "aac")])
def test_rate_and_channels_may_change_on_the_way(codec: tuple[str, str]) -> None:
    parts = [Format(*codec, 44_100, "stereo"), Format(*codec, 22_050, "mono"), Format(*codec, 48_000, "stereo")]
    data = b"".join(write(part) for part in parts)
    for channels, rows in ((Channels.MIX, 1), (Channels.RIGHT, 1), (Channels.SPLIT, 2)):
        heard = whole(io.BytesIO(data), channels=channels)
        assert heard.shape[0] == rows
        assert heard.shape[1] == pytest.approx(3 * SECONDS * 16_000, abs=4_000)
        assert np.isfinite(heard).all()


def quicktime_surround() -> bytes:
    """5.1 in QuickTime's own order of channels, as editing programs write it."""
    data = bytearray(write(Format("mov", "pcm_s16le", 16_000, "5.1")))
    # The atom ``chan``: size, name, version and flags, then the tag of the layout and its six channels.
    struct.pack_into(">III", data, data.index(b"chan") + 8, (122 << 16) | 6, 0, 0)
    return bytes(data)


def test_a_custom_order_of_channels_does_not_end_the_process(tmp_path: Path) -> None:
    path = tmp_path / "surround.mov"
    path.write_bytes(quicktime_surround())
    code = (
        "import sys; from kikitori.audio.decode import decode, probe; from kikitori.types import Channels\n"
        "for _ in range(5):\n"
        "    info = probe(sys.argv[1])\n"
        "    for channels in Channels: seen = [b.shape for b in decode(sys.argv[1], channels=channels)]\n"
        "print(info.channels, seen)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "6 [(6, 32000)]\n"), run.stderr


@pytest.mark.parametrize(
    "made",
    [
        Format("wav", "pcm_s16le", 44_100, "stereo"),
        Format("mp3", "libmp3lame", 44_100, "stereo"),
        Format("mp4", "aac", 48_000, "stereo"),
        Format("flac", "flac", 48_000),
        Format("ogg", "libopus", 48_000),
        Format("matroska", "ac3", 48_000, "5.1"),
        Format("avi", "libmp3lame", 44_100),
        Format("amr", "libopencore_amrnb", 8_000),
    ],
    ids=str,
)
def test_damage_of_any_kind_raises_only_our_errors(tmp_path: Path, made: Format) -> None:
    path = tmp_path / "damaged"
    random = np.random.default_rng(3)
    original = write(made, 0.6)
    outcomes = []
    for turn in range(12):
        data = bytearray(original)
        places = random.integers(0, len(data) if turn % 2 else min(500, len(data)), 20)
        for place in places:
            data[place] = random.integers(256)
        if turn % 3 == 0:
            del data[random.integers(1, len(data)) :]
        try:
            path.write_bytes(data)
            blocks = list(decode(path, channels=Channels.SPLIT, max_seconds=60))
            outcomes.append(all(np.isfinite(block).all() and block.shape[1] for block in blocks))
        except KikitoriError as exc:
            outcomes.append(bool(exc.message))
    assert outcomes == [True] * 12


def silence(hours: float) -> bytes:
    """A few hundred kilobytes of WavPack, whose blocks are long."""
    file = io.BytesIO()
    with av.open(file, "w", format="wv") as container:
        stream: Any = container.add_stream("wavpack", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 60 * 16_000), np.int16), format="s16p", layout="mono")
        frame.sample_rate = 16_000
        for _ in range(round(60 * hours)):
            frame.pts = None
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def test_two_hours_of_silence_are_heard() -> None:
    data = silence(2)
    assert len(data) < 1_000_000
    assert [block.shape for block in decode(io.BytesIO(data))] == [(1, 30 * 16_000)] * 240


def test_memory_does_not_grow_with_the_recording() -> None:
    data = silence(0.5)
    tracemalloc.start()
    try:
        blocks = sum(1 for _ in decode(io.BytesIO(data)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert blocks == 60
    assert peak < 10_000_000


def test_a_small_file_that_decodes_to_hours_is_stopped_early() -> None:
    seconds = 0.0
    with pytest.raises(TooLarge):
        for block in decode(io.BytesIO(silence(0.5)), max_seconds=100):
            seconds += block.shape[1] / 16_000
    assert seconds == 90


def test_speech_is_looked_for_in_little_memory() -> None:
    data = silence(0.05)
    tracemalloc.start()
    try:
        spans, seconds = file_speech_spans(io.BytesIO(data), VadOptions())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (spans, seconds) == ([], 180.0)
    assert peak < 12_000_000


def test_many_decoders_at_once_do_not_disturb_each_other() -> None:
    files = [write(made, 1.0) for made in FORMATS[:6]]
    expected = [whole(io.BytesIO(data)) for data in files]
    results: dict[int, Audio] = {}

    def run(number: int) -> None:
        results[number] = whole(io.BytesIO(files[number % len(files)]))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(12):
        np.testing.assert_array_equal(results[number], expected[number % len(files)])


def test_nothing_is_left_open(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.m4a", tmp_path / "bad.m4a"
    good.write_bytes(write(Format("ipod", "aac", 44_100)))
    bad.write_bytes(good.read_bytes()[:5_000])
    handles = psutil.Process().num_fds()
    for _ in range(5):
        whole(good)
        next(decode(good, block_seconds=0.1))
        whole(Pipe(good.read_bytes()))
        for media in (bad, Pipe(bad.read_bytes())):
            with pytest.raises(InvalidMedia):
                whole(media)
    assert psutil.Process().num_fds() == handles
    assert capfd.readouterr() == ("", "")
