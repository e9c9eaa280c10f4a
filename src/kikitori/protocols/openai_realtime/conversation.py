"""The conversation: its items in order, and the audio that can be asked for again."""

from __future__ import annotations

import base64
import binascii
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kikitori.audio import pcm
from kikitori.protocols.actions import Encoding, InputFormat
from kikitori.protocols.openai_realtime.problems import Problem, invalid, too_long
from kikitori.types import SAMPLE_RATE, Audio

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ROOT = "root"
MAX_ITEMS = 4_000
"""Older items are forgotten."""
MAX_ITEM_BYTES = 500_000
"""JSON of an item without its audio: it is sent in one event."""
MAX_CONVERSATION_BYTES = 8_000_000
"""JSON of all items; older ones are forgotten."""
MAX_AUDIO_BYTES = 4_000_000
"""Audio of all items, some two minutes; older audio is forgotten, its item stays."""
MAX_KEPT_SECONDS = 30
"""Of one item: as long as turns by voice activity are at most."""
MAX_EVENT_BYTES = 1_000_000
"""An event with audio; clients refuse frames over 1 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyVoice:
    """How long a spoken reply is, and how far its text is said at which moment."""

    milliseconds: int
    marks: tuple[tuple[int, int], ...] = ()
    """Milliseconds and characters, rising."""

    def said_until(self, milliseconds: int) -> int:
        """Characters that were said by then; between two marks about as many as time has passed."""
        before = (0, 0)
        for mark in self.marks:
            if milliseconds < mark[0]:
                share = (milliseconds - before[0]) / (mark[0] - before[0])
                return before[1] + round(share * (mark[1] - before[1]))
            before = mark
        return before[1]


@dataclass(slots=True, eq=False)
class Item:
    """One item; ``body`` is what events show of it, without audio."""

    body: dict[str, Any]
    size: int
    heard: npt.NDArray[np.int16] | None = None
    """What the session heard, at 16 kHz."""
    given: bytes = b""
    """What the client put in, or a reply said, in the format of the session then."""
    unheard: dict[int, bytes] = field(default_factory=dict)
    """By their places in its content: parts the client put in, until somebody takes them to listen."""
    understood: dict[int, str] = field(default_factory=dict)
    """What they say, also where the client does not want to know."""
    voice: ReplyVoice | None = None
    """Of a spoken reply that is complete."""

    @property
    def audio_bytes(self) -> int:
        return (self.heard.nbytes if self.heard is not None else 0) + len(self.given)

    @property
    def read(self) -> dict[str, Any]:
        """The item as one reads it who answers."""
        if not self.understood:
            return self.body
        content = [
            {**part, "transcript": self.understood[at]} if at in self.understood else part
            for at, part in enumerate(self.body["content"])
        ]
        return {**self.body, "content": content}

    def forget_audio(self) -> None:
        self.heard, self.given = None, b""


class Conversation:
    """Items by id, in order. Bounded: what is oldest is forgotten first."""

    def __init__(self) -> None:
        self._items: OrderedDict[str, Item] = OrderedDict()
        self._bytes = 0
        self._audio_bytes = 0

    @property
    def last(self) -> str | None:
        return next(reversed(self._items), None)

    def __contains__(self, id: str) -> bool:
        return id in self._items

    def get(self, id: str) -> Item | None:
        return self._items.get(id)

    def place(self, after: str | None) -> str | None:
        """The id of the item that a new one will stand behind; None: in front. Raises Problem."""
        if not after:
            return self.last
        if after == ROOT:
            return None
        if after not in self._items:
            raise Problem("invalid_value", "There is no item with this previous_item_id.", "previous_item_id")
        return after

    def add(self, item: Item, previous: str | None) -> None:
        """Put an item behind ``previous``; None: in front."""
        id = item.body["id"]
        last = self.last
        self._items[id] = item
        if previous is None:
            self._items.move_to_end(id, last=False)
        elif previous != last:
            self._move_behind(id, previous)
        self._bytes += item.size
        self._audio_bytes += item.audio_bytes
        self._make_room(id)

    def remove(self, id: str) -> bool:
        item = self._items.pop(id, None)
        if item is None:
            return False
        self._bytes -= item.size
        self._audio_bytes -= item.audio_bytes
        return True

    def before(self, id: str) -> str | None:
        """The id of the item in front of this one."""
        previous = None
        for other in self._items:
            if other == id:
                return previous
            previous = other
        return None

    def items(self) -> list[dict[str, Any]]:
        """All of them, as one reads them who answers."""
        return [item.read for item in self._items.values()]

    def understand(self, id: str, text: str, index: int = 0) -> None:
        """What the audio of an item says, whether it is shown or not; ``index``: of which part of it."""
        if item := self._items.get(id):
            item.understood[index] = text
            item.size += len(text)
            self._bytes += len(text)

    def change(self, id: str, body: dict[str, Any], audio: bytes = b"", voice: ReplyVoice | None = None) -> None:
        """An item that was begun is complete, or was cut."""
        if (item := self._items.get(id)) is None:
            return
        size = len(json.dumps(body))
        self._bytes += size - item.size
        self._audio_bytes += len(audio) - item.audio_bytes
        item.body, item.size, item.heard, item.given, item.voice = body, size, None, audio, voice
        self._make_room(id)

    def hear(self, id: str, transcript: str, index: int = 0) -> None:
        """The audio of an item has become text."""
        if (item := self._items.get(id)) is None:
            return
        content = list(item.body["content"])
        content[index] = {**content[index], "transcript": transcript}
        item.body = {**item.body, "content": content}
        self._bytes += len(transcript)
        item.size += len(transcript)

    def _move_behind(self, id: str, previous: str) -> None:
        """Everything that stands behind ``previous`` goes behind the item, which is the last one now."""
        ids = list(self._items)
        for other in ids[ids.index(previous) + 1 : -1]:
            self._items.move_to_end(other)

    def _make_room(self, newest: str) -> None:
        while len(self._items) > MAX_ITEMS or self._bytes > MAX_CONVERSATION_BYTES:
            self.remove(next(id for id in self._items if id != newest))
        if self._audio_bytes > MAX_AUDIO_BYTES:
            for id, item in self._items.items():
                if id != newest and self._audio_bytes > MAX_AUDIO_BYTES:
                    self._audio_bytes -= item.audio_bytes
                    item.forget_audio()


def spoken(id: str, audio: Audio) -> Item:
    """What a turn becomes when it is committed. Of a long one, what could not be sent anyway is not kept."""
    part = {"type": "input_audio", "transcript": None}
    body = {"id": id, "type": "message", "role": "user", "status": "completed", "content": [part]}
    return Item(body, len(json.dumps(body)), heard=_to_int16(audio[: MAX_KEPT_SECONDS * SAMPLE_RATE]))


def with_audio(item: Item, format: InputFormat) -> dict[str, Any]:
    """The item as ``conversation.item.retrieved`` shows it: audio in the session's format, as far as it fits."""
    if not item.audio_bytes:
        return item.body
    room = (MAX_EVENT_BYTES - len(json.dumps(item.body))) * 3 // 4
    data = item.given or _encoded(item, format, room)
    audio = base64.b64encode(data[: room - room % 6]).decode()
    content = list(item.body["content"])
    first = next(number for number, part in enumerate(content) if part["type"] in ("input_audio", "output_audio"))
    content[first] = {**content[first], "audio": audio}
    return {**item.body, "content": content}


