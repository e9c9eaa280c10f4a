"""The one place where live sessions are opened, resumed and closed, and where it is decided how many there may be."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from kikitori.audio.live_input import open_input
from kikitori.engines.base import EngineInfo
from kikitori.errors import Busy, KikitoriError, NotFound, Unavailable
from kikitori.inference.pool import ModelPool
from kikitori.live.events import LiveEvent
from kikitori.live.jobs import Heard, JobKind
from kikitori.live.options import LiveOptions
from kikitori.llm.client import ChatModels
from kikitori.options import DecodeOptions
from kikitori.sessions.decoding import Decoder
from kikitori.sessions.interpreters import LiveInterpreter
from kikitori.sessions.load import LoadControl
from kikitori.sessions.running import OnEvent, Recorder, RunningSession, SessionFacts
from kikitori.sessions.speech import SpeechFinder
from kikitori.sessions.translations import Feed, Patience, Translations
from kikitori.sessions.turns import Speaker, Turns
from kikitori.types import Audio, Channels, DecodeMode

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
RETRY_AFTER_SECONDS = 5.0
ID_BYTES, TOKEN_BYTES = 12, 24


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePlan:
    """What the operator decided about live sessions."""

    max_sessions: int = 0
    """0: as many as the machine bears."""
    buffer_seconds: float = 60.0
    """When the machine is further behind than this, a client is made to wait."""
    resume_seconds: float = 30.0
    """A session lives so long without its socket."""
    patience: Patience = field(default_factory=Patience)
    """With those who translate."""


class LiveListener(Protocol):
    """Told what sessions do; ``kikitori.metrics.Metrics``."""

    def live_sessions(self, count: int) -> None: ...

    def live_decoded(self, kind: str, waited: float, took: float) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A session that somebody wants to open."""

    options: LiveOptions
    encoding: str = "s16le"
    rate: int = 16_000
    owner: str = ""
    resumable: bool = False
    recorder: Recorder | None = None


