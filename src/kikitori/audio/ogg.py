"""Opus packets out of an Ogg stream that comes in pieces (RFC 3533, RFC 7845)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from kikitori.audio.opus import MAGIC, MAX_PACKET_BYTES, Item, OpusPacket, invalid, read_head, trimmed

_CAPTURE = b"OggS"
_PAGE = struct.Struct("<4sBBqIIIB")
"""Capture pattern, version, flags, granule, serial, sequence, checksum, number of segments."""
_CHECKSUM_AT = 22
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_NO_GRANULE = -1

MAX_LOST_BYTES = 1 << 17
"""Between two good pages: two of the longest."""
MAX_BAD_PAGES = 8
"""In a row, with a wrong checksum."""
MAX_IDLE_PAGES = 4_096
"""In a row without Opus."""

_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def page_checksum(page: bytes | bytearray) -> int:
    """Ogg's checksum of a page whose own is 0: that of zlib, with all bits the other way round."""
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{crc:032b}"[::-1], 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    flags: int
    granule: int
    serial: int
    sequence: int
    lacing: bytes
    body: bytes


class OggReader:
    """Opus packets, as soon as their page is there. Chained streams follow each other; other tracks are left out.

    Holds one page and one unfinished packet at most. A page with a wrong checksum is left out.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._begun = False
        self._lost = self._bad_pages = self._idle_pages = 0
        self._serial: int | None = None
        self._headers_left = 0
        self._sequence = 0
        self._granule = 0
        self._packet: bytearray | None = None
        """The packet that the next page continues; None: its beginning is missing."""

    def push(self, data: bytes) -> Iterator[Item]:
        self._buffer += data
        while (page := self._next_page()) is not None:
            items = self._read(page)
            self._idle_pages = 0 if items else self._idle_pages + 1
            if self._idle_pages > MAX_IDLE_PAGES:
                raise invalid("The Ogg stream has no audio.")
            yield from items

    def finish(self) -> None:
        if self._serial is None and (self._begun or self._buffer):
            raise invalid("The Ogg stream ended before its audio began.")

    def _next_page(self) -> _Page | None:
        """The next good page, taken out of the buffer; None: more bytes are needed."""
        buffer, at = self._buffer, 0
        page = None
        while page is None:
            at = self._find_capture(at)
            if len(buffer) < at + _PAGE.size:
                break
            count = buffer[at + _PAGE.size - 1]
            lacing = bytes(buffer[at + _PAGE.size : at + _PAGE.size + count])
            end = at + _PAGE.size + count + sum(lacing)
            if len(lacing) < count or len(buffer) < end:
                break
            page = self._checked(bytes(buffer[at:end]), lacing)
            at = at + len(_CAPTURE) if page is None else end
        del buffer[:at]
        return page

    def _find_capture(self, at: int) -> int:
        """Where the next page begins, or may begin."""
        if self._buffer.startswith(_CAPTURE[: len(self._buffer) - at], at):
            return at
        if not self._begun:
            raise invalid("This is no Ogg stream.")
        found = self._buffer.find(_CAPTURE, at)
        if found < 0:
            found = max(at, len(self._buffer) - len(_CAPTURE) + 1)
        self._lost += found - at
        if self._lost > MAX_LOST_BYTES:
            raise invalid("The Ogg stream is damaged.")
        return found

    def _checked(self, page: bytes, lacing: bytes) -> _Page | None:
        _, version, flags, granule, serial, sequence, checksum, _ = _PAGE.unpack_from(page)
        blank = page[:_CHECKSUM_AT] + bytes(4) + page[_CHECKSUM_AT + 4 :]
        if version != 0 or page_checksum(blank) != checksum:
            self._bad_pages += 1
            if not self._begun or self._bad_pages > MAX_BAD_PAGES:
                raise invalid("The Ogg stream is damaged.")
            return None
        self._begun = True
        self._lost = self._bad_pages = 0
        body = page[_PAGE.size + len(lacing) :]
        return _Page(flags=flags, granule=granule, serial=serial, sequence=sequence, lacing=lacing, body=body)

    def _read(self, page: _Page) -> list[Item]:
        if page.flags & _FIRST:
            return self._begin(page)
        if self._serial is None:
            raise invalid("The Ogg stream has no Opus track.")
        if page.serial != self._serial:
            return []
        packets = self._packets(page)
        headers = min(self._headers_left, len(packets))
        self._headers_left -= headers
        packets = [data for data in packets[headers:] if 0 < len(data) <= MAX_PACKET_BYTES]
        before = self._granule
        if page.granule != _NO_GRANULE:
            self._granule = page.granule
            if page.flags & _LAST and before <= page.granule:
                return list(trimmed(packets, page.granule - before))
        return [OpusPacket(data=data) for data in packets]

    def _begin(self, page: _Page) -> list[Item]:
        """A track begins. Of those that begin together the first one with Opus is heard."""
        if not page.body.startswith(MAGIC) or (self._serial is not None and self._headers_left):
            return []
        head = read_head(page.body)
        self._serial, self._sequence = page.serial, page.sequence
        self._headers_left = 1  # the comments
        self._granule = 0
        self._packet = bytearray()
        return [head]

    def _packets(self, page: _Page) -> list[bytes]:
        """Packets that end on ``page``, the one it continues first. What is too long is cut off as too long."""
        packet = self._packet
        if page.sequence != (self._sequence + 1) % 2**32:
            packet = None  # pages are missing
        self._sequence = page.sequence
        if not page.flags & _CONTINUED:
            packet = bytearray()
        elif not packet:
            packet = None
        packets: list[bytes] = []
        at = 0
        for size in page.lacing:
            if packet is not None and len(packet) <= MAX_PACKET_BYTES:
                packet += page.body[at : at + size]
            at += size
            if size < 255:
                if packet is not None:
                    packets.append(bytes(packet))
                packet = bytearray()
        self._packet = packet
        return packets
