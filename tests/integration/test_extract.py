"""The sound of recordings as files, decoded again to see what is in them."""

from __future__ import annotations

import io
import os
import resource
import struct
import subprocess
import sys
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import psutil
import pytest
from tests.integration.test_audio_media import (
    FORMATS,
    STEP,
    TONE,
    Format,
    quicktime_surround,
    silence,
    tones,
    write,
    write_video,
)

from kikitori.audio.extract import ExtractedAudio, extract
from kikitori.audio.extract_options import AudioFormat, parse_extract
from kikitori.audio.frames import open_audio, read_pcm
from kikitori.audio.inspect import MAX_STREAMS, MAX_TAG_LENGTH, MAX_TAGS, MediaFacts, inspect
from kikitori.audio.reader import open_reader
from kikitori.errors import DecodingCancelled, InvalidMedia, InvalidOption, KikitoriError, TooLarge, Unavailable

Audio = npt.NDArray[np.float32]
STEREO = Format("wav", "pcm_s16le", 44_100, "stereo")
OPUS_RATE = 48_000
"""Whatever went in, it comes out of a decoder at this rate."""


class Taken:
    """What was taken out, read again."""

    def __init__(self, made: ExtractedAudio, path: Path) -> None:
        self.made, self.path = made, path
        self.facts: MediaFacts = inspect(path)
        (self.track,) = self.facts.streams
        reader = open_reader(path)
        with open_audio(reader) as (container, track):
            parts = [(samples, rate) for samples, rate in read_pcm(container, track)]
        reader.close()
        (self.rate,) = {rate for _, rate in parts}
        self.samples: Audio = np.concatenate([samples for samples, _ in parts], axis=1)

    @property
    def seconds(self) -> float:
        return float(self.samples.shape[1] / self.rate)

    def tones(self) -> list[float]:
        """The loudest frequency of each channel, away from the ends."""
        middle = self.samples[:, self.rate // 4 : self.rate * 5 // 4]
        return [float(np.abs(np.fft.rfft(row)).argmax() * self.rate / len(row)) for row in middle]


def take(
    media: Any, folder: Path, *, max_seconds: float = 3_600.0, max_bytes: int = 1_000_000_000, **given: object
) -> Taken:
    target = folder / "taken"
    options = parse_extract({name: str(value) for name, value in given.items()})
    source = io.BytesIO(media) if isinstance(media, bytes) else media
    return Taken(extract(source, target, options, max_seconds=max_seconds, max_bytes=max_bytes), target)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("output", "rate", "decoded_rate", "codec"),
    [
        ("wav", 8_000, 8_000, "pcm_s16le"),
        ("wav", 192_000, 192_000, "pcm_s16le"),
        ("flac", 44_100, 44_100, "flac"),
        ("flac", 192_000, 192_000, "flac"),
        ("mp3", 8_000, 8_000, "mp3"),
        ("mp3", 44_100, 44_100, "mp3"),
        ("m4a", 16_000, 16_000, "aac"),
        ("m4a", 96_000, 96_000, "aac"),
        ("ogg", 16_000, OPUS_RATE, "opus"),
        ("opus", 48_000, OPUS_RATE, "opus"),
    ],
)
def test_every_format_has_the_length_rate_and_channels_asked_for(
    tmp_path: Path, output: str, rate: int, decoded_rate: int, codec: str, channels: int
) -> None:
    taken = take(write(STEREO), tmp_path, output_format=output, sample_rate=rate, channels=channels)
    assert (taken.made.sample_rate, taken.made.channels) == (rate, channels)
    assert taken.made.duration == pytest.approx(2.0, abs=1e-3)
    assert taken.made.size_bytes == taken.path.stat().st_size
    assert (taken.rate, len(taken.samples), taken.track.codec) == (decoded_rate, channels, codec)
    assert taken.facts.duration == pytest.approx(2.0, abs=0.03)
    assert taken.seconds == pytest.approx(2.0, abs=0.15 if codec == "aac" else 0.01)
    assert taken.tones() == pytest.approx([TONE] if channels == 1 else [TONE, TONE + STEP], abs=2) or (
        channels == 1 and taken.tones() == pytest.approx([TONE + STEP], abs=2)
    )
    if codec.startswith(("pcm", "flac")):
        assert taken.samples.shape[1] == pytest.approx(2 * rate, abs=1)