class LiveDesk:
    """Opened by ``live_desk``; belongs to one event loop."""

    def __init__(
        self,
        pool: ModelPool,
        plan: LivePlan,
        *,
        check: Callable[[str, DecodeOptions], None],
        chat: ChatModels | None = None,
        listener: LiveListener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``chat`` translates what people say; without it, nothing is translated."""
        self._chat = chat
        self._pool, self._plan, self._check, self._clock = pool, plan, check, clock
        self._listener = listener
        self._sessions: dict[str, RunningSession] = {}
        self._by_token: dict[str, RunningSession] = {}
        self._leaving: dict[str, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._speech = SpeechFinder()
        self._turns = Turns(clock=clock)
        self._control = LoadControl()
        self._load = self._control.load
        """At the last look."""
        self._draining = False

    @property
    def sessions(self) -> int:
        return len(self._sessions)

    # Opening

    async def open(self, wanted: Wanted, on_event: OnEvent) -> RunningSession:
        """A new session that tells ``on_event`` what it hears.

        Raises Busy when there is no room, InvalidOption, Unsupported, ModelNotFound.
        """
        self._admit()
        options = await self.checked(wanted.options)
        self._admit()  # others came meanwhile
        info = self._pool.info(options.model)
        source = open_input(wanted.encoding, wanted.rate)
        facts = SessionFacts(
            id=f"live_{secrets.token_hex(ID_BYTES)}",
            token=secrets.token_urlsafe(TOKEN_BYTES) if wanted.resumable else "",
            owner=wanted.owner,
            resumable=wanted.resumable,
            buffer_seconds=self._plan.buffer_seconds,
        )
        session = RunningSession(
            facts,
            self,
            options,
            source,
            Decoder(self._pool, options.model, clock=self._clock),
            streaming=info.streaming,
            languages=info.languages,
            on_event=on_event,
            recorder=wanted.recorder,
            clock=self._clock,
        )
        self._sessions[facts.id] = session
        if facts.token:
            self._by_token[facts.token] = session
        if options.translate_to and self._chat is not None:
            session.translate(self._translations(session, options.translate_to, self._chat))
        load = self._control.load
        session.set_load(load.level, load.stretch)
        self._count()
        self._preload(options.model)
        logger.info("live session opened", extra={"action": "live_opened", "session": facts.id, "engine": info.name})
        return session

    def _translations(self, session: RunningSession, tag: str, chat: ChatModels) -> Translations:
        wanted = lambda: (session.model, session.options.decode)  # noqa: E731 - as it is when an utterance ends
        interpreter = LiveInterpreter(tag, self._pool, chat, wanted=wanted)
        return Translations(tag, interpreter, session.say, on_idle=session.end_if_done, patience=self._plan.patience)

    def translations(self, session_id: str, owner: str | None) -> Feed:
        """Those of a session of ``owner`` (None: of anybody), to be followed. Raises NotFound."""
        session = self._sessions.get(session_id)
        if session is None or session.translations is None or owner not in (None, session.facts.owner):
            raise NotFound("There is no session with translations of this id.", remedy="It may be over.", param="id")
        return session.translations.feed

    async def checked(self, options: LiveOptions) -> LiveOptions:
        """``options`` without what means nothing for live audio. Raises ModelNotFound, Unsupported, InvalidOption."""
        decode = replace(
            options.decode,
            mode=DecodeMode.AUTO,
            channels=Channels.MIX,
            vad_filter=False,
            clip_timestamps=(),
            prefix=None,
            hallucination_silence_threshold=None,
        )
        await asyncio.to_thread(self._check, options.model, decode)
        info = self._pool.info(options.model)
        once = info.remote and not info.streaming  # each pass is a request that may cost something: finals alone
        return replace(options, decode=decode, interim=options.interim and not once)

    async def reconfigure(
        self, session: RunningSession, options: LiveOptions, *, encoding: str = "", rate: int = 0
    ) -> None:
        """Change a session; ``encoding``: its audio comes in another format from here on. Raises as ``open``."""
        options = await self.checked(options)
        source = open_input(encoding, rate) if encoding else None
        session.configure(options, streaming=self._pool.info(options.model).streaming, source=source)
        self._preload(options.model)

    def info(self, model: str) -> EngineInfo:
        """What the engine of ``model`` can do. Raises ModelNotFound."""
        return self._pool.info(model)

    def _admit(self) -> None:
        if self._draining:
            raise Unavailable("The server is shutting down.", remedy="Try again in a moment.")
        if not self._sessions:
            self._control.forget()
        limit = self._plan.max_sessions
        if limit and len(self._sessions) >= limit:
            raise Busy(f"All {limit} places for live sessions are taken.", retry_after=RETRY_AFTER_SECONDS)
        if self._control.load.full:
            raise Busy("The server is busy with the sessions it has.", retry_after=RETRY_AFTER_SECONDS)

    def _preload(self, model: str) -> None:
        """Load the model while nobody has spoken yet."""

        async def load() -> None:
            try:
                await self._pool.load(model)
            except KikitoriError:
                pass  # the first decoding tries again, and says so

        self._in_background(load())

    # Leaving and coming back

    def leave(self, session: RunningSession, on_event: OnEvent) -> None:
        """The socket is gone: a session that may be resumed lives on for a while, another one ends now."""
        if not session.tells(on_event):
            return  # another socket has it
        session.detach()
        if session.facts.id not in self._sessions:
            return
        if not session.facts.resumable or self._draining:
            self.over(session)
            return
        loop = asyncio.get_running_loop()
        self._leaving[session.facts.id] = loop.call_later(self._plan.resume_seconds, session.end)

    def resume(self, token: str, owner: str, on_event: OnEvent) -> tuple[RunningSession, Sequence[LiveEvent]]:
        """The session with this token, and what it said that may have got lost. Raises NotFound.

        One that is over is there for a while too: its last words may have got lost.
        """
        session = self._by_token.get(token)
        if session is None or session.facts.owner != owner:
            raise NotFound("There is no such session any more.", remedy="Start a new one.", param="token")
        if timer := self._leaving.pop(session.facts.id, None):
            timer.cancel()
        return session, session.attach(on_event)

    async def close(self, session: RunningSession) -> None:
        """End it now, whatever is still to be said."""
        self._forget(session)
        await session.close()

    def drain(self) -> None:
        """Take no new sessions, and let go of those that only wait to be resumed."""
        self._draining = True
        for session in list(self._sessions.values()):
            if not session.attached:
                session.end()

    # What sessions need

    def listen(self, session: RunningSession, audio: Audio) -> None:
        self._speech.push(session, audio)

    def want(self, session: RunningSession) -> None:
        self._turns.want(session)

    def decoded(self, kind: JobKind, heard: Heard) -> None:
        if kind is JobKind.FINAL:
            self._control.final_took(heard.waited + heard.took)
        if self._listener:
            self._listener.live_decoded(kind.value, heard.waited, heard.took)

    def over(self, session: RunningSession) -> None:
        if session.facts.id in self._sessions:
            self._forget(session)
            self._in_background(session.close())

    def _forget(self, session: RunningSession) -> None:
        self._sessions.pop(session.facts.id, None)
        if session.facts.token and not self._draining:
            later = asyncio.get_running_loop().call_later
            later(self._plan.resume_seconds, self._by_token.pop, session.facts.token, None)
        if timer := self._leaving.pop(session.facts.id, None):
            timer.cancel()
        self._speech.forget(session)
        self._turns.forget(session)
        self._count()

    def _count(self) -> None:
        if self._listener:
            self._listener.live_sessions(len(self._sessions))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # Running

    async def run(self) -> None:
        """Find speech, give turns, look at the load; until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._speech.run(), name="kikitori-live-speech")
            group.create_task(self._turns.run(), name="kikitori-live-turns")
            group.create_task(self._look(), name="kikitori-live-load")

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            before = self._load
            interim, final = self._turns.longest_waits(_in_steps)
            load = self._load = self._control.look(interim_steps=interim, final_seconds=final)
            if (load.level, load.stretch) != (before.level, before.stretch):
                for session in list(self._sessions.values()):
                    session.set_load(load.level, load.stretch)
            if load.level != before.level or load.full != before.full:
                logger.log(
                    logging.WARNING if load.level > before.level else logging.INFO,
                    "live load",
                    extra={"action": "live_load", "level": load.level, "full": load.full, "sessions": self.sessions},
                )

    async def shut(self) -> None:
        for session in list(self._sessions.values()):
            await self.close(session)
        for task in list(self._closing):
            await asyncio.wait([task])


def _in_steps(speaker: Speaker, seconds: float) -> float:
    assert isinstance(speaker, RunningSession)
    return seconds / speaker.options.interim_seconds


@asynccontextmanager
async def live_desk(
    pool: ModelPool,
    plan: LivePlan,
    *,
    check: Callable[[str, DecodeOptions], None],
    chat: ChatModels | None = None,
    listener: LiveListener | None = None,
) -> AsyncGenerator[LiveDesk, None]:
    """A desk at work; at the end every session is closed."""
    desk = LiveDesk(pool, plan, check=check, chat=chat, listener=listener)
    running = asyncio.create_task(desk.run(), name="kikitori-live")
    try:
        yield desk
    finally:
        await desk.shut()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
