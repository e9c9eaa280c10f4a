"""Live streams of Opus as recorders send them, and ones that no recorder would send."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise

import av
import numpy as np
import numpy.typing as npt
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream

from kikitori.audio.ogg import page_checksum

Audio = npt.NDArray[np.float32]

FRAME = 960
"""20 ms at 48 kHz."""
BOS, CONTINUED, EOS = 2, 1, 4


class Pipe:
    """A file that cannot seek: libav writes unknown sizes into it."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)


def tone(seconds: float, rate: int, frequency: float = 440.0) -> Audio:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def frame_of(channels: Sequence[Audio]) -> AudioFrame:
    layout = "stereo" if len(channels) == 2 else "mono"
    packed = np.ascontiguousarray(np.stack(channels, axis=1).reshape(1, -1))
    frame = AudioFrame.from_ndarray(packed, format="flt", layout=layout)
    frame.sample_rate, frame.pts = 48_000, 0
    return frame


def record(container: str, *channels: Audio, codec: str = "libopus", **options: str) -> bytes:
    """``channels`` at 48 kHz, as one who streams writes them."""
    pipe = Pipe()
    with av.open(pipe, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=48_000)
        assert isinstance(stream, AudioStream)
        stream.layout = "stereo" if len(channels) == 2 else "mono"
        for packet in [*stream.encode(frame_of(channels)), *stream.encode(None)]:
            output.mux(packet)
    return bytes(pipe.data)


def live_webm(*channels: Audio) -> bytes:
    return record("webm", *channels, live="1", cluster_time_limit="200")


def live_ogg(*channels: Audio) -> bytes:
    return record("ogg", *channels, page_duration="100000")


def packets_of(audio: Audio) -> list[bytes]:
    """Bare packets of 20 ms."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "mono", "flt"
    encoder.bit_rate = 32_000
    encoder.open()
    return [bytes(packet) for packet in [*encoder.encode(frame_of([audio])), *encoder.encode(None)]]


def opus_head(channels: int = 1, pre_skip: int = 0, mapping: bytes = b"\0") -> bytes:
    return b"OpusHead" + struct.pack("<BBHIh", 1, channels, pre_skip, 48_000, 0) + mapping


def page(
    packets: Sequence[bytes],
    sequence: int,
    *,
    flags: int = 0,
    granule: int = -1,
    serial: int = 7,
    open_end: bool = False,
) -> bytes:
    """One Ogg page; ``open_end``: the last packet, of a multiple of 255 bytes, goes on."""
    lacing = bytearray()
    for packet in packets:
        lacing += b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])
    if open_end:
        assert lacing.pop() == 0
    blank = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, serial, sequence, 0, len(lacing))
    blank += bytes(lacing) + b"".join(packets)
    return blank[:22] + struct.pack("<I", page_checksum(blank)) + blank[26:]


def ogg_head(*, serial: int = 7, pre_skip: int = 0) -> bytes:
    tags = b"OpusTags" + bytes(8)
    return page([opus_head(pre_skip=pre_skip)], 0, flags=BOS, granule=0, serial=serial) + page(
        [tags], 1, granule=0, serial=serial
    )


def element(name: int, body: bytes, size: int | None = -1) -> bytes:
    """An EBML element; ``size`` None: unknown; a number: what it claims."""
    head = name.to_bytes((name.bit_length() + 7) // 8)
    if size is None:
        return head + b"\x01" + b"\xff" * 7 + body
    claimed = len(body) if size == -1 else size
    return head + (1 << 56 | claimed).to_bytes(8) + body


def track(number: int = 1, codec: bytes = b"A_OPUS", private: bytes | None = None, extra: bytes = b"") -> bytes:
    fields = element(0xD7, bytes([number])) + element(0x86, codec)
    return element(0xAE, fields + element(0x63A2, opus_head() if private is None else private) + extra)


EBML = element(0x1A45DFA3, element(0x4282, b"webm"))


def webm_head(*tracks: bytes) -> bytes:
    return EBML + element(0x18538067, element(0x1654AE6B, b"".join(tracks or (track(),))), None)


def block_body(packets: Sequence[bytes], lacing: str = "", number: int = 1) -> bytes:
    """The body of a block with ``packets`` laced."""
    flags = {"": 0, "xiph": 2, "fixed": 4, "ebml": 6}[lacing]
    body = bytes([0x80 | number, 0, 0, flags])
    if lacing:
        body += bytes([len(packets) - 1])
    sizes = [len(packet) for packet in packets]
    if lacing == "xiph":
        body += b"".join(b"\xff" * (size // 255) + bytes([size % 255]) for size in sizes[:-1])
    if lacing == "ebml":
        body += (0x4000 | sizes[0]).to_bytes(2)
        steps = pairwise(sizes[:-1])
        body += b"".join((0x4000 | (later - earlier + 0x1FFF)).to_bytes(2) for earlier, later in steps)
    return body + b"".join(packets)


def simple_block(*packets: bytes, lacing: str = "", number: int = 1) -> bytes:
    return element(0xA3, block_body(packets, lacing, number))


def cluster(*blocks: bytes, size: int | None = None) -> bytes:
    return element(0x1F43B675, element(0xE7, b"\0") + b"".join(blocks), size)
