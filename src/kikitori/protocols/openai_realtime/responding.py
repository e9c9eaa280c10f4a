"""Responses in a conversation: when one is made, what it knows, what stops it. Without sockets, models and voices.

A response of the conversation waits until everything that was said is understood; then it asks for a ``Reply``, whose
events come back here. What the client has to hear are events; what has to be done are actions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from kikitori.live.events import (
    Cleared,
    CommitRefused,
    Committed,
    EndReason,
    Final,
    FinalFailed,
    LiveEvent,
    SpeechStarted,
)
from kikitori.llm.talking import Called, Ended, Said
from kikitori.protocols.actions import Action, AwaitSpeech, Reply, StopReply
from kikitori.protocols.openai_realtime.asking import Asked, asked
from kikitori.protocols.openai_realtime.checks import MAX_NAME, text
from kikitori.protocols.openai_realtime.context import chat_tool_choice, chat_tools, messages, tokens
from kikitori.protocols.openai_realtime.conversation import Conversation
from kikitori.protocols.openai_realtime.fields import REALTIME
from kikitori.protocols.openai_realtime.given_audio import GivenAudio
from kikitori.protocols.openai_realtime.hearing import Hearing
from kikitori.protocols.openai_realtime.problems import SERVER_ERROR, Problem
from kikitori.protocols.openai_realtime.responses import Response, Status
from kikitori.protocols.openai_realtime.sessions import Session
from kikitori.replies.events import ReplyEvent, ReplyFailed, ReplyRequest, ReplySound, ReplySpoken, Spoken

Event = dict[str, Any]
Output: TypeAlias = Event | Action
"""What the client hears, or what is to be done."""

MAX_BESIDE = 4
"""Responses beside the conversation at a time."""
MAX_REPLY = 100_000
"""Characters of a response: it is sent in one event at its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replies:
    """What the server can do."""

    configured: bool = False
    """There is a language model."""
    context_tokens: int = 8_192


class Responder(Protocol):
    """Answers in a conversation."""

    @property
    def listens(self) -> bool:
        """What is said is wanted as text, even where the client does not ask for it."""
        ...

    def create(self, event: Mapping[str, Any]) -> list[Output]:
        """A ``response.create``. Raises Problem."""
        ...

    def cancel(self, event: Mapping[str, Any]) -> list[Output]:
        """A ``response.cancel``. Raises Problem."""
        ...

    def check_update(self, before: Session, after: Session) -> None:
        """Raises Problem for what cannot change any more."""
        ...

    def updated(self) -> list[Output]:
        """The session is another one."""
        ...

    def understood(self) -> list[Output]:
        """An item has become text, or never will."""
        ...

    def heard(self, event: LiveEvent) -> list[Output]:
        """The session said something; ``Hearing`` knows it already."""
        ...

    def told(self, id: str, event: ReplyEvent) -> list[Output]:
        """A reply goes on; one that is not known any more is stopped already."""
        ...


