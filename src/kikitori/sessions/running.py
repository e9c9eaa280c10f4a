"""One live session at work: its input, its state machine, its decodings, and who hears of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kikitori.audio.live_input import ContainerInput, LiveInput
from kikitori.audio.vad import FRAME_SAMPLES, Probabilities
from kikitori.errors import DecodingCancelled, KikitoriError
from kikitori.inference.loaded import LoadedModel
from kikitori.live.events import Final, FinalFailed, LiveEvent, Translating, Translation, TranslationFailed
from kikitori.live.jobs import Heard, Job, JobKind
from kikitori.live.options import LiveOptions
from kikitori.live.session import LiveSession
from kikitori.sessions.decoding import Decoder
from kikitori.sessions.pace import Pace
from kikitori.sessions.translations import Translations
from kikitori.types import SAMPLE_RATE, Audio

logger = logging.getLogger(__name__)

KEPT_EVENTS = 256
"""Decided text that a client which lost its connection is told again."""
FINAL_TRIES = 3
LONGEST_TURN_SECONDS = 600.0
"""Of a manual turn; then it is committed, and the next one begins."""

OnEvent = Callable[[LiveEvent], None]


class Machine(Protocol):
    """What a session needs of the desk; ``sessions.desk.LiveDesk``."""

    def listen(self, session: RunningSession, audio: Audio) -> None:
        """Find speech in ``audio``."""
        ...

    def want(self, session: RunningSession) -> None:
        """It may have something to decode."""
        ...

    def decoded(self, kind: JobKind, heard: Heard) -> None: ...

    def over(self, session: RunningSession) -> None:
        """Everything it had to say is out, or nobody wants it any more."""
        ...


class Recorder(Protocol):
    """Keeps the audio and the text of a session."""

    def add(self, audio: Audio) -> None: ...

    def hear(self, event: LiveEvent) -> None: ...

    async def close(self, *, keep: bool) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """What does not change while a session lives."""

    id: str
    token: str
    owner: str
    resumable: bool = False
    buffer_seconds: float = 60.0


class RunningSession:
    """Belongs to one event loop. ``feed`` may wait; everything else answers at once."""

    def __init__(
        self,
        facts: SessionFacts,
        machine: Machine,
        options: LiveOptions,
        source: LiveInput,
        decoder: Decoder,
        *,
        streaming: bool,
        languages: frozenset[str] | None,
        on_event: OnEvent,
        recorder: Recorder | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.facts, self.options = facts, options
        self._machine, self._input, self._decoder, self._clock = machine, source, decoder, clock
        self._core = LiveSession(options, streaming=streaming, languages=languages)
        self._recorder = recorder
        self._pace = Pace(clock=clock)
        self.translations: Translations | None = None
        """Of finals, when somebody wants them."""
        self._on_event: OnEvent | None = on_event
        self._kept: deque[LiveEvent] = deque(maxlen=KEPT_EVENTS)
        self._task: asyncio.Task[Any] | None = None
        self._job: Job | None = None
        self._tries = 0
        self._later: deque[Audio | Callable[[], None]] = deque()
        """Audio and wishes in their order, behind a wish that waits for the speech detector."""
        self._ended = self._closed = False
        self._room = asyncio.Event()
        self._room.set()
        self.finished = asyncio.Event()
        """Ended, and everything it had to say is out; or closed."""
        self.last_audio = clock()

    # Input

    @property
    def received_samples(self) -> int:
        """How much came in, in the client's own rate."""
        return self._input.received_samples

    @property
    def ended(self) -> bool:
        return self._ended

    async def feed(self, data: bytes) -> None:
        """Take audio in; waits while the machine is too far behind. Raises InvalidMedia."""
        self.last_audio = self._clock()
        if isinstance(self._input, ContainerInput):  # a small piece of one may hold minutes
            self._take(await asyncio.to_thread(self._input.push, data))
        else:
            self._take(self._input.push(data))
        await self._room.wait()

    def commit(self) -> None:
        self._in_order(lambda: self._tell(self._core.commit(self._clock())))

    def clear(self) -> None:
        self._in_order(lambda: self._tell(self._core.clear()))

    def await_speech(self, after: float, patience: float | None) -> None:
        """As ``LiveSession.await_speech``."""
        self._core.await_speech(after, patience)

    def configure(self, options: LiveOptions, *, streaming: bool, source: LiveInput | None = None) -> None:
        """Listen otherwise from here on; ``source``: the audio comes in another format."""
        if source is not None:
            self._take(self._input.finish())
            self._input.close()
            self._input = source

        def change() -> None:
            self.options, self._decoder.model = options, options.model
            self._core.configure(options, streaming=streaming)

        self._in_order(change)

    def end(self) -> None:
        """No more audio comes; ``finished`` tells when all is said."""
        if self._ended or self._closed:
            return
        self._ended = True
        try:
            self._take(self._input.finish())
        except KikitoriError:
            pass  # the rest of a container that was cut off
        self._in_order(lambda: self._tell(self._core.end(self._clock())))

    def _in_order(self, work: Callable[[], None]) -> None:
        """Do ``work`` when it is known who spoke before it: what ends an utterance must not overtake the detector."""
        self._later.append(work)
        self._catch_up()

    def _take(self, audio: Audio) -> None:
        if not len(audio) or self._closed:
            return
        self._pace.add(len(audio) / SAMPLE_RATE)
        if self._recorder:
            self._recorder.add(audio)
        self._later.append(audio)
        self._catch_up()

    def _catch_up(self) -> None:
        while self._later and not self._closed:
            work = self._later[0]
            if not isinstance(work, np.ndarray) and self._core.position - self._core.judged >= FRAME_SAMPLES:
                break
            self._later.popleft()
            if isinstance(work, np.ndarray):
                self._core.push_audio(work)
                self._machine.listen(self, work)
                self._end_endless_turn()
            else:
                work()
        self._make_room()

    def speech(self, probabilities: Probabilities) -> None:
        """What the speech detector says of the next frames."""
        if not self._closed:
            self._tell(self._core.push_speech(probabilities, self._clock()))
            self._catch_up()

    def _end_endless_turn(self) -> None:
        """Manual turns that nobody ends would fill the memory."""
        if self._core.open_seconds > LONGEST_TURN_SECONDS:
            self._later.appendleft(lambda: self._tell(self._core.commit(self._clock())))

    def _make_room(self) -> None:
        """Clients wait while more than the buffer is undecided; what an open utterance holds is not behind."""
        core = self._core
        waiting = sum(len(work) for work in self._later if isinstance(work, np.ndarray))
        behind = core.waiting_seconds + (core.position - core.judged + waiting) / SAMPLE_RATE
        if behind < self.facts.buffer_seconds:
            self._room.set()
        else:
            self._room.clear()

    # Output

    def attach(self, on_event: OnEvent) -> Sequence[LiveEvent]:
        """Tell ``on_event`` from now on; what may have got lost on the way to the one before."""
        self._on_event = on_event
        self._input.go_on()
        self.last_audio = self._clock()
        return list(self._kept)

    def detach(self) -> None:
        self._on_event = None

    @property
    def attached(self) -> bool:
        return self._on_event is not None

    def tells(self, on_event: OnEvent) -> bool:
        """Nobody else has taken the session up since."""
        return self._on_event is on_event

    def set_load(self, level: int, stretch: float) -> None:
        self._tell(self._core.set_load(level, stretch, self._clock()))

    def translate(self, translations: Translations) -> None:
        """Have finals translated from here on; whoever opened the session is told when it has it."""
        self.translations = translations
        event = Translating(session=self.facts.id, language=translations.tag)
        asyncio.get_running_loop().call_soon(self.say, event)

    def say(self, event: LiveEvent) -> None:
        """Tell whoever listens."""
        if isinstance(event, Final | FinalFailed):
            self._tries = 0
        if self.facts.resumable and _is_kept(event):
            self._kept.append(event)
        if self._recorder:
            self._recorder.hear(event)
        if self._on_event is not None:
            self._on_event(event)
        if self.translations is not None:
            self.translations.hear(event)

    def end_if_done(self) -> None:
        """Everything is said, and translated as far as it is wanted."""
        if self._closed or not self._core.done:
            return
        if self.translations is None or self.translations.idle:
            self._machine.over(self)
        else:
            self.translations.finish()

    def _tell(self, events: Sequence[LiveEvent]) -> None:
        for event in events:
            self.say(event)
        if self._closed:
            return
        self._drop_if_obsolete()
        self._machine.want(self)
        self.end_if_done()

    # Decoding

    @property
    def model(self) -> str:
        return self._decoder.model

    @property
    def decoding(self) -> bool:
        return self._job is not None

    @property
    def hurries(self) -> bool:
        return self._pace.hurries

    def wish(self, now: float) -> tuple[JobKind, float] | None:
        return None if self._closed else self._core.next_due(now)

    def begin(self, now: float, wanted_at: float) -> Coroutine[Any, Any, LoadedModel | None] | None:
        job = None if self._closed else self._core.next_job(now)
        if job is None:
            return None
        self._job = job
        return self._decode(job, wanted_at)

    async def _decode(self, job: Job, wanted_at: float) -> LoadedModel | None:
        self._task = asyncio.current_task()
        try:
            heard, model = await self._decoder.decode(job, wanted_at=wanted_at)
        except asyncio.CancelledError:
            self._let_go()
            self._core.drop(job)
            return None
        except DecodingCancelled:
            self._let_go()
            self._failed(job, KikitoriError("The model was unloaded."))
            return None
        except Exception as exc:  # one utterance is lost at most; the session goes on
            self._let_go()
            await self._decoder.reset()
            self._failed(job, exc)
            return None
        self._let_go()
        self._machine.decoded(job.kind, heard)
        self._tell(self._core.complete(job, heard, self._clock()))
        self._make_room()
        return model

    def _let_go(self) -> None:
        self._job = self._task = None

    def _failed(self, job: Job, exc: Exception) -> None:
        if self._closed:
            return
        again = job.kind is JobKind.FINAL and self._tries < FINAL_TRIES - 1
        logger.log(
            logging.WARNING if again or isinstance(exc, KikitoriError) else logging.ERROR,
            "live decoding failed",
            exc_info=None if isinstance(exc, KikitoriError) else exc,
            extra={"action": "live_decoding_failed", "session": self.facts.id, "kind": job.kind, "again": again},
        )
        if again:
            self._tries += 1
            self._core.drop(job)
            self._machine.want(self)
            return
        known = isinstance(exc, KikitoriError)
        code = exc.code if isinstance(exc, KikitoriError) else "internal_error"
        message = exc.public if known and isinstance(exc, KikitoriError) else "The utterance could not be decoded."
        self._tell(self._core.fail(job, code, message, self._clock()))

    def _drop_if_obsolete(self) -> None:
        if self._job is not None and self._task is not None and self._core.obsolete:
            self._task.cancel()

    async def close(self) -> None:
        """Let go of everything, whatever is still to be said."""
        if self._closed:
            return
        self._closed = True
        self._on_event = None
        self._room.set()
        self._input.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self.translations is not None:
            await self.translations.close()
        await self._decoder.reset()
        if self._recorder is not None:
            await self._recorder.close(keep=self.seconds > 0)
        self.finished.set()

    @property
    def seconds(self) -> float:
        """Audio so far."""
        return self._core.position / SAMPLE_RATE


def _is_kept(event: LiveEvent) -> bool:
    """Decided text, of which a client that lost its connection is told again."""
    return isinstance(event, Final | FinalFailed | TranslationFailed) or (isinstance(event, Translation) and event.done)
