"""What people see while recordings are transcribed, on stderr: a bar on a terminal, lines in a pipe."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

from kikitori.cli.inputs import Recording
from kikitori.pipeline.events import Progress
from kikitori.text.durations import human_duration
from kikitori.types import Transcript

if TYPE_CHECKING:
    import rich.progress

LINE_EVERY_SECONDS = 5.0
FACTS_WIDTH = 62
"""Columns for `` 100 %, 1:00:00 of 1:00:00, 12.3× real time, 0:10:00 left`` and the spaces around."""


class Reporter(Protocol):
    """Told what happens; ``with`` it, and everything it drew is closed."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None: ...

    def note(self, text: str) -> None:
        """Something worth a line: a model is loaded, a file was written."""
        ...

    def begin(self, recording: Recording) -> None: ...

    def tell(self, recording: Recording, words: str) -> None:
        """What it waits for."""
        ...

    def advance(self, recording: Recording, progress: Progress, *, elapsed: float | None = None) -> None:
        """``elapsed``: seconds of work so far, where others measured them; else those since ``begin``."""
        ...

    def end(self, recording: Recording, transcript: Transcript | None, *, elapsed: float | None = None) -> None:
        """``transcript`` is None when it failed."""
        ...

    def paused(self) -> AbstractContextManager[object]:
        """Nothing is drawn inside: others write to the terminal."""
        ...


def speed(seconds: float, elapsed: float) -> str:
    """``12.3×``: seconds of audio in a second."""
    return f"{seconds / elapsed:.1f}×" if elapsed > 0 else "-"


def summary(transcript: Transcript, elapsed: float) -> str:
    """``1:02 of audio in 0:05 (12.4× real time), small, en``."""
    facts = [transcript.model, transcript.language] if transcript.model else [transcript.language]
    rest = "".join(f", {fact}" for fact in facts if fact)
    real_time = f"{speed(transcript.duration, elapsed)} real time"
    return f"{human_duration(transcript.duration)} of audio in {human_duration(elapsed)} ({real_time}){rest}"


@dataclass(slots=True)
class _Running:
    began: float
    told: float


class Lines:
    """Plain lines: now and then how far it is, and what came of it."""

    def __init__(self, out: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._out, self._clock = out or sys.stderr, clock
        self._running: dict[Recording, _Running] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.clear()

    def paused(self) -> AbstractContextManager[object]:
        return nullcontext()

    def note(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def begin(self, recording: Recording) -> None:
        now = self._clock()
        self._running[recording] = _Running(began=now, told=now)

    def tell(self, recording: Recording, words: str) -> None:
        self.note(f"{recording.name}: {words}")

    def advance(self, recording: Recording, progress: Progress, *, elapsed: float | None = None) -> None:
        running, now = self._running[recording], self._clock()
        if now - running.told < LINE_EVERY_SECONDS or progress.fraction == 1:
            return
        running.told = now
        spent = now - running.began if elapsed is None else elapsed
        self.note(f"{recording.name}: {progress_words(progress, spent)}")

    def end(self, recording: Recording, transcript: Transcript | None, *, elapsed: float | None = None) -> None:
        running = self._running.pop(recording)
        if transcript is not None:
            spent = self._clock() - running.began if elapsed is None else elapsed
            self.note(f"{recording.name}: done, {summary(transcript, spent)}")


def progress_words(progress: Progress, elapsed: float) -> str:
    """``37 %, 0:22 of 1:00, 4.4× real time, 0:09 left``."""
    done, duration = progress.seconds_done, progress.duration
    words = [f"{human_duration(done)} of {human_duration(duration)}" if duration else human_duration(done)]
    if duration:
        words.insert(0, f"{progress.fraction * 100:.0f} %")
    if done and elapsed > 0:
        words.append(f"{speed(done, elapsed)} real time")
        if duration:
            words.append(f"{human_duration((duration - done) * elapsed / done)} left")
    return ", ".join(words)


class Bars:
    """A line for each recording that runs: bar, percentage, speed, time left."""

    def __init__(self, out: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._clock = clock
        self._console = Console(file=out or sys.stderr)
        self._bar_width = 24 if self._console.width >= 120 else 10
        columns = (
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.fields[shown]}", markup=False),
            BarColumn(bar_width=self._bar_width),
            TextColumn("{task.fields[facts]}", markup=False),
        )
        self._bars = RichProgress(
            *columns, console=self._console, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._tasks: dict[Recording, rich.progress.TaskID] = {}
        self._began: dict[Recording, float] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._bars.stop()
        try:
            yield
        finally:
            self._bars.start()

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, recording: Recording) -> None:
        shown = shortened(recording.name, max(12, self._console.width - self._bar_width - FACTS_WIDTH))
        self._began[recording] = self._clock()
        self._tasks[recording] = self._bars.add_task("", total=None, shown=shown, facts="")

    def tell(self, recording: Recording, words: str) -> None:
        self._bars.update(self._tasks[recording], facts=words)

    def advance(self, recording: Recording, progress: Progress, *, elapsed: float | None = None) -> None:
        spent = self._clock() - self._began[recording] if elapsed is None else elapsed
        facts = progress_words(progress, spent)
        self._bars.update(self._tasks[recording], completed=progress.seconds_done, total=progress.duration, facts=facts)

    def end(self, recording: Recording, transcript: Transcript | None, *, elapsed: float | None = None) -> None:
        self._bars.remove_task(self._tasks.pop(recording))
        since = self._clock() - self._began.pop(recording)
        if transcript is not None:
            self.note(f"✓ {recording.name}: {summary(transcript, since if elapsed is None else elapsed)}")


def shortened(name: str, width: int) -> str:
    """The end of a long name says more than its beginning."""
    return name if len(name) <= width else f"…{name[1 - width :]}"


class Silence:
    """For ``--quiet``: errors only, which others print."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def paused(self) -> AbstractContextManager[object]:
        return nullcontext()

    def note(self, text: str) -> None:
        return None

    def begin(self, recording: Recording) -> None:
        return None

    def tell(self, recording: Recording, words: str) -> None:
        return None

    def advance(self, recording: Recording, progress: Progress, *, elapsed: float | None = None) -> None:
        return None

    def end(self, recording: Recording, transcript: Transcript | None, *, elapsed: float | None = None) -> None:
        return None


def reporter(*, quiet: bool) -> Reporter:
    if quiet:
        return Silence()
    dumb = os.environ.get("TERM", "dumb") in ("dumb", "unknown")
    return Bars() if sys.stderr.isatty() and not dumb else Lines()