def decoded_audio(value: Any, param: str, *, most: int) -> bytes:
    """Base64 as bytes. Raises Problem."""
    if not isinstance(value, str):
        raise invalid(param, value, "audio in base64")
    if len(value) > -(-most // 3) * 4:
        raise too_long(param, f"{most:,} bytes of audio")
    try:
        data = binascii.a2b_base64(value, strict_mode=True)
    except ValueError as exc:
        raise Problem("invalid_value", f"{param} is not base64.", param) from exc
    if not data:
        raise Problem("invalid_value", f"{param} is empty.", param)
    if len(data) > most:
        raise too_long(param, f"{most:,} bytes of audio")
    return data


def item_size(body: Mapping[str, Any]) -> int:
    """Bytes of an item in an event. Raises Problem when that is too much."""
    size = len(json.dumps(body))
    if size > MAX_ITEM_BYTES:
        raise too_long("item", f"{MAX_ITEM_BYTES:,} bytes without audio")
    return size


_ENCODINGS = {Encoding.S16LE: pcm.Encoding.S16LE, Encoding.MULAW: pcm.Encoding.MULAW, Encoding.ALAW: pcm.Encoding.ALAW}


def _encoded(item: Item, format: InputFormat, room: int) -> bytes:
    encoding = _ENCODINGS[format.encoding]
    assert item.heard is not None
    seconds = room / (encoding.width * format.rate)
    samples = item.heard[: round((seconds + 0.1) * SAMPLE_RATE)]
    resampler = pcm.Resampler(SAMPLE_RATE, format.rate)
    audio = pcm.to_float(samples.tobytes(), pcm.Encoding.S16LE)
    wanted = round(len(samples) * format.rate / SAMPLE_RATE)
    data = pcm.from_float(resampler.push(audio), encoding) + pcm.from_float(resampler.flush(), encoding)
    return data[: wanted * encoding.width]


def _to_int16(audio: Audio) -> npt.NDArray[np.int16]:
    import numpy as np

    return np.frombuffer(pcm.from_float(audio, pcm.Encoding.S16LE), np.int16)
