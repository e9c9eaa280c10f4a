"""Translations of the finals of one session: beside it, in order, and never waited for by what is said."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass

from kikitori.errors import ChatFailed, KikitoriError
from kikitori.live.events import Committed, Final, FinalFailed, LiveEvent, Translation, TranslationFailed
from kikitori.sessions.interpreters import Interpreter, Said, is_spoken
from kikitori.types import Audio

logger = logging.getLogger(__name__)

MOST_WAITING = 32
"""Finals that wait for their translation; when there are more, the oldest goes without."""
MOST_BEFORE = 3
MOST_KEPT = 256
"""Translations that somebody who comes later is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long whoever translates may take, in seconds."""

    silence: float = 15.0
    """Without a word, also before the first."""
    whole: float = 60.0
    last: float = 20.0
    """After the session has ended."""


class Translations:
    """Told what a session says; tells ``tell`` what it becomes. Belongs to one event loop."""

    def __init__(
        self,
        tag: str,
        interpreter: Interpreter,
        tell: Callable[[LiveEvent], None],
        *,
        on_idle: Callable[[], None] = lambda: None,
        patience: Patience | None = None,
    ) -> None:
        """``tag`` is the language to translate into; ``on_idle`` is called whenever nothing is left to do."""
        self.tag, self.feed = tag, Feed()
        self._interpreter, self._tell_session, self._on_idle = interpreter, tell, on_idle
        self._patience = patience or Patience()
        self._audio: dict[int, Audio] = {}
        """Of utterances without a final."""
        self._waiting: deque[Said] = deque()
        self._now: Said | None = None
        self._text = ""
        """Of ``_now``, as far as it has come."""
        self._before: deque[str] = deque(maxlen=MOST_BEFORE)
        self._task: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._failure = ""
        """What went wrong last, until something goes well."""
        self._closed = False
        self._preparing = asyncio.create_task(self._prepare(), name="kikitori-live-translation")

    @property
    def idle(self) -> bool:
        return self._task is None

    def hear(self, event: LiveEvent) -> None:
        """What the session said."""
        match event:
            case Committed():
                self._audio[event.utterance] = event.audio
            case FinalFailed():
                self._audio.pop(event.utterance, None)
            case Final():
                audio = self._audio.pop(event.utterance, None)
                if event.text and not self._closed:
                    self._add(event, audio)

    def finish(self) -> None:
        """The session has ended: what is left may take a moment, and no longer."""
        if self._deadline is None and self._task is not None:
            self._deadline = asyncio.get_running_loop().call_later(self._patience.last, self._give_up)

    async def close(self) -> None:
        """Let go of everything at once."""
        self._closed = True
        self._waiting.clear()
        self._audio.clear()
        if self._deadline is not None:
            self._deadline.cancel()
        tasks = [task for task in (self._task, self._preparing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._interpreter.close()
        self.feed.end()

    async def _prepare(self) -> None:
        with suppress(KikitoriError):  # the first translation tries again, and says so
            await self._interpreter.prepare()

    def _add(self, final: Final, audio: Audio | None) -> None:
        before = tuple(self._before)
        said = Said(utterance=final.utterance, text=final.text, language=final.language, audio=audio, before=before)
        self._before.append(final.text)
        self._waiting.append(said)
        if len(self._waiting) > MOST_WAITING:
            self._fail(self._waiting.popleft(), "", ChatFailed("Translations are too far behind."))
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name="kikitori-live-translation")

    async def _work(self) -> None:
        try:
            while self._waiting:
                self._now, self._text = self._waiting.popleft(), ""
                await self._translate(self._now)
                self._now = None
        finally:
            self._task = None
        if not self._closed:
            self._on_idle()

    async def _translate(self, said: Said) -> None:
        try:
            if is_spoken(said, self.tag):
                self._text = said.text
            else:
                async with asyncio.timeout(self._patience.whole):
                    await self._stream(said)
        except TimeoutError:
            self._fail(said, self._text, ChatFailed("The translation did not come in time."))
        except KikitoriError as exc:
            self._fail(said, self._text, exc)
        except Exception:  # speech goes on, whatever becomes of its translation
            logger.exception(
                "translation failed", extra={"action": "live_translation_failed", "code": "internal_error"}
            )
            self._fail(said, self._text, KikitoriError("The translation failed."), logged=True)
        else:
            self._failure = ""
            self._tell(Translation(utterance=said.utterance, text=self._text.strip(), language=self.tag, done=True))

    async def _stream(self, said: Said) -> None:
        """Raises TimeoutError after a long silence."""
        async with aclosing(self._interpreter.interpret(said)) as pieces:
            while (piece := await self._next(pieces)) is not None:
                self._text += piece
                if text := self._text.strip():
                    self._tell(Translation(utterance=said.utterance, text=text, language=self.tag, done=False))

    async def _next(self, pieces: AsyncGenerator[str, None]) -> str | None:
        async with asyncio.timeout(self._patience.silence):
            return await anext(pieces, None)

    def _give_up(self) -> None:
        """What was not translated in time is not."""
        task, left = self._task, [*([self._now] if self._now else []), *self._waiting]
        self._waiting.clear()
        if task is None:
            return
        for at, said in enumerate(left):
            text = self._text if at == 0 else ""
            self._fail(said, text, ChatFailed("The translation did not come before the end."))
        self._now = None
        task.cancel()
        task.add_done_callback(lambda _: None if self._closed else self._on_idle())

    def _fail(self, said: Said, text: str, error: KikitoriError, *, logged: bool = False) -> None:
        message = error.public
        repeated, self._failure = message == self._failure, message
        if not (repeated or logged):
            logger.warning("translation failed", extra={"action": "live_translation_failed", "code": error.code})
        self._tell(
            TranslationFailed(
                utterance=said.utterance,
                text=text.strip(),
                language=self.tag,
                code=error.code,
                message=message,
                repeated=repeated,
            )
        )

    def _tell(self, event: Translation | TranslationFailed) -> None:
        self.feed.add(event)
        self._tell_session(event)


class Feed:
    """Translations for those who follow them: each is told the newest of every utterance, at their own pace."""

    def __init__(self) -> None:
        self._newest: OrderedDict[int, tuple[int, Translation | TranslationFailed]] = OrderedDict()
        """By utterance, in the order of their numbers; the number of an event only ever grows."""
        self._count = 0
        self._over = False
        self._changed = asyncio.Event()

    def add(self, event: Translation | TranslationFailed) -> None:
        self._count += 1
        self._newest.pop(event.utterance, None)
        self._newest[event.utterance] = (self._count, event)
        if len(self._newest) > MOST_KEPT:
            self._newest.popitem(last=False)
        self._wake()

    def end(self) -> None:
        self._over = True
        self._wake()

    async def follow(self, after: int = 0) -> AsyncGenerator[tuple[int, Translation | TranslationFailed], None]:
        """Numbered events after number ``after``, until the session is over."""
        while True:
            changed = self._changed
            for number, event in [each for each in self._newest.values() if each[0] > after]:
                after = number
                yield number, event
            if self._over and self._count <= after:
                return
            if changed is self._changed:
                await changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