@pytest.mark.parametrize(
    ("output", "depth", "bits"),
    [("wav", "", 16), ("wav", 8, 8), ("wav", 16, 16), ("wav", 24, 24), ("wav", 32, 32), ("flac", "", 16),
     ("flac", 16, 16), ("flac", 24, 24)],
)  # fmt: skip
def test_bit_depths(tmp_path: Path, output: str, depth: object, bits: int) -> None:
    taken = take(write(Format("wav", "pcm_f32le", 48_000)), tmp_path, output_format=output, bit_depth=depth)
    head = taken.path.read_bytes()[:100]
    if output == "wav":
        at = head.index(b"fmt ") + 8
        assert struct.unpack_from("<H", head, at + 14) == (bits,)
    else:
        # STREAMINFO: 20 bits of rate, 3 of channels, 5 of bits less one.
        assert (int.from_bytes(head[18:22], "big") >> 4 & 31) + 1 == bits
    expected = tones(2.0, 48_000, 1)
    assert np.abs(taken.samples - expected).max() <= 1.01 / 2 ** (bits - 1) + 1e-7


@pytest.mark.parametrize("made", FORMATS, ids=str)
def test_the_sound_of_every_format_is_taken_out(tmp_path: Path, made: Format) -> None:
    channels = av.AudioLayout(made.layout).nb_channels
    taken = take(write(made), tmp_path, output_format="flac")
    assert (len(taken.samples), taken.rate) == (channels, max(8_000, made.rate))
    assert taken.seconds == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "avi"])
@pytest.mark.parametrize("output", list(AudioFormat))
def test_the_sound_of_a_film_is_taken_out(tmp_path: Path, container: str, output: AudioFormat) -> None:
    taken = take(write_video(container, sound=True), tmp_path, output_format=output)
    assert taken.track.kind == "audio"
    assert taken.tones() == pytest.approx([TONE, TONE + STEP], abs=2)


@pytest.mark.parametrize("layout", ["2.1", "4.0", "5.0", "5.1", "6.1", "7.1"])
def test_many_channels_are_kept_or_mixed(tmp_path: Path, layout: str) -> None:
    data = write(Format("wav", "pcm_s16le", 48_000, layout))
    count = av.AudioLayout(layout).nb_channels
    for output in ("wav", "flac"):
        kept = take(data, tmp_path, output_format=output)
        assert kept.tones() == pytest.approx([TONE + STEP * number for number in range(count)], abs=2)
    for output in ("wav", "mp3"):
        sides = take(data, tmp_path, output_format=output, channels=2)
        assert sides.tones() == pytest.approx([TONE, TONE + STEP], abs=2)
        assert np.abs(sides.samples).max() < 0.35
        assert len(take(data, tmp_path, output_format=output, channels=1).samples) == 1
    with pytest.raises(InvalidOption, match=f"a recording with {count} channels") as caught:
        take(data, tmp_path, output_format="mp3")
    assert caught.value.param == "channels"


def test_one_channel_becomes_two_of_the_same_loudness(tmp_path: Path) -> None:
    taken = take(write(Format("wav", "pcm_s16le", 16_000)), tmp_path, channels=2)
    np.testing.assert_array_equal(taken.samples[0], taken.samples[1])
    np.testing.assert_allclose(taken.samples[0], tones(2.0, 16_000, 1)[0], atol=1e-3)


def test_too_many_channels_to_keep(tmp_path: Path) -> None:
    data = write(Format("wav", "pcm_s16le", 16_000, "hexadecagonal"))
    assert len(take(data, tmp_path, channels=2).samples) == 2
    with pytest.raises(InvalidOption, match="a recording with 16 channels"):
        take(data, tmp_path)


