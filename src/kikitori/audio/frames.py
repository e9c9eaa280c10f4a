"""From a container to plain arrays: everything that touches libav's frames.

Corrupt input must never end the process nor raise anything but our errors, so the parts of PyAV
that are not safe with strange files are kept away from in one place: here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
import av.audio
import av.logging
import numpy as np
import numpy.typing as npt
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard

from kikitori.audio.reader import Reader
from kikitori.errors import InvalidMedia

# libav writes to stderr or, through Python's logging, takes locks that can deadlock with threads.
av.logging.set_level(None)

MIN_RATE, MAX_RATE = 1_000, 6_000_000
"""Samples per second outside of which a header is taken for broken."""
PART_SAMPLES = 1 << 22
"""Most samples, over all channels, that are held before they are passed on."""
LOUDEST = 1e9
"""Float samples beyond this are taken for broken, as NaN is."""
ROOM = 1 << 14
"""Samples, over all channels, that a frame seldom exceeds."""
MAX_STUMBLES = 16
"""Errors in a row of the demuxer until the rest of a file is given up."""

_SAMPLES: dict[str, tuple[str, float, float]] = {
    "u8": ("u1", 128.0, 1 / 128),
    "s16": ("i2", 0.0, 1 / 2**15),
    "s32": ("i4", 0.0, 1 / 2**31),
    "s64": ("i8", 0.0, 1 / 2**63),
    "flt": ("f4", 0.0, 1.0),
    "dbl": ("f8", 0.0, 1.0),
}
"""libav's sample formats: dtype, offset, scale."""

FOREIGN = (av.FFmpegError, ValueError, OverflowError, RuntimeError)
"""What PyAV raises for input it cannot handle."""


@contextmanager
def open_media(reader: Reader) -> Iterator[InputContainer]:
    """The container in ``reader``."""
    container = _open(reader)
    try:
        yield container
    finally:
        container.close()


@contextmanager
def open_audio(reader: Reader) -> Iterator[tuple[InputContainer, AudioStream]]:
    """The container in ``reader`` and its first audio track that has a decoder."""
    with open_media(reader) as container:
        yield container, _audio_track(container)


def _open(reader: Reader) -> InputContainer:
    try:
        return av.open(
            reader,
            mode="r",
            metadata_errors="ignore",
            # Playlists and the like name other files and addresses: none of them is opened.
            container_options={"protocol_whitelist": "none"},
        )
    except FOREIGN as exc:
        reader.check()
        if not reader.head:
            raise InvalidMedia("The file is empty.") from exc
        if reader.is_mp4:
            raise InvalidMedia(
                "The file is cut off or damaged: its index cannot be read.", remedy="Send the whole file."
            ) from exc
        raise InvalidMedia("The file is not audio or video of a known format.") from exc


def _audio_track(container: InputContainer) -> AudioStream:
    tracks = container.streams.audio
    if not tracks:
        raise InvalidMedia("The file has no audio track.")
    # A track without a decoder has no codec context, and must not be touched.
    track = next((track for track in tracks if track.codec_context is not None), None)
    if track is None:
        raise InvalidMedia("The codec of the audio track is not known.")
    rate = track.codec_context.sample_rate
    if rate and not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidMedia(f"The file says it has {rate} samples a second, which cannot be sound.")
    for stream in container.streams:
        if stream.index != track.index:
            stream.discard = Discard.all
    track.codec_context.thread_count = 1
    layout = safe_layout(track.codec_context)
    if _is_custom(layout):
        # Decoders that only pass the layout on make plain frames then.
        track.codec_context.options = {"ch_layout": f"{layout.nb_channels}C"}
    return track


def safe_layout(owner: AudioFrame | AudioCodecContext) -> AudioLayout:
    """The channel layout of a frame or codec; ask for it nowhere else.

    PyAV 17.1 to 18.1 copies layouts without the list of channels that a custom one points to,
    then frees that list twice, which ends the process; 5.1 in QuickTime's order of channels is
    enough. A custom layout is therefore never given back: some 100 bytes each, of rare files.
    """
    layout = owner.layout
    assert isinstance(layout, AudioLayout)
    if _is_custom(layout):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    return layout


