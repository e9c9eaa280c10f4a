"""Opus packets out of a WebM stream that comes in pieces, as browsers record it (RFC 8794, RFC 9559)."""

from __future__ import annotations

from collections.abc import Iterator

from kikitori.audio.opus import (
    MAX_PACKET_BYTES,
    OPUS_RATE,
    Item,
    OpusHead,
    OpusPacket,
    invalid,
    packet_samples,
    read_head,
    trimmed,
)
from kikitori.errors import InvalidMedia

_EBML, _SEGMENT, _CLUSTER, _TRACKS = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1654AE6B
_TRACK, _TRACK_NUMBER, _CODEC_ID, _CODEC_PRIVATE, _CONTENT_ENCODINGS = 0xAE, 0xD7, 0x86, 0x63A2, 0x6D80
_SIMPLE_BLOCK, _GROUP, _BLOCK, _DISCARD_PADDING = 0xA3, 0xA0, 0xA1, 0x75A2

_OPUS = b"A_OPUS"
_XIPH_LACING, _FIXED_LACING, _EBML_LACING = 1, 2, 3
_LONGEST_ID, _LONGEST_SIZE = 4, 8

MAX_HEADER_BYTES = 1 << 16
"""The longest list of tracks."""
MAX_BLOCK_BYTES = 2 * MAX_PACKET_BYTES
"""The longest block with audio."""
MAX_OTHER_BYTES = 1 << 24
"""The longest element that is left out, such as a picture."""
MAX_IDLE_ELEMENTS = 4_096
"""In a row without Opus."""