def test_a_custom_order_of_channels_does_not_end_the_process(tmp_path: Path) -> None:
    path = tmp_path / "surround.mov"
    path.write_bytes(quicktime_surround())
    code = (
        "import sys; from pathlib import Path\n"
        "from kikitori.audio.extract import extract; from kikitori.audio.inspect import inspect\n"
        "from kikitori.audio.extract_options import parse_extract\n"
        "for _ in range(5):\n"
        "    facts = inspect(sys.argv[1])\n"
        "    for channels in ('1', '2', 'keep'):\n"
        "        options = parse_extract({'channels': channels, 'output_format': 'flac'})\n"
        "        made = extract(sys.argv[1], Path(sys.argv[2]), options, max_seconds=60, max_bytes=10**9)\n"
        "print(facts.streams[0].channels, made.channels, made.duration)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, "6 6 2.0\n"), run.stderr


@pytest.mark.parametrize(
    ("start", "end", "seconds"), [("0.5", "", 1.5), ("", "0.25", 0.25), ("0.5", "0.5001", 0.0001), ("1.9", "60", 0.1)]
)
def test_a_part_is_cut_to_the_sample(tmp_path: Path, start: str, end: str, seconds: float) -> None:
    data = write(Format("wav", "pcm_s16le", 48_000))
    whole = take(data, tmp_path).samples
    part = take(data, tmp_path, start=start, end=end)
    first = round(float(start or 0) * 48_000)
    np.testing.assert_array_equal(part.samples, whole[:, first : first + round(seconds * 48_000)])
    assert part.made.duration == pytest.approx(seconds, abs=1e-4)


def test_of_a_part_no_more_is_decoded_than_its_end(tmp_path: Path) -> None:
    taken = take(silence(0.5), tmp_path, max_seconds=100, start=60, end=90)
    assert taken.made.duration == 30.0
    with pytest.raises(TooLarge):
        take(silence(0.5), tmp_path, max_seconds=100, start=60, end=101)


def test_a_start_beyond_the_end_is_told_with_the_length(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match=r"start is 7\.0.*less than 2\.000") as caught:
        take(write(STEREO), tmp_path, start=7)
    assert caught.value.param == "start"


@pytest.mark.parametrize("codec", [("mp3", "libmp3lame"), ("adts", "aac")])
@pytest.mark.parametrize("output", ["wav", "mp3", "m4a", "opus"])
def test_rate_and_channels_may_change_on_the_way(tmp_path: Path, codec: tuple[str, str], output: str) -> None:
    parts = [Format(*codec, 44_100, "stereo"), Format(*codec, 22_050, "mono"), Format(*codec, 48_000, "stereo")]
    taken = take(b"".join(write(part) for part in parts), tmp_path, output_format=output)
    assert len(taken.samples) == 2
    assert taken.seconds == pytest.approx(6.0, abs=0.3)


def test_what_is_too_loud_is_clipped(tmp_path: Path) -> None:
    data = bytearray(write(Format("wav", "pcm_f32le", 16_000)))
    at = data.index(b"data") + 8
    loud = np.frombuffer(bytes(data[at:]), "<f4") * 1e6
    data[at:] = loud.astype("<f4").tobytes()
    for output in AudioFormat:
        taken = take(bytes(data), tmp_path, output_format=output)
        assert 0.9 < np.abs(taken.samples).max() < 2.5


# What cannot be done


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"Dear diary, today I spoke to nobody. " * 40, "not audio or video"),
        (write(STEREO).partition(b"data")[0] + b"data\0\0\0\0", "Nothing in the audio track"),
        (write_video("mp4", sound=False), "no audio track"),
        (write_video("mp4", sound=True)[:20_000], "cut off"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/a.mp3\n", "not audio or video"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not audio or video"),
    ],
    ids=["empty", "text", "header alone", "no sound", "cut off", "playlist", "concat"],
)
def test_what_has_no_sound_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(InvalidMedia, match=said) as caught:
        take(data, tmp_path)
    assert caught.value.param == "file"


@pytest.mark.parametrize(
    "made",
    [
        STEREO,
        Format("mp3", "libmp3lame", 44_100, "stereo"),
        Format("mp4", "aac", 48_000),
        Format("ogg", "libopus", 48_000),
    ],
    ids=str,
)
def test_damage_of_any_kind_raises_only_our_errors(tmp_path: Path, made: Format) -> None:
    random = np.random.default_rng(5)
    original = write(made, 0.6)
    path = tmp_path / "damaged"
    for turn in range(24):
        data = bytearray(original)
        for place in random.integers(0, len(data) if turn % 2 else min(500, len(data)), 20):
            data[place] = random.integers(256)
        if turn % 3 == 0:
            del data[random.integers(1, len(data)) :]
        path.write_bytes(data)
        for work in (partial(take, path, tmp_path, output_format=[*AudioFormat][turn % 6]), partial(inspect, path)):
            try:
                work()
            except KikitoriError as exc:
                assert exc.message


def test_a_small_file_that_decodes_to_hours_is_stopped_early(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="longer than 100 seconds"):
        take(silence(0.5), tmp_path, max_seconds=100)
    assert (tmp_path / "taken").stat().st_size < 110 * 32_000


def test_a_small_file_that_would_fill_the_disk_is_stopped_early(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="over 5,000,000 bytes") as caught:
        take(silence(0.5), tmp_path, sample_rate=192_000, bit_depth=32, channels=2, max_bytes=5_000_000)
    assert caught.value.param == "output_format"
    assert (tmp_path / "taken").stat().st_size < 8_000_000


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    data = silence(0.25)
    options = parse_extract({"output_format": "flac", "sample_rate": "48000", "channels": "2"})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        extract(io.BytesIO(data), tmp_path / "out", options, max_seconds=1e6, max_bytes=10**9)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_it_stops_when_told(tmp_path: Path) -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise DecodingCancelled

    handles = psutil.Process().num_fds()
    with pytest.raises(DecodingCancelled):
        extract(
            io.BytesIO(silence(0.1)), tmp_path / "out", parse_extract({}), max_seconds=1e6, max_bytes=10**9, check=check
        )
    assert psutil.Process().num_fds() == handles