def _is_custom(layout: AudioLayout) -> bool:
    """Whether ``layout`` may be a custom one: those are described channel by channel."""
    try:
        return " channels (" in layout.name or layout.name.startswith("ambisonic")
    except RuntimeError:  # it has no description
        return True


def read_pcm(container: InputContainer, track: AudioStream) -> Iterator[tuple[npt.NDArray[np.float32], int]]:
    """Samples of shape (channels, n) with their rate, a second or so at a time.

    Shape and rate may change on the way. Damaged parts are left out; what is raised all the same
    is one of ``FOREIGN``.
    """
    part: _Part | None = None
    for frame, channels in _frames(container, track):
        kind = (frame.format.name, channels, frame.sample_rate)
        if part is not None and (part.kind != kind or part.is_full):
            yield part.to_float(), part.rate
            part = None
        part = part or _Part(kind)
        part.add(frame)
    if part is not None:
        yield part.to_float(), part.rate


def _frames(container: InputContainer, track: AudioStream) -> Iterator[tuple[AudioFrame, int]]:
    """Every frame that can be decoded, with its number of channels; packets that cannot are skipped."""
    for packet in _packets(container, track):
        try:
            decoded = packet.decode()
        except av.FFmpegError:
            continue
        # All layouts are looked at before any frame is let go.
        frames = [(frame, safe_layout(frame).nb_channels) for frame in decoded if isinstance(frame, AudioFrame)]
        for frame, channels in frames:
            if frame.samples > 0 and channels > 0 and MIN_RATE <= frame.sample_rate <= MAX_RATE:
                yield frame, channels


def _packets(container: InputContainer, track: AudioStream) -> Iterator[Packet[AudioStream]]:
    """Every packet that can be read, and the empty one that ends the stream."""
    stumbles = 0
    packets = container.demux(track)
    while stumbles < MAX_STUMBLES:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError:
            stumbles += 1
            packets = container.demux(track)
            continue
        stumbles = 0
        yield packet


class _Part:
    """Frames of one kind, joined as libav stores them."""

    def __init__(self, kind: tuple[str, int, int]) -> None:
        self.kind = kind
        name, channels, self.rate = kind
        dtype, self._offset, self._scale = _SAMPLES[name.removesuffix("p")]
        self._enough = min(self.rate, PART_SAMPLES // channels)
        self._samples = np.empty((channels, self._enough + ROOM // channels), dtype)
        self._length = 0

    @property
    def is_full(self) -> bool:
        return self._length >= self._enough

    def add(self, frame: AudioFrame) -> None:
        channels, end = len(self._samples), self._length + frame.samples
        if end > self._samples.shape[1]:
            more = np.empty((channels, frame.samples), self._samples.dtype)
            self._samples = np.concatenate([self._samples, more], axis=1)
        room = self._samples[:, self._length : end]
        if frame.format.is_planar:
            # Of eight and more planar channels PyAV lists planes that do not exist: not to be touched.
            for row, plane in zip(room, frame.planes[:channels], strict=True):
                row[:] = np.frombuffer(memoryview(plane), room.dtype, frame.samples)
        else:
            packed = np.frombuffer(memoryview(frame.planes[0]), room.dtype, frame.samples * channels)
            room[:] = packed.reshape(-1, channels).T
        self._length = end

    def to_float(self) -> npt.NDArray[np.float32]:
        samples = self._samples[:, : self._length]
        if samples.dtype.kind == "f":
            if not np.abs(samples).max() < LOUDEST:
                samples = np.where(np.abs(samples) < LOUDEST, samples, 0)
            return samples.astype(np.float32)
        wide: npt.NDArray[Any] = samples.astype(np.float64 if samples.dtype.itemsize > 2 else np.float32)
        wide -= self._offset
        wide *= self._scale
        return wide.astype(np.float32, copy=False)
