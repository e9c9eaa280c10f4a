"""One round of the plain WebSocket: what its session says → frames, each text once."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kikitori.errors import KikitoriError
from kikitori.live.events import (
    Cleared,
    CommitRefused,
    Committed,
    Degraded,
    EndReason,
    Final,
    FinalFailed,
    Interim,
    Lag,
    LiveEvent,
    Translating,
    Translation,
    TranslationFailed,
)
from kikitori.protocols.actions import Action, Send
from kikitori.protocols.live_frames import AudioId, error_frame, frame
from kikitori.types import SAMPLE_RATE, Word

REMEMBERED_FINALS = 64
"""Utterances whose final text is remembered, to send no text twice."""
TIME_DIGITS = 3
"""Digits of a second."""
SESSION_ID_CHARACTERS = 16


@dataclass(slots=True)
class Round:
    """From ``start`` to ``ended``. Says nothing while the rounds in ``after`` still have something to say."""

    stream: str
    lang: str = "auto"
    audio_id: AudioId | None = None
    interim: bool = True
    resumable: bool = False
    ignored: tuple[str, ...] = ()
    after: set[str] = field(default_factory=set)
    ready: bool = False
    fed: bool = False
    """Has been given audio."""
    ending: bool = False
    over: bool = False
    commits: deque[AudioId | None] = field(default_factory=deque)
    """Commits that the session has not answered, by the ``id`` the client gave."""
    _committed: dict[int, AudioId | None] = field(default_factory=dict)
    _interim: tuple[int, str] | None = None
    _finals: dict[int, str] = field(default_factory=dict)
    _held: list[Action] = field(default_factory=list)

    # What happened → frames

    def opened(self, token: str, samples: int, *, resumed: bool) -> Sequence[Action]:
        """The session is there, or there again."""
        self.ready = True
        self.resumable = self.resumable or resumed
        facts: dict[str, Any] = {"session": _session_id(token), "token": token, "samples": samples}
        if resumed:
            return self._say(self._frame("resumed", **facts))
        greeting = f"Speech recognition started: language - {self.lang}"
        started = self._frame("system", message=greeting, ignored=list(self.ignored) or None)
        return self._say(started, *([self._frame("session", **facts)] if self.resumable else []))

    def received(self, samples: int) -> Sequence[Action]:
        """So many samples need not be sent again."""
        return self._say(self._frame("ack", slot="ack", samples=samples)) if self.resumable else ()

    def failed(self, error: KikitoriError) -> Sequence[Action]:
        return self._say(error_frame(error, audio_id=self.audio_id))

    def ended(self) -> Sequence[Action]:
        return self._say(self._frame("ended"))

    def event(self, event: LiveEvent) -> Sequence[Action]:
        return self._say(*self._frames(event))

    def release(self, stream: str) -> Sequence[Action]:
        """A round before this one is over. What was held comes out when it was the last."""
        if stream not in self.after:
            return ()
        self.after.discard(stream)
        if self.after:
            return ()
        held, self._held = self._held, []
        return held

    def _frames(self, event: LiveEvent) -> Sequence[Send]:
        match event:
            case Interim():
                return self._on_interim(event)
            case Final():
                return (*self._on_final(event), *self._on_done(event.utterance))
            case FinalFailed():
                failure = self._frame(
                    "error", message=event.message, code=event.code, **_place(event.utterance, event.start, event.end)
                )
                return (failure, *self._on_done(event.utterance))
            case Committed(reason=EndReason.COMMIT):
                self._committed[event.utterance] = self.commits.popleft() if self.commits else None
            case CommitRefused():
                asked = self.commits.popleft() if self.commits else None
                message = "There is not enough speech to end: less than 100 ms. It is kept; send more."
                return [self._frame("error", message=message, code="commit_empty", id=asked)]
            case Cleared():
                self._interim = None
                return [self._frame("cleared", utterance=event.utterance)]
            case Degraded():
                return [self._frame("degraded", slot="degraded", level=event.level)]
            case Lag():
                return [self._frame("lag", slot="lag", seconds=round(event.seconds, TIME_DIGITS))]
            case Translating():
                return [self._frame("translating", session=event.session, lang=event.language)]
            case Translation() | TranslationFailed():
                return self._on_translation(event)
        return ()

    def _on_interim(self, event: Interim) -> Sequence[Send]:
        text = event.text
        late = event.utterance in self._finals
        if not self.interim or late or self._interim == (event.utterance, text):
            return ()
        if not text and (self._interim is None or self._interim[0] != event.utterance):
            return ()
        self._interim = (event.utterance, text)
        return [
            self._frame(
                "interim",
                slot=f"interim:{event.utterance}",
                text=text,
                stable=event.stable,
                revision=event.revision,
                **_place(event.utterance, event.start, event.end),
            )
        ]

    def _on_final(self, event: Final) -> Sequence[Send]:
        shown, self._interim = self._interim, None
        if self._finals.get(event.utterance) == event.text:
            return ()
        self._finals[event.utterance] = event.text
        if len(self._finals) > REMEMBERED_FINALS:
            del self._finals[next(iter(self._finals))]
        place = _place(event.utterance, event.start, event.end)
        if event.text:
            words = [_word(word) for word in event.words]
            return [
                self._frame(
                    "final",
                    text=event.text,
                    language=event.language or None,
                    reason=event.reason.value,
                    words=words,
                    **place,
                )
            ]
        if shown and shown[0] == event.utterance and shown[1]:  # it was no speech: nothing may stay on the screen
            return [self._frame("interim", slot=f"interim:{event.utterance}", text="", stable="", **place)]
        return ()

    def _on_translation(self, event: Translation | TranslationFailed) -> Sequence[Send]:
        """All of it so far, so that the newest alone is enough."""
        failed = True if isinstance(event, TranslationFailed) else None
        told = self._frame(
            "translation",
            slot=f"translation:{event.utterance}",
            utterance=event.utterance,
            text=event.text,
            lang=event.language,
            done=isinstance(event, TranslationFailed) or event.done,
            failed=failed,
        )
        if not isinstance(event, TranslationFailed) or event.repeated:
            return [told]
        return [told, self._frame("notice", message=event.message, code=event.code, utterance=event.utterance)]

    def _on_done(self, utterance: int) -> Sequence[Send]:
        """The answer to a commit comes after its final."""
        if utterance not in self._committed:
            return ()
        return [self._frame("committed", id=self._committed.pop(utterance), utterance=utterance)]

    def _frame(self, kind: str, *, slot: str = "", **fields: Any) -> Send:
        """``slot`` is this round's own."""
        return frame(kind, slot=slot and f"{slot}:{self.stream}", audio_id=self.audio_id, **fields)

    def _say(self, *frames: Send) -> Sequence[Action]:
        if not self.after:
            return frames
        for item in frames:
            if item.slot:  # the newest alone is worth holding
                self._held = [held for held in self._held if not (isinstance(held, Send) and held.slot == item.slot)]
            self._held.append(item)
        return ()


def _session_id(token: str) -> str:
    """Names the session in logs and messages without giving it away."""
    return hashlib.sha256(token.encode()).hexdigest()[:SESSION_ID_CHARACTERS]


def _place(utterance: int, start: int, end: int) -> dict[str, Any]:
    """Which utterance, and where: samples → seconds since the start of the round."""
    return {"utterance": utterance, "start": _seconds(start / SAMPLE_RATE), "end": _seconds(end / SAMPLE_RATE)}


def _word(word: Word) -> dict[str, Any]:
    return {
        "word": word.word,
        "start": _seconds(word.start),
        "end": _seconds(word.end),
        "probability": round(word.probability, TIME_DIGITS),
    }


def _seconds(value: float) -> float:
    return round(value, TIME_DIGITS)