@pytest.mark.parametrize("output", ["wav", "flac", "mp3", "opus"])
def test_a_full_disk_is_the_servers_fault(output: str) -> None:
    options = parse_extract({"output_format": output})
    with pytest.raises(Unavailable) as caught:
        extract(io.BytesIO(silence(0.1)), Path("/dev/full"), options, max_seconds=1e6, max_bytes=10**9)
    assert "/dev/full" not in str(caught.value)


def test_a_folder_that_is_gone_is_the_servers_fault(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        extract(
            io.BytesIO(write(STEREO)), tmp_path / "gone" / "out", parse_extract({}), max_seconds=60, max_bytes=10**9
        )


def test_nothing_is_left_open(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.m4a", tmp_path / "bad.m4a"
    good.write_bytes(write(Format("ipod", "aac", 44_100)))
    bad.write_bytes(good.read_bytes()[:5_000])
    handles = psutil.Process().num_fds()
    for _ in range(3):
        for output in AudioFormat:
            take(good, tmp_path, output_format=output)
            with pytest.raises(InvalidMedia):
                take(bad, tmp_path, output_format=output)
        inspect(good)
    assert psutil.Process().num_fds() == handles
    assert capfd.readouterr() == ("", "")


# What is in a file


def film(**tags: str) -> bytes:
    """A picture, two sound tracks and a chapter of tags."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        container.metadata.update(tags)
        video: Any = container.add_stream("mpeg4", rate=25, width=64, height=48, pix_fmt="yuv420p")
        sounds: list[Any] = []
        for language, layout in (("eng", "stereo"), ("jpn", "mono")):
            sound: Any = container.add_stream("aac", rate=48_000, layout=layout)
            sound.metadata.update({"language": language, "title": f"In {language}"})
            sounds.append(sound)
        for number in range(25):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number, np.uint8), format="rgb24")
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        for sound in sounds:
            count = sound.layout.nb_channels
            frame = av.AudioFrame.from_ndarray(tones(1.0, 48_000, count), format="fltp", layout=sound.layout.name)
            frame.sample_rate = 48_000
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return file.getvalue()


def test_a_film_is_shown_with_all_its_streams() -> None:
    facts = inspect(io.BytesIO(film(title="A talk")))
    assert facts.container == "matroska,webm"
    assert facts.duration == pytest.approx(1.0, abs=0.1)
    assert facts.tags["title"] == "A talk"
    picture, english, japanese = facts.streams
    assert (picture.kind, picture.codec, picture.width, picture.height, picture.frame_rate) == (
        "video", "mpeg4", 64, 48, 25.0,
    )  # fmt: skip
    assert (english.kind, english.codec, english.language, english.title) == ("audio", "aac", "eng", "In eng")
    assert (english.sample_rate, english.channels, english.layout) == (48_000, 2, "stereo")
    assert (japanese.index, japanese.language, japanese.channels, japanese.layout) == (2, "jpn", 1, "mono")


@pytest.mark.parametrize("made", FORMATS, ids=str)
def test_every_format_is_shown(made: Format) -> None:
    facts = inspect(io.BytesIO(write(made)))
    (track,) = facts.streams
    assert (track.kind, track.sample_rate, track.channels) == (
        "audio", made.rate, av.AudioLayout(made.layout).nb_channels,
    )  # fmt: skip
    assert facts.duration == pytest.approx(2.0, abs=0.1)


def test_a_file_without_sound_is_shown_all_the_same() -> None:
    (track,) = inspect(io.BytesIO(write_video("mp4", sound=False))).streams
    assert track.kind == "video"


def test_tags_are_bounded() -> None:
    facts = inspect(io.BytesIO(film(**{f"tag{number}": "x" * 10_000 for number in range(200)})))
    assert len(facts.tags) == MAX_TAGS
    assert max(map(len, facts.tags.values())) == MAX_TAG_LENGTH
    assert len(facts.streams) <= MAX_STREAMS


@pytest.mark.parametrize("data", [b"", b"no media " * 100, os.urandom(20_000)], ids=["empty", "text", "random"])
def test_what_is_no_media_cannot_be_shown(data: bytes) -> None:
    with pytest.raises(InvalidMedia):
        inspect(io.BytesIO(data))
