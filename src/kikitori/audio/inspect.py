"""What is in a recording or a film, as its container tells it. Nothing is decoded but what the container needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from av.audio.stream import AudioStream
from av.stream import Stream
from av.video.stream import VideoStream

from kikitori.audio.frames import FOREIGN, open_media, safe_layout
from kikitori.audio.reader import open_reader
from kikitori.types import Media

MAX_STREAMS = 100
MAX_TAGS = 100
MAX_TAG_LENGTH = 2_000
"""Of a name or a text: a file may hold megabytes of them."""
OWN_TAGS = ("language", "title")
"""Tags of a stream that are fields of their own."""

UNDETERMINED = "und"
"""A language, in the words of containers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """One track. What the file does not say is None or empty."""

    index: int
    kind: str
    """``audio``, ``video``, ``subtitle``, ``data`` or ``attachment``."""
    codec: str
    """Empty: not known here, so it cannot be decoded."""
    duration: float | None = None
    """Seconds."""
    bit_rate: int | None = None
    language: str = ""
    title: str = ""
    default: bool = False
    sample_rate: int | None = None
    channels: int | None = None
    layout: str = ""
    """Empty, too, where only the number of channels is known."""
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFacts:
    """One file. None of it is sure before decoding."""

    container: str
    duration: float | None
    """Seconds."""
    bit_rate: int | None
    tags: Mapping[str, str]
    streams: tuple[StreamInfo, ...]
    """The first MAX_STREAMS of them."""


def inspect(media: Media) -> MediaFacts:
    """Look at the head of ``media``. Blocking. Raises InvalidMedia."""
    with closing(open_reader(media)) as reader, open_media(reader) as container:
        return MediaFacts(
            container=container.format.name,
            duration=_seconds(container.duration, 1e-6),
            bit_rate=_positive(lambda: container.bit_rate),
            tags=_tags(container.metadata),
            streams=tuple(_stream(stream) for stream, _ in zip(container.streams, range(MAX_STREAMS), strict=False)),
        )


def _stream(stream: Stream) -> StreamInfo:
    codec: Any = stream.codec_context  # None where there is no decoder: such a stream must not be touched
    known = codec is not None
    tags = _tags(stream.metadata)
    facts: dict[str, Any] = {}
    if known and isinstance(stream, AudioStream):
        layout = safe_layout(codec)
        facts = {
            "sample_rate": _positive(lambda: codec.sample_rate),
            "channels": _positive(lambda: layout.nb_channels),
            "layout": _text(lambda: layout.name if " channels" not in layout.name else ""),
        }
    elif known and isinstance(stream, VideoStream):
        facts = {
            "width": _positive(lambda: codec.width),
            "height": _positive(lambda: codec.height),
            "frame_rate": _rate(stream),
        }
    return StreamInfo(
        index=stream.index,
        kind=stream.type or "data",
        codec=_text(lambda: codec.codec.canonical_name) if known else "",
        duration=_seconds(stream.duration, float(stream.time_base)) if stream.time_base else None,
        bit_rate=_positive(lambda: codec.bit_rate) if known else None,
        language="" if tags.get("language") == UNDETERMINED else tags.get("language", ""),
        title=tags.get("title", ""),
        default=bool(_positive(lambda: int(stream.disposition) & 1)),
        tags={name: text for name, text in tags.items() if name not in OWN_TAGS},
        **facts,
    )


def _tags(metadata: Mapping[str, str]) -> dict[str, str]:
    return {
        name[:MAX_TAG_LENGTH]: text[:MAX_TAG_LENGTH]
        for (name, text), _ in zip(metadata.items(), range(MAX_TAGS), strict=False)
    }


def _seconds(ticks: int | None, unit: float) -> float | None:
    seconds = (ticks or 0) * unit
    return round(seconds, 6) if 0 < seconds < math.inf else None


def _rate(stream: VideoStream) -> float | None:
    rate = stream.average_rate
    return round(float(rate), 3) if rate else None


def _positive(read: Callable[[], int | None]) -> int | None:
    """What a damaged file says may be nonsense, or an error of PyAV."""
    try:
        value = read() or 0
    except FOREIGN:
        return None
    return value if value > 0 else None


def _text(read: Callable[[], str | None]) -> str:
    try:
        return read() or ""
    except FOREIGN:
        return ""
