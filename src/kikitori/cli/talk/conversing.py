"""A conversation at work: a socket, a sound, a player, and either keys or files to say when it is whose turn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Protocol

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from kikitori.audio.pcm import Encoding, Resampler, from_float, to_float
from kikitori.cli.api import NEAR, server_address, unanswered
from kikitori.cli.listen.sounds import Sound
from kikitori.cli.talk.dialogue import RATE, Dialogue, Event, Outcome, Played, Problem, Replied, Shown, Who
from kikitori.cli.talk.keys import Key
from kikitori.cli.talk.playing import Player
from kikitori.cli.talk.pushing import FRAME_SECONDS, GRACE_SECONDS, Begin, Commit, PushToTalk, Speak, Wish
from kikitori.errors import InvalidInput, Unauthorized, Unavailable

PATH = "v1/realtime"
OPEN_SECONDS = 10.0
CLOSE_SECONDS = 1.0
FRAME_BYTES = 2 * round(FRAME_SECONDS * RATE)
TICK_SECONDS = 0.01


class Display(Protocol):
    """Where the user reads along."""

    def show(self, outcome: Shown | Replied | Problem) -> None: ...


class Talk:
    """One connection. Everything that goes out passes one queue, so nothing overtakes."""

    def __init__(self, socket: ClientConnection, player: Player, display: Display) -> None:
        self._socket, self._player, self._display = socket, player, display
        self._dialogue, self._pushing = Dialogue(), PushToTalk()
        self._out: asyncio.Queue[Event] = asyncio.Queue()
        self._replied = asyncio.Event()
        """The turn was answered, or refused."""
        self._committed = False
        self._loop = asyncio.get_running_loop()
        self.failed = False
        """The server said that something did not work, a reply most likely."""

    @property
    def dialogue(self) -> Dialogue:
        return self._dialogue

    def send(self, event: Event) -> None:
        self._out.put_nowait(event)

    async def run(self, *, until: asyncio.Task[None]) -> None:
        """Until ``until`` is done. Raises Unavailable when the connection is lost."""
        work = [asyncio.create_task(self._write()), asyncio.create_task(self._read()), until]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except ConnectionClosed as exc:
            raise Unavailable(
                f"The server ended the conversation ({exc.rcvd.reason or exc.rcvd.code if exc.rcvd else 'lost'}).",
                remedy="Start it again.",
            ) from exc
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    # Two ways to take turns

    async def by_keys(self, keys: AsyncGenerator[Key, None], sound: Sound) -> None:
        """Push-to-talk, until the user ends it."""
        listening = asyncio.create_task(self._listen(sound))
        try:
            async with aclosing(keys):
                async for key in keys:
                    if key is Key.QUIT:
                        return
                    if listening.done():
                        listening.result()
                    self._push(key)
        finally:
            sound.stop()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def by_files(self, sounds: Iterable[Sound]) -> None:
        """Each sound is a turn; its reply is heard to the end before the next one."""
        for sound in sounds:
            self._replied.clear()
            self._committed = False
            self._do(self._pushing.press())
            await self._listen(sound)
            self._do(self._pushing.release(self._loop.time()))
            while self._pushing.listening:
                await asyncio.sleep(TICK_SECONDS)
                self._do(self._pushing.tick(self._loop.time()))
            if not self._committed:
                raise InvalidInput("A recording is too short to be a turn.", remedy="Say something longer.")
            await self._replied.wait()
            while left := self._player.left_seconds:  # noqa: ASYNC110 - a player tells nobody
                await asyncio.sleep(left)

    def _push(self, key: Key) -> None:
        if key is Key.PRESS:
            self._do(self._pushing.press())
        else:
            self._do(self._pushing.release(self._loop.time()))
            # A microphone that has stopped must not keep a turn open.
            self._loop.call_later(GRACE_SECONDS + TICK_SECONDS, lambda: self._do(self._pushing.tick(self._loop.time())))

    async def _listen(self, sound: Sound) -> None:
        cutter: _Cutter | None = None
        async with aclosing(sound.frames()) as frames:
            async for data in frames:
                cutter = cutter or _Cutter(sound.rate)  # a microphone knows its rate when it has begun
                for frame in cutter.push(data):
                    self._do(self._pushing.frame(frame, self._loop.time()))

    def _do(self, wishes: list[Wish]) -> None:
        for wish in wishes:
            match wish:
                case Begin():
                    self._display.show(Shown(Who.AGENT, "", ends=True))  # what was interrupted ends here
                    for event in self._dialogue.begin(self._player.stop()):
                        self.send(event)
                case Speak(pcm=pcm):
                    self.send(self._dialogue.speak(pcm))
                case Commit():
                    self._committed = True
                    for event in self._dialogue.commit():
                        self.send(event)

    # The socket

    async def _write(self) -> None:
        while True:
            await self._socket.send(json.dumps(await self._out.get()))

    async def _read(self) -> None:
        while True:
            event: Any = json.loads(await self._socket.recv())
            if isinstance(event, dict):
                for outcome in self._dialogue.hear(event):
                    self._take(outcome)

    def _take(self, outcome: Outcome | Event) -> None:
        if isinstance(outcome, dict):
            self.send(outcome)
        elif isinstance(outcome, Played):
            self._player.play(outcome.pcm)
        else:
            self._display.show(outcome)
            if isinstance(outcome, Replied | Problem):
                self.failed |= isinstance(outcome, Problem) or bool(outcome.problem)
                self._replied.set()


class _Cutter:
    """Sound of any rate to frames of the protocol's."""

    def __init__(self, rate: int) -> None:
        self._resampler = Resampler(rate, RATE)
        self._rest = b""

    def push(self, data: bytes) -> list[bytes]:
        audio = self._resampler.push(to_float(data, Encoding.S16LE))
        self._rest += from_float(audio, Encoding.S16LE)
        whole = len(self._rest) - len(self._rest) % FRAME_BYTES
        frames = [self._rest[at : at + FRAME_BYTES] for at in range(0, whole, FRAME_BYTES)]
        self._rest = self._rest[whole:]
        return frames


@asynccontextmanager
async def connected(url: str, api_key: str, model: str) -> AsyncGenerator[ClientConnection, None]:
    """A socket to ``url``, Kikitori's or OpenAI's. Raises Unavailable, Unauthorized."""
    address = server_address(url)
    target = address.copy_with(scheme=address.scheme.replace("http", "ws")).join(PATH)
    direct = address.host in (host.strip("[]") for host in NEAR)
    try:
        socket = await connect(
            str(target.copy_with(params={"model": model})),
            additional_headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_SECONDS,
            max_size=None,
            proxy=None if direct else True,
        )
    except InvalidStatus as exc:
        raise _refusal(address, exc.response.status_code) from exc
    except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as exc:
        raise Unavailable(**unanswered(address, exc)) from exc
    async with socket:
        yield socket


def _refusal(address: httpx.URL, status: int) -> Unauthorized | Unavailable:
    if status in (401, 403):
        return Unauthorized("The API key is missing or wrong.", remedy="Give --api-key, or set KIKITORI_API_KEY.")
    return Unavailable(f"{address} takes no conversations ({status}).", remedy="Check --url.")
