from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kikitori.cli.exits import ExitCode
from kikitori.cli.inputs import Recording
from kikitori.cli.progress import Lines
from kikitori.cli.run import Run
from kikitori.errors import InvalidInput, InvalidMedia, KikitoriError, Unavailable, Unsupported
from kikitori.pipeline.events import Finished, Progress, SegmentDone, Started, TranscriptionEvent
from kikitori.testing import until
from kikitori.types import DecodeMode, Segment, Transcript


@dataclass
class FakeBackend:
    """Hears two segments in each recording; waits between them for its gate; fails where told."""

    fails: dict[str, Exception] = field(default_factory=dict)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    over: set[str] = field(default_factory=set)
    most: int = 0

    async def stream(self, recording: Recording) -> AsyncGenerator[TranscriptionEvent, None]:
        name = recording.name
        self.running.add(name)
        self.most = max(self.most, len(self.running))
        try:
            segments = tuple(Segment(id=i, start=float(i), end=i + 1.0, text=f" {name} {i}") for i in range(2))
            yield Started(
                duration=2.0, language="en", language_probability=0.5, model="m", engine="e", mode=DecodeMode.WINDOWED
            )
            yield SegmentDone(segment=segments[0])
            yield Progress(seconds_done=1.0, duration=2.0)
            if gate := self.gates.get(name):
                await gate.wait()
            await asyncio.sleep(0)
            if error := self.fails.get(name):
                raise error
            yield SegmentDone(segment=segments[1])
            yield Progress(seconds_done=2.0, duration=2.0)
            yield Finished(transcript=Transcript(segments=segments, language="en", duration=2.0))
        finally:
            self.running.discard(name)
            self.over.add(name)


@dataclass
class Delivered:
    got: list[tuple[str, str, bool]] = field(default_factory=list)
    fails: KikitoriError | None = None

    def __call__(self, recording: Recording, transcript: Transcript, *, whole: bool) -> None:
        if self.fails:
            raise self.fails
        self.got.append((recording.name, transcript.text, whole))


RECORDINGS = [Recording(name=name, path=Path(name)) for name in "abcdef"]
WHOLE = [(name, f"{name} 0 {name} 1", True) for name in "abcdef"]


@dataclass
class Case:
    backend: FakeBackend = field(default_factory=FakeBackend)
    delivered: Delivered = field(default_factory=Delivered)

    def run(self, *, jobs: int = 3, in_order: bool = True) -> Run:
        return Run(self.backend, self.delivered, Lines(), jobs=jobs, in_order=in_order)


async def test_all_are_decoded_and_delivered_in_order() -> None:
    case = Case()
    assert await case.run().all(RECORDINGS) is ExitCode.OK
    assert case.delivered.got == WHOLE
    assert case.backend.most == 3


@pytest.mark.parametrize(("in_order", "first"), [(True, []), (False, [WHOLE[2]])])
async def test_a_slow_one_holds_back_only_what_must_come_in_order(
    in_order: bool, first: list[tuple[str, str, bool]]
) -> None:
    case = Case()
    case.backend.gates = {name: asyncio.Event() for name in "abdef"}
    running = asyncio.create_task(case.run(in_order=in_order).all(RECORDINGS))
    await until(lambda: case.backend.running == {"a", "b", "d"} and case.backend.over == {"c"})
    assert case.delivered.got == first
    for gate in case.backend.gates.values():
        gate.set()
    await running
    assert sorted(case.delivered.got) == WHOLE
    assert not in_order or case.delivered.got == WHOLE


async def test_one_failure_leaves_the_others_alone(capsys: pytest.CaptureFixture[str]) -> None:
    case = Case()
    case.backend.fails = {"b": InvalidMedia("This is not audio."), "d": ValueError("a bug\nof ours")}
    assert await case.run(jobs=1).all(RECORDINGS) is ExitCode.FAILED
    assert [name for name, _, _ in case.delivered.got] == ["a", "c", "e", "f"]
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("kikitori: ")]
    assert lines == [
        "kikitori: b: This is not audio. Send an audio or video file.",
        "kikitori: d: Something went wrong (ValueError: a bug of ours). Run it again with --debug, and report what "
        "it shows.",
    ]


async def test_what_befalls_all_ends_the_run_and_keeps_what_is_done() -> None:
    case = Case()
    case.backend.fails = {"c": Unsupported("It cannot translate.", param="task")}
    with pytest.raises(Unsupported):
        await case.run(jobs=1).all(RECORDINGS)
    assert case.delivered.got == WHOLE[:2]
    assert case.backend.running == set()


async def test_what_befalls_all_does_not_swallow_what_another_one_has_done() -> None:
    case = Case()
    case.backend.gates = {"a": asyncio.Event()}
    case.backend.fails = {"a": Unavailable("The server has gone.")}
    running = asyncio.create_task(case.run(jobs=2).all(RECORDINGS[:2]))
    await until(lambda: case.backend.running == {"a"} and case.backend.over == {"b"})
    case.backend.gates["a"].set()
    with pytest.raises(Unavailable):
        await running
    assert case.delivered.got == [WHOLE[1]]


async def test_what_cannot_be_written_counts_as_failed() -> None:
    case = Case(delivered=Delivered(fails=InvalidInput("The disk is full.")))
    assert await case.run().all(RECORDINGS) is ExitCode.FAILED


async def test_a_closed_pipe_ends_the_run() -> None:
    class Closed(Delivered):
        def __call__(self, recording: Recording, transcript: Transcript, *, whole: bool) -> None:
            raise BrokenPipeError

    case = Case(delivered=Closed())
    with pytest.raises(BrokenPipeError):
        await case.run().all(RECORDINGS)
    assert case.backend.running == set()


async def test_stopping_delivers_what_was_heard(capsys: pytest.CaptureFixture[str]) -> None:
    case = Case()
    case.backend.gates = {"b": asyncio.Event()}
    running = asyncio.create_task(case.run(jobs=2).all(RECORDINGS[:3]))
    await until(lambda: case.backend.running == {"b"} and case.backend.over == {"a", "c"})
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert case.delivered.got == [WHOLE[0], ("b", "b 0", False), WHOLE[2]]
    assert "b: stopped at 0:01" in capsys.readouterr().err
    assert case.backend.running == set()