class ModelResponder:
    """One conversation's responses. ``session`` gives the object as it is now."""

    def __init__(
        self,
        replies: Replies,
        conversation: Conversation,
        hearing: Hearing,
        given: GivenAudio,
        *,
        session: Callable[[], Session],
        new_id: Callable[[str], str],
    ) -> None:
        self._replies, self._conversation, self._hearing, self._given = replies, conversation, hearing, given
        self._session, self._new_id = session, new_id
        self._conversation_id = ""
        self._running: dict[str, Response] = {}
        self._lengths: dict[str, int] = {}
        """Characters of each so far."""
        self._waiting: dict[str, set[str] | None] = {}
        """Responses that have not begun to be made, and the items that are not understood yet; None: a commit is on
        its way, and which items those are is not known."""
        self._owed = False
        """A turn has ended that wants an answer."""
        self._said = False
        """Something was understood since the last answer."""
        self._misheard: FinalFailed | None = None
        self._has_spoken = False
        self._awaits = False
        """The session tells when nobody speaks after the last response."""

    @property
    def listens(self) -> bool:
        return self._replies.configured and self._session()["type"] == REALTIME

    # What the client asks

    def create(self, event: Mapping[str, Any]) -> list[Output]:
        if self._session()["type"] != REALTIME:
            raise Problem(
                "invalid_value", "A transcription session has no responses. Open /v1/realtime?model=….", "type"
            )
        wanted = asked(event, self._session(), self._conversation, self._new_id)
        if wanted.in_conversation and self._active is not None:
            raise Problem(
                "conversation_already_has_active_response",
                f"The conversation has a response already: {self._active.id}. Wait until it is done, or cancel it.",
            )
        if not wanted.in_conversation and len(self._running) >= MAX_BESIDE:
            raise Problem("rate_limit_exceeded", f"{MAX_BESIDE} responses are running. Wait until one is done.")
        listening = self._given.take(*(wanted.context or ())) if self.listens else []
        return [*self._make(wanted), *listening]

    def cancel(self, event: Mapping[str, Any]) -> list[Output]:
        id = event.get("response_id")
        if id is not None:
            text(MAX_NAME)(id, "response_id")
        response = self._active if id is None else self._running.get(id)
        if response is None:
            param = None if id is None else "response_id"
            raise Problem("response_cancel_not_active", "There is no response that could be cancelled.", param)
        return self._stop(response, "client_cancelled")

    def check_update(self, before: Session, after: Session) -> None:
        if not self._has_spoken or after["type"] != REALTIME:
            return
        if before["audio"]["output"]["voice"] != after["audio"]["output"]["voice"]:
            raise Problem(
                "cannot_update_voice",
                "The voice cannot change once it was heard. response.create may name another one.",
                "session.audio.output.voice",
            )

    def updated(self) -> list[Output]:
        return [] if self._patience else self._await_nobody()

    def understood(self) -> list[Output]:
        return self._go_on()

    # What the session hears

    def heard(self, event: LiveEvent) -> list[Output]:
        if not self.listens:
            return []
        match event:
            case SpeechStarted():
                if self._active is not None and self._turns("interrupt_response"):
                    return self._stop(self._active, "turn_detected")
            case Committed(reason=EndReason.UNBROKEN):
                self._owed = self._said = self._active is None
                self._awaits = False
                return self._go_on()
            case Committed():
                if event.reason in (EndReason.PAUSE, EndReason.LONGEST):
                    self._owed = self._owed or self._turns("create_response")
                return self._go_on()
            case Final(text=words):
                self._said = self._said or bool(words.strip())
                return self._go_on()
            case FinalFailed():
                self._misheard = event
                return self._go_on()
            case Cleared() | CommitRefused():
                return self._go_on()
        return []

    def _turns(self, name: str) -> bool:
        detection = self._session()["audio"]["input"]["turn_detection"]
        return bool(detection and detection[name])

    def _go_on(self) -> list[Output]:
        """Begin what has waited to understand, and answer a turn when nobody speaks any more."""
        outputs: list[Output] = []
        for id, known in list(self._waiting.items()):
            if known is None and self._hearing.committing:
                continue
            unclear = self._hearing.not_understood
            items = self._waiting[id] = unclear if known is None else known & unclear
            if not items:
                outputs += self._begin(self._running[id])
        if self._owed and self._active is None and not self._hearing.speaking and not self._hearing.not_understood:
            outputs += self._answer()
        return outputs

    def _answer(self) -> list[Output]:
        """The turn that has ended is answered, if there was something in it."""
        said, misheard = self._said, self._misheard
        self._owed, self._said, self._misheard = False, False, None
        if not said and misheard is None:
            return self._await_speech(0.0) if self._awaits else []
        wanted = asked({}, self._session(), self._conversation, self._new_id)
        if said or misheard is None:
            return self._make(wanted)
        response = self._new_response(wanted)
        return [*response.begin(), *self._fail(response, misheard.code, misheard.message)]

    # Responses

    @property
    def _active(self) -> Response | None:
        """The conversation's own."""
        return next((each for each in self._running.values() if each.asked.in_conversation), None)

    def _new_response(self, wanted: Asked) -> Response:
        self._conversation_id = self._conversation_id or self._new_id("conv")
        response = Response(
            wanted,
            conversation=self._conversation if wanted.in_conversation else None,
            conversation_id=self._conversation_id,
            new_id=self._new_id,
        )
        self._running[response.id] = response
        self._lengths[response.id] = 0
        return response

    def _make(self, wanted: Asked) -> list[Output]:
        response = self._new_response(wanted)
        if wanted.in_conversation:
            self._owed, self._said, self._misheard = False, False, None
        self._waiting[response.id] = self._unclear(wanted)
        begun = self._begin(response) if self._waiting[response.id] == set() else []
        return [*(self._await_nobody() if wanted.in_conversation else []), *response.begin(), *begun]

    def _unclear(self, wanted: Asked) -> set[str] | None:
        """What has to be understood first; None: that is not known yet."""
        if not self.listens:  # it fails, whatever was said
            return set()
        if wanted.context is not None:
            return self._hearing.not_understood & {item.body["id"] for item in wanted.context}
        return None if self._hearing.committing else self._hearing.not_understood

    def _begin(self, response: Response) -> list[Output]:
        del self._waiting[response.id]
        wanted = response.asked
        items = self._conversation.items() if wanted.context is None else [item.read for item in wanted.context]
        read = messages(items, wanted.instructions, context_tokens=self._replies.context_tokens)
        response.input_tokens = sum(map(tokens, read))
        tools = chat_tools(wanted.tools)
        encoding, rate = wanted.sound
        spoken = Spoken(
            voice=wanted.voice_name,
            speed=wanted.speed,
            language=self._hearing.language,
            encoding=encoding,
            rate=rate,
        )
        request = ReplyRequest(
            messages=read,
            spoken=spoken if response.speaks else None,
            tools=tools,
            tool_choice=chat_tool_choice(wanted.tool_choice) if tools else None,
            max_tokens=None if wanted.max_output_tokens == "inf" else wanted.max_output_tokens,
            temperature=wanted.temperature,
            parallel_tool_calls=wanted.parallel_tool_calls if tools else None,
            effort=wanted.effort,
        )
        return [Reply(id=response.id, request=request)]

    def told(self, id: str, event: ReplyEvent) -> list[Output]:
        response = self._running.get(id)
        if response is None:
            return []
        match event:
            case Said(text=delta):
                return self._within_limit(response, len(delta), response.text(delta))
            case Called(arguments=arguments):
                return self._within_limit(response, len(arguments), response.call(event))
            case ReplySound(data=data):
                self._has_spoken = self._has_spoken or response.asked.in_conversation
                return [*response.sound(data)]
            case ReplySpoken(characters=characters):
                response.spoken(characters)
                return []
            case Ended():
                return self._end(response, *_ending(event.reason), event.usage)
            case ReplyFailed():
                return self._fail(response, event.code, event.message)

    def _within_limit(self, response: Response, length: int, events: list[Event]) -> list[Output]:
        self._lengths[response.id] += length
        if self._lengths[response.id] <= MAX_REPLY:
            return [*events]
        limit = {"reason": "max_output_tokens"}
        return [*events, StopReply(id=response.id), *self._end(response, Status.INCOMPLETE, limit)]

    def _stop(self, response: Response, reason: str) -> list[Output]:
        stop = [] if response.id in self._waiting else [StopReply(id=response.id)]
        return [*stop, *self._end(response, Status.CANCELLED, {"reason": reason})]

    def _fail(self, response: Response, code: str, message: str) -> list[Output]:
        error = {"type": SERVER_ERROR, "code": code, "message": message}
        return self._end(response, Status.FAILED, {"error": error})

    def _end(
        self, response: Response, status: Status, details: Mapping[str, Any] | None, usage: Any = None
    ) -> list[Output]:
        del self._running[response.id], self._lengths[response.id]
        self._waiting.pop(response.id, None)
        answers = response.asked.in_conversation and status is not Status.FAILED
        waits = self._await_speech(response.sound_seconds) if answers else []
        return [*response.finish(status, details, usage), *waits, *self._go_on()]

    # Silence after a response

    @property
    def _patience(self) -> float | None:
        """Seconds in which somebody should speak after a response."""
        detection = self._session()["audio"]["input"]["turn_detection"]
        timeout = detection.get("idle_timeout_ms") if detection else None
        return timeout / 1_000 if timeout else None

    def _await_speech(self, after: float) -> list[Output]:
        """``after``: so long is what was said still to be heard."""
        patience = self._patience
        self._awaits = patience is not None
        return [AwaitSpeech(after=after, patience=patience)] if patience else []

    def _await_nobody(self) -> list[Output]:
        waited, self._awaits = self._awaits, False
        return [AwaitSpeech(patience=None)] if waited else []


def _ending(reason: str) -> tuple[Status, Mapping[str, Any] | None]:
    if reason == "length":
        return Status.INCOMPLETE, {"reason": "max_output_tokens"}
    if reason == "content_filter":
        return Status.INCOMPLETE, {"reason": "content_filter"}
    return Status.COMPLETED, None
