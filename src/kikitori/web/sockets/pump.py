"""The one socket pump: what a client sends goes through a codec to sessions, what they say goes back.

Three tasks for each socket: one reads, one writes, one keeps the time. Sessions speak at any moment, from the event
loop, and never wait for the client.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from starlette.websockets import WebSocket

from kikitori.errors import KikitoriError, NotFound
from kikitori.live.events import LiveEvent
from kikitori.protocols import actions
from kikitori.protocols.actions import Action
from kikitori.protocols.codec import Codec
from kikitori.replies.events import ReplyEvent
from kikitori.sessions.desk import LiveDesk, Wanted
from kikitori.sessions.running import OnEvent, Recorder, RunningSession
from kikitori.web.sockets.ending import part
from kikitori.web.sockets.replying import Replier, Replying
from kikitori.web.sockets.writer import Writer

TICK_SECONDS = 0.5
ACK_TICKS = 2
NORMAL, TOO_BIG, RESTART = 1000, 1009, 1012


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketLimits:
    """What a protocol allows its clients; 0: no limit."""

    frame_bytes: int = 0
    idle_seconds: float = 0.0
    """Without audio."""
    idle_code: int = NORMAL
    """What closes an idle socket, and what it is told; empty: in our words."""
    idle_reason: str = ""
    text_keeps_alive: bool = False
    """A text frame counts as audio does."""
    last_words: bool = False
    """Before an idle or an old socket is closed, what was said is heard to its end."""
    most_seconds: float = 0.0
    """Of a socket's life."""


MakeRecorder = Callable[[actions.Open], Awaitable[Recorder | None]]
OnReply = Callable[[str, ReplyEvent], Sequence[Action]]


