"""One socket of OpenAI's Realtime protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kikitori.errors import KikitoriError
from kikitori.live.events import LiveEvent
from kikitori.live.options import LiveOptions, TurnDetection
from kikitori.protocols.actions import Action, Clear, Close, Commit, Configure, End, Feed, Open, Send
from kikitori.protocols.openai_realtime import beta, item_events
from kikitori.protocols.openai_realtime.checks import MAX_NAME, mapping
from kikitori.protocols.openai_realtime.conversation import Conversation, decoded_audio
from kikitori.protocols.openai_realtime.fields import LOGPROBS, REALTIME, TRANSCRIPTION, checked_change, kind_of
from kikitori.protocols.openai_realtime.given_audio import Ear, GivenAudio
from kikitori.protocols.openai_realtime.hearing import Hearing
from kikitori.protocols.openai_realtime.ids import new_id
from kikitori.protocols.openai_realtime.items import MAX_APPEND_BYTES
from kikitori.protocols.openai_realtime.listening import input_format, live_options
from kikitori.protocols.openai_realtime.problems import (
    INVALID_REQUEST,
    REFUSED_CLOSE,
    Problem,
    close_code_of,
    close_reason,
    invalid,
    missing,
    problem_of,
)
from kikitori.protocols.openai_realtime.responding import ModelResponder, Output, Replies, Responder
from kikitori.protocols.openai_realtime.sessions import as_transcription, merged
from kikitori.protocols.openai_realtime.starting import Models, Start, check_asr_model, from_config, from_query
from kikitori.replies.events import ReplyEvent

EXPIRED_CLOSE = 1001
NO_REPLIES = Replies()

Event = dict[str, Any]
Handler = Callable[[Event], Sequence[Action]]


class RealtimeCodec:
    """A Codec. ``session_config`` is what a client secret was made with; it decides instead of the query.

    ``defaults`` say what OpenAI's sessions do not; ``models`` knows the names of models; ``now`` gives Unix seconds;
    ``replies`` says whether the server can answer.
    """

    def __init__(
        self,
        defaults: LiveOptions,
        *,
        intent: str,
        model: str,
        beta: bool,
        models: Models,
        now: Callable[[], float],
        session_config: Mapping[str, Any] | None = None,
        new_id: Callable[[str], str] = new_id,
        replies: Replies = NO_REPLIES,
    ) -> None:
        self._defaults, self._models, self._now, self._new_id = defaults, models, now, new_id
        self._asked = (intent, model, session_config)
        self._beta = beta
        self._answers = replies.configured
        self._start: Start | None = None
        self._conversation = Conversation()
        self._hearing = Hearing(self._conversation, session=lambda: self._session, new_id=new_id)
        self._given = GivenAudio(self._conversation, self._hearing, ear=self._ear)
        self._responder: Responder = ModelResponder(
            replies, self._conversation, self._hearing, self._given, session=lambda: self._session, new_id=new_id
        )
        self._is_open = False
        self._over = False
        self._broken: Close | None = None
        """How the socket closes if what failed ends the session."""
        self._updating: tuple[Start, str | None] | None = None
        """What the update that is being done changes, and its event's id."""
        self._handlers: dict[str, Handler] = {
            "session.update": self._update,
            "transcription_session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": self._retrieve_item,
            "conversation.item.delete": self._delete_item,
            "conversation.item.truncate": self._truncate_item,
            "response.create": self._create_response,
            "response.cancel": lambda event: self._out(self._responder.cancel(event)),
        }

    # The connection ----------------------------------------------------------------------------------------------

    def opened(self) -> Sequence[Action]:
        """``session.created`` and a session to listen; or an error and the end."""
        intent, model, config = self._asked
        id, now = self._new_id("sess"), self._now()
        try:
            if config is not None:
                self._start = from_config(config, id=id, now=now)
            else:
                self._start = from_query(intent=intent, model=model, models=self._models, id=id, now=now)
        except Problem as problem:
            return [*self._problem(problem), self._end(REFUSED_CLOSE, close_reason(problem))]
        session = self._start.session
        return [
            *self._send({"type": "session.created", "session": session}),
            Open(options=self._live_options(session), format=input_format(session)),
        ]

    def text(self, frame: str) -> Sequence[Action]:
        if self._over:
            return []
        self._updating = None
        try:
            event = _parsed(frame)
        except Problem as problem:
            return self._problem(problem)
        try:
            return self._handler(event)(event)
        except Problem as problem:
            return self._problem(problem, event.get("event_id"))

    def binary(self, frame: bytes) -> Sequence[Action]:
        if self._over:
            return []
        message = "Binary frames mean nothing here. Send JSON in text frames, audio as base64."
        return self._problem(Problem("invalid_event", message))

    def ready(self, stream: str, *, token: str, samples: int, resumed: bool) -> Sequence[Action]:
        self._is_open = True
        return []

    def received(self, stream: str, samples: int) -> Sequence[Action]:
        return []

    def event(self, event: LiveEvent, stream: str = "") -> Sequence[Action]:
        if stream:
            self._given.event(stream, event)
            return []
        heard = self._send(*self._hearing.events(event))
        return [*heard, *self._out(self._responder.heard(event))]

    def told(self, id: str, event: ReplyEvent) -> Sequence[Action]:
        """A reply that was asked for goes on."""
        return self._out(self._responder.told(id, event))

    def failed(self, error: KikitoriError, stream: str = "") -> Sequence[Action]:
        """A session that cannot be opened is the end of the socket; one that cannot be changed stays as it was."""
        if stream:
            return self._out([*self._given.failed(stream, error), *self._responder.understood()])
        problem = problem_of(error)
        if self._updating is not None:
            before, event_id = self._updating
            self._start, self._updating = before, None
            return self._problem(_of_update(problem, flat=self._beta), event_id)
        if not self._is_open:
            return [*self._problem(problem), self._end(close_code_of(error), close_reason(problem))]
        self._broken = Close(code=close_code_of(error), reason=close_reason(problem))
        return self._problem(problem)

    def expired(self) -> Sequence[Action]:
        """The session has lasted as long as it may: what was said is still transcribed, then the socket closes."""
        self._over = True
        message = "The session has lasted as long as it may. Open a new one."
        return [*self._problem(Problem("session_expired", message)), End()]

    def ended(self, stream: str = "") -> Sequence[Action]:
        if stream:
            return self._out([*self._given.ended(stream), *self._responder.understood()])
        if self._over:
            return [Close(code=EXPIRED_CLOSE, reason=f"{INVALID_REQUEST}.session_expired")]
        return [self._broken] if self._broken else []

    def closing(self, code: int, reason: str) -> Sequence[Action]:
        return []

    # What the client asks ------------------------------------------------------------------------------------------

    def _handler(self, event: Event) -> Handler:
        id, kind = event.get("event_id"), event.get("type")
        if id is not None and (not isinstance(id, str) or len(id) > MAX_NAME):
            event["event_id"] = None
            raise invalid("event_id", id, f"text of up to {MAX_NAME} characters")
        if kind is None:
            raise missing("type")
        if not isinstance(kind, str) or kind not in self._handlers:
            raise invalid("type", kind, ", ".join(self._handlers))
        return self._handlers[kind]

    def _update(self, event: Event) -> Sequence[Action]:
        if "session" not in event:
            raise missing("session")
        given, start = mapping(event["session"], "session"), self._started
        base, session = start.session, start.session
        legacy = event["type"] == "transcription_session.update"
        flat = (self._beta or legacy) and beta.is_flat(given)
        if legacy and "type" not in given:
            kind = TRANSCRIPTION
        else:
            kind = base["type"] if flat else kind_of(given)
        if kind != base["type"]:
            if not start.may_switch or kind != TRANSCRIPTION:
                raise Problem("invalid_parameter", f"This is a {base['type']} session, and stays one.", "session.type")
            session = as_transcription(base)
        change = beta.checked_change(given, kind) if flat else checked_change({"type": kind, **given}, kind)
        session = merged(session, change, asr_model=start.asr_model)
        path = "session.input_audio_transcription" if flat else "session.audio.input.transcription"
        check_asr_model(session, f"{path}.model", self._models)
        self._responder.check_update(base, session)
        self._start = replace(start, session=session, may_switch=False)
        self._updating = start, event.get("event_id")
        told = self._send({"type": "session.updated", "session": session})
        return [*self._configure(base), *told, *self._out(self._responder.updated())]

    def _configure(self, before: Event) -> Sequence[Action]:
        """What follows is done only if this can be done; ``failed`` takes it back."""
        options, format = self._live_options(self._session), input_format(self._session)
        if options == self._live_options(before) and format == input_format(before):
            return []
        return [Configure(options=options, format=format)]

    def _append(self, event: Event) -> Sequence[Action]:
        if "audio" not in event:
            raise missing("audio")
        data = decoded_audio(event["audio"], "audio", most=MAX_APPEND_BYTES)
        self._begin_talking()
        return [Feed(data=data)]

    def _commit(self, event: Event) -> Sequence[Action]:
        self._hearing.expect_answer(event.get("event_id"))
        return [Commit()]

    def _clear(self, event: Event) -> Sequence[Action]:
        return [Clear()]

    def _create_item(self, event: Event) -> Sequence[Action]:
        item, previous = item_events.described(self._conversation, event, self._new_id)
        listening = self._given.take(item)
        self._begin_talking()
        return [*self._send(*item_events.added(self._conversation, item, previous)), *listening]

    def _retrieve_item(self, event: Event) -> Sequence[Action]:
        return self._send(*item_events.retrieve(self._conversation, event, input_format(self._session)))

    def _delete_item(self, event: Event) -> Sequence[Action]:
        return self._send(*item_events.delete(self._conversation, event))

    def _truncate_item(self, event: Event) -> Sequence[Action]:
        return self._send(*item_events.truncate(self._conversation, event))

    def _create_response(self, event: Event) -> Sequence[Action]:
        outputs = self._responder.create(event)
        self._begin_talking()
        return self._out(outputs)

    # Helpers -------------------------------------------------------------------------------------------------------

    @property
    def _started(self) -> Start:
        assert self._start is not None, "opened() comes first"
        return self._start

    @property
    def _session(self) -> Event:
        return self._started.session

    def _live_options(self, session: Event) -> LiveOptions:
        return live_options(session, self._defaults, always=self._answers and session["type"] == REALTIME)

    def _ear(self) -> Ear | None:
        """For audio that clients put in as items: like a turn that the client has committed."""
        session = self._session
        shown = session["audio"]["input"]["transcription"] is not None
        if not (shown or self._responder.listens):
            return None
        return Ear(
            options=replace(self._live_options(session), turns=TurnDetection.MANUAL, interim=False),
            format=input_format(session),
            shown=shown,
            logprobs=LOGPROBS in (session["include"] or []),
        )

    def _begin_talking(self) -> None:
        if self._started.may_switch:
            self._start = replace(self._started, may_switch=False)

    def _end(self, code: int, reason: str) -> Close:
        self._over = True
        return Close(code=code, reason=reason)

    def _problem(self, problem: Problem, event_id: str | None = None) -> list[Action]:
        return self._send({"type": "error", "error": problem.body(event_id)})

    def _out(self, outputs: Sequence[Output]) -> list[Action]:
        """Events as frames, actions as they are, in their order."""
        return [
            action for output in outputs for action in (self._send(output) if isinstance(output, dict) else [output])
        ]

    def _send(self, *events: Event) -> list[Action]:
        """Server events, in the shape that this connection speaks."""
        shaped = [beta.flat_event(event) for event in events] if self._beta else events
        return [_frame(event, self._new_id) for event in shaped if event is not None]


def _frame(event: Event, new_id: Callable[[str], str]) -> Send:
    # ASCII, since messages may repeat halves of characters that clients sent.
    named = {"type": event["type"], "event_id": new_id("event"), **event}
    return Send(text=json.dumps(named, separators=(",", ":")))


def _of_update(problem: Problem, *, flat: bool) -> Problem:
    """What cannot be transcribed so, by the path that the client knows."""
    where = "session.input_audio_transcription" if flat else "session.audio.input.transcription"
    path = f"{where}.{problem.param}" if problem.param else "session"
    return Problem(problem.code, problem.message, path, kind=problem.kind)


def _parsed(frame: str) -> Event:
    try:
        event = json.loads(frame)
    except (ValueError, RecursionError) as exc:
        raise Problem("invalid_json", "The frame is not JSON.") from exc
    if not isinstance(event, dict):
        raise Problem("invalid_event", "The frame is JSON, but no object.")
    return event