class WebmReader:
    """Opus packets, as soon as their block is there. Of several tracks the first one with Opus is heard.

    Segments and clusters are walked through, however long they say they are, so that unknown sizes need nothing
    special. Holds one block at most. A recorder that begins again may follow on the one before.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip = 0
        """Bytes still to come of what is left out."""
        self._begun = False
        self._track: int | None = None
        self._idle = 0

    def push(self, data: bytes) -> Iterator[Item]:
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        self._buffer += memoryview(data)[skipped:]
        while (items := self._next()) is not None:
            self._idle = 0 if items else self._idle + 1
            if self._idle > MAX_IDLE_ELEMENTS:
                raise invalid("The WebM stream has no audio.")
            yield from items

    def finish(self) -> None:
        if self._track is None and (self._begun or self._buffer):
            raise invalid("The WebM stream ended before its audio began.")

    def _next(self) -> list[Item] | None:
        """What the next element brings, taken out of the buffer; None: more bytes are needed."""
        buffer = self._buffer
        if not self._begun and not buffer.startswith(_EBML.to_bytes(4)[: len(buffer)]):
            raise invalid("This is no WebM stream.")
        head = _element_head(buffer, 0)
        if head is None:
            return None
        element, size, at = head
        self._begun = True
        if element in (_SEGMENT, _CLUSTER):
            del buffer[:at]
            return []
        if size is None:
            raise invalid("The WebM stream is damaged: an element has no size.")
        if element == _SIMPLE_BLOCK and len(buffer) < at + min(size, _LONGEST_SIZE):
            return None  # its track is not known yet
        if not self._matters(element, size, at):
            return self._leave_out(at + size)
        if size > (MAX_HEADER_BYTES if element in (_EBML, _TRACKS) else MAX_BLOCK_BYTES):
            raise invalid("The WebM stream is damaged: an element is too long.")
        if len(buffer) < at + size:
            return None
        body = bytes(buffer[at : at + size])
        del buffer[: at + size]
        return self._read(element, body)

    def _matters(self, element: int, size: int, at: int) -> bool:
        """Whether an element must be there as a whole. Groups that are too long for Opus need not."""
        if element == _SIMPLE_BLOCK:
            track = _number(self._buffer, at, at + size)
            return track is None or track[0] == self._track or self._track is None
        return element in (_EBML, _TRACKS) or (element == _GROUP and size <= MAX_BLOCK_BYTES)

    def _leave_out(self, end: int) -> list[Item]:
        if end > MAX_OTHER_BYTES:
            raise invalid("The WebM stream is damaged: an element is too long.")
        self._skip = max(0, end - len(self._buffer))
        del self._buffer[:end]
        return []

    def _read(self, element: int, body: bytes) -> list[Item]:
        if element == _EBML:
            self._track = None
            return []
        if element == _TRACKS:
            self._track, head = _opus_track(body)
            return [head]
        if self._track is None:
            raise invalid("The WebM stream has audio before its list of tracks.")
        if element == _SIMPLE_BLOCK:
            return [OpusPacket(data=data) for data in _packets(body, self._track)]
        return list(_group_packets(body, self._track))


def _group_packets(group: bytes, track: int) -> Iterator[OpusPacket]:
    packets: list[bytes] = []
    discarded = 0
    for element, body in _children(group):
        if element == _BLOCK:
            packets += _packets(body, track)
        elif element == _DISCARD_PADDING:
            nanoseconds = int.from_bytes(body[:_LONGEST_SIZE], signed=True)
            discarded = max(0, round(nanoseconds * OPUS_RATE / 1e9))
    return trimmed(packets, sum(map(packet_samples, packets)) - discarded)


def _opus_track(tracks: bytes) -> tuple[int, OpusHead]:
    """Number and head of the first track with Opus."""
    codecs = []
    for element, entry in _children(tracks):
        if element != _TRACK:
            continue
        fields = dict(_children(entry))
        codec = fields.get(_CODEC_ID, b"").rstrip(b"\0")
        if codec == _OPUS:
            if _CONTENT_ENCODINGS in fields:
                raise invalid("The WebM stream is compressed or encrypted.")
            return int.from_bytes(fields.get(_TRACK_NUMBER, b"")), read_head(fields.get(_CODEC_PRIVATE, b""))
        if codec.isascii() and codec.decode().isprintable():
            codecs.append(codec.decode()[:40])
    others = f" but {', '.join(codecs[:4])}" if any(codecs) else ""
    raise invalid(f"The WebM stream has no Opus track{others}.")


def _packets(block: bytes, track: int) -> list[bytes]:
    """The packets of one block that are not empty; none if it belongs to another track."""
    number = _number(block, 0, len(block))
    if number is None or len(block) < number[1] + 3:
        raise _broken()
    if number[0] != track:
        return []
    flags_at = number[1] + 2
    lacing, body = block[flags_at] >> 1 & 3, block[flags_at + 1 :]
    if not lacing:
        packets = [body]
    else:
        sizes, at = _lace_sizes(lacing, body)
        packets = []
        for size in sizes:
            packets.append(body[at : at + size])
            at += size
    return [packet for packet in packets if 0 < len(packet) <= MAX_PACKET_BYTES]


def _lace_sizes(lacing: int, body: bytes) -> tuple[list[int], int]:
    """Sizes of the packets that share a block, and where the first begins. Raises InvalidMedia if they do not fit."""
    if not body:
        raise _broken()
    count, at = body[0] + 1, 1
    sizes: list[int] = []
    if lacing == _FIXED_LACING:
        sizes = [(len(body) - at) // count] * (count - 1)
    for index in range(count - 1 if lacing != _FIXED_LACING else 0):
        if lacing == _XIPH_LACING:
            size, more = 0, 255
            while more == 255:
                if at == len(body):
                    raise _broken()
                more = body[at]
                size, at = size + more, at + 1
        else:
            number = _number(body, at, len(body))
            if number is None:
                raise _broken()
            length = number[1] - at
            # The first is a size, the others are differences, which may be negative.
            size = number[0] if index == 0 else sizes[-1] + number[0] - (2 ** (7 * length - 1) - 1)
            at = number[1]
        sizes.append(size)
    last = len(body) - at - sum(sizes)
    if last < 0 or min(sizes, default=0) < 0 or (lacing == _FIXED_LACING and sizes and last != sizes[0]):
        raise _broken()
    return [*sizes, last], at


def _children(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Elements that fill ``data``. Raises InvalidMedia if they do not."""
    at = 0
    while at < len(data):
        head = _element_head(data, at)
        if head is None or head[1] is None or head[2] + head[1] > len(data):
            raise _broken()
        element, size, at = head[0], head[1], head[2]
        yield element, data[at : at + size]
        at += size


def _element_head(data: bytes | bytearray, at: int) -> tuple[int, int | None, int] | None:
    """Id, size (None: unknown) and start of the body of the element at ``at``; None: it is not all there."""
    if at >= len(data):
        return None
    length = 9 - data[at].bit_length()
    if length > _LONGEST_ID:
        raise _broken()
    size_at = at + length
    if size_at >= len(data):
        return None
    if not data[size_at]:
        raise _broken()
    size = _number(data, size_at, len(data))
    if size is None:
        return None
    unknown = size[0] == 2 ** (7 * (size[1] - size_at)) - 1
    return int.from_bytes(data[at:size_at]), None if unknown else size[0], size[1]


def _number(data: bytes | bytearray, at: int, end: int) -> tuple[int, int] | None:
    """A number of variable length, and where it ends; None: it is not all there, or is none."""
    if at >= end:
        return None
    length = 9 - data[at].bit_length()
    if length > _LONGEST_SIZE or at + length > min(end, len(data)):
        return None
    return int.from_bytes(data[at : at + length]) & (1 << 7 * length) - 1, at + length


def _broken() -> InvalidMedia:
    return invalid("The WebM stream is damaged.")