class SocketPump:
    """Serves one socket that is open and whose caller is known. ``run`` returns when it is closed."""

    def __init__(
        self,
        socket: WebSocket,
        codec: Codec,
        desk: LiveDesk,
        *,
        owner: str,
        limits: SocketLimits,
        make_recorder: MakeRecorder | None = None,
        on_expiry: Callable[[], Sequence[Action]] | None = None,
        replier: Replier | None = None,
        on_reply: OnReply | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._socket, self._codec, self._desk, self._owner = socket, codec, desk, owner
        self._limits, self._make_recorder, self._clock = limits, make_recorder, clock
        self._on_expiry = on_expiry
        self._on_reply = on_reply
        self._replying = Replying(replier, self._hear_reply) if replier else None
        self._writer = Writer(socket.send_text)
        self._sessions: dict[str, RunningSession] = {}
        self._ears: dict[str, OnEvent] = {}
        """What each session tells. When it tells somebody else, another socket has taken it up."""
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._performing = asyncio.Lock()
        self._later: set[asyncio.Task[None]] = set()
        self._closing: actions.Close | None = None
        self._parting: actions.Close | None = None
        """How the socket will be closed when its sessions have said their last words."""
        self._feeding = False
        self._ended = asyncio.Event()
        self._began = self._heard_audio = clock()

    async def run(self) -> None:
        writing = asyncio.create_task(self._writer.run(), name="kikitori-socket-writer")
        reading = asyncio.create_task(self._read(), name="kikitori-socket-reader")
        keeping = asyncio.create_task(self._keep_time(), name="kikitori-socket-keeper")
        ending = asyncio.create_task(self._ended.wait())
        tasks = (writing, reading, keeping, ending)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await part(self._socket, self._closing, writing=writing, reading=reading)
        finally:
            for task in (*tasks, *self._later, *self._watches.values()):
                task.cancel()
            for stream, session in self._sessions.items():
                self._desk.leave(session, self._ears[stream])
            if self._replying is not None:
                await self._replying.close()
            await asyncio.gather(*tasks, *self._later, *self._watches.values(), return_exceptions=True)

    def stop(self) -> None:
        """The server shuts down: last words, then goodbye."""
        self._part(RESTART, "The server is shutting down.")

    # Reading

    async def _read(self) -> None:
        await self._perform(self._codec.opened())
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text, data = message.get("text"), message.get("bytes")
            if self._limits.frame_bytes and _size(text, data) > self._limits.frame_bytes:
                self._say_goodbye(TOO_BIG, f"A frame may have {self._limits.frame_bytes:,} bytes.")
                return
            if text is not None and self._limits.text_keeps_alive:
                self._heard_audio = self._clock()
            async with self._performing:
                await self._perform(self._codec.text(text) if text is not None else self._codec.binary(data or b""))

    async def _perform(self, wanted: Sequence[Action]) -> None:
        for action in wanted:
            if isinstance(action, actions.Configure):
                if not await self._configure(action):
                    return  # what follows would say that it was done
            else:
                await self._do(action)

    async def _do(self, action: Action) -> None:
        match action:
            case actions.Feed():
                await self._feed(action)
            case actions.Open():
                await self._open(action)
            case actions.Resume():
                await self._resume(action)
            case _:
                self._do_now(action)

    def _do_now(self, action: Action) -> None:
        match action:
            case actions.Send():
                self._writer.put(action.text, action.slot)
            case actions.Close():
                self._close(action)
            case actions.Commit():
                self._with(action.stream, RunningSession.commit)
            case actions.Clear():
                self._with(action.stream, RunningSession.clear)
            case actions.AwaitSpeech(after=after, patience=patience):
                self._with(action.stream, lambda session: session.await_speech(after, patience))
            case actions.End():
                self._with(action.stream, RunningSession.end)
            case actions.Reply() if self._replying is not None:
                self._replying.start(action)
            case actions.StopReply() if self._replying is not None:
                self._replying.stop(action.id)

    def _react(self, wanted: Sequence[Action]) -> None:
        """Do what a codec answers to a session: at once, but for what must wait its turn."""
        for at, action in enumerate(wanted):
            if isinstance(action, actions.Feed | actions.Open | actions.Resume | actions.Configure):
                task = asyncio.create_task(self._in_turn(wanted[at:]))
                self._later.add(task)
                task.add_done_callback(self._later.discard)
                return
            self._do_now(action)

    async def _in_turn(self, wanted: Sequence[Action]) -> None:
        async with self._performing:
            await self._perform(wanted)

    def _with(self, stream: str, work: Callable[[RunningSession], None]) -> None:
        if session := self._mine(stream):
            work(session)

    def _mine(self, stream: str) -> RunningSession | None:
        session = self._sessions.get(stream)
        return session if session is not None and session.tells(self._ears[stream]) else None

    async def _feed(self, action: actions.Feed) -> None:
        session = self._mine(action.stream)
        if session is None or session.ended:
            return
        self._heard_audio = self._clock()
        self._feeding = True
        try:
            await session.feed(action.data)
        except KikitoriError as exc:
            self._react(self._codec.failed(exc, action.stream))
            session.end()
        finally:
            self._feeding = False

    async def _open(self, action: actions.Open) -> None:
        self._heard_audio = self._clock()
        try:
            if self._parting is not None:
                raise NotFound(self._parting.reason)
            recorder = await self._make_recorder(action) if action.record and self._make_recorder else None
            wanted = Wanted(
                options=action.options,
                encoding=action.format.encoding.value,
                rate=action.format.rate,
                owner=self._owner,
                resumable=action.resumable,
                recorder=recorder,
            )
            ear = self._ears[action.stream] = partial(self._hear, action.stream)
            session = await self._opened(wanted, ear)
        except KikitoriError as exc:
            self._react(self._codec.failed(exc, action.stream))
            return
        self._hold(action.stream, session)
        token = session.facts.token
        self._react(self._codec.ready(action.stream, token=token, samples=0, resumed=False))

    async def _opened(self, wanted: Wanted, ear: OnEvent) -> RunningSession:
        try:
            return await self._desk.open(wanted, ear)
        except BaseException:  # also when the client goes meanwhile: nobody else knows of the recorder
            if wanted.recorder is not None:
                await wanted.recorder.close(keep=False)
            raise

    async def _resume(self, action: actions.Resume) -> None:
        try:
            ear = self._ears[action.stream] = partial(self._hear, action.stream)
            session, missed = self._desk.resume(action.token, self._owner, ear)
        except KikitoriError as exc:
            self._react(self._codec.failed(exc, action.stream))
            return
        self._heard_audio = self._clock()
        self._hold(action.stream, session)
        samples = session.received_samples
        self._react(self._codec.ready(action.stream, token=session.facts.token, samples=samples, resumed=True))
        for event in missed:
            self._hear(action.stream, event)

    async def _configure(self, action: actions.Configure) -> bool:
        session = self._sessions.get(action.stream)
        if session is None:
            return True
        encoding, rate = (action.format.encoding.value, action.format.rate) if action.format else ("", 0)
        try:
            await self._desk.reconfigure(session, action.options, encoding=encoding, rate=rate)
        except KikitoriError as exc:
            self._react(self._codec.failed(exc, action.stream))
            return False
        return True

    def _hold(self, stream: str, session: RunningSession) -> None:
        self._sessions[stream] = session
        self._watches[stream] = asyncio.create_task(self._watch(stream, session), name="kikitori-socket-watch")

    # Sessions speak

    def _hear(self, stream: str, event: LiveEvent) -> None:
        if self._closing is None:
            self._react(self._codec.event(event, stream))

    async def _hear_reply(self, id: str, event: ReplyEvent) -> None:
        """A reply waits for a client that is slow to take it; those who speak do not."""
        if self._closing is None and self._on_reply is not None:
            self._react(self._on_reply(id, event))
            await self._writer.room()

    async def _watch(self, stream: str, session: RunningSession) -> None:
        await session.finished.wait()
        if self._sessions.get(stream) is session:
            del self._sessions[stream]
            self._watches.pop(stream, None)
            self._react(self._codec.ended(stream))
            self._part_if_silent()

    # Time

    async def _keep_time(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            ticks += 1
            if ticks % ACK_TICKS == 0:
                for stream in list(self._sessions):
                    if session := self._mine(stream):
                        self._react(self._codec.received(stream, session.received_samples))
            now, limits = self._clock(), self._limits
            if self._feeding:  # the client waits for us, not we for it
                self._heard_audio = now
            if limits.idle_seconds and now - self._heard_audio > limits.idle_seconds:
                reason = limits.idle_reason or f"No audio came for {limits.idle_seconds:.0f} s."
                self._end(limits.idle_code, reason)
            elif limits.most_seconds and now - self._began > limits.most_seconds:
                self._expire()

    def _expire(self) -> None:
        if self._on_expiry is None:
            self._end(NORMAL, f"A connection may last {self._limits.most_seconds:.0f} s.")
            return
        on_expiry, self._on_expiry = self._on_expiry, None
        self._began = self._clock()  # what the protocol does takes a moment; after another life it ends for good
        self._react(on_expiry())

    # Closing

    def _end(self, code: int, reason: str) -> None:
        """The socket has had its time."""
        if self._limits.last_words:
            self._part(code, reason)
        else:
            self._say_goodbye(code, reason)

    def _part(self, code: int, reason: str) -> None:
        """Last words, then goodbye."""
        if self._parting is None:
            self._parting = actions.Close(code=code, reason=reason)
            for stream in list(self._sessions):
                self._with(stream, RunningSession.end)
        self._part_if_silent()

    def _part_if_silent(self) -> None:
        if self._parting is not None and not any(map(self._mine, self._sessions)):
            self._say_goodbye(self._parting.code, self._parting.reason)

    def _say_goodbye(self, code: int, reason: str) -> None:
        if self._closing is None:
            self._react(self._codec.closing(code, reason))
            self._close(actions.Close(code=code, reason=reason))

    def _close(self, action: actions.Close) -> None:
        if self._closing is None:
            self._closing = action
            self._writer.end()
            self._ended.set()


def _size(text: str | None, data: bytes | None) -> int:
    """Of a frame, in bytes."""
    return len(data or b"") if text is None else len(text.encode())
