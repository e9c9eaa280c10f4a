import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kikitori.errors import Busy
from kikitori.pipeline.events import TranscriptionEvent
from kikitori.testing import FakeTranscriber, Hold, Step, fake_segments, fake_transcript, script_of
from kikitori.types import Transcript, join_text
from kikitori.web.asked import Asked, read_asked
from kikitori.web.multipart import Fields
from kikitori.web.streaming import DONE_FRAME, DeltaText, data_frame, event_frames

PLAIN = read_asked(Fields())
DIARIZED = read_asked(Fields((("response_format", "diarized_json"), ("channels", "split"))))


async def frames_of(*script: Step, asked: Asked = PLAIN) -> list[bytes]:
    return [frame async for frame in event_frames(FakeTranscriber(script).stream("", asked.options), asked)]


def messages(frames: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(frame[6:]) for frame in frames if frame.startswith(b"data: {")]


@given(st.lists(st.text(alphabet=" ab\n\u3000聞", max_size=6), max_size=8))
def test_deltas_join_to_the_text(texts: list[str]) -> None:
    delta = DeltaText()
    assert "".join(delta.add(text) for text in texts) == join_text(fake_segments(*texts))


async def test_deltas_then_done() -> None:
    transcript = fake_transcript(" The birch", " canoe.", "  ")
    frames = await frames_of(*script_of(transcript))
    *deltas, done = messages(frames)
    assert [message["delta"] for message in deltas] == ["The birch", " canoe."]
    assert [message["segment"]["start"] for message in deltas] == [0.0, 1.0]
    assert done["text"] == transcript.text
    assert done["usage"]["total_tokens"] == done["usage"]["input_tokens"] + done["usage"]["output_tokens"]
    assert frames[-1] == DONE_FRAME
    assert all(frame.endswith(b"\n\n") and frame.count(b"\n") == 2 for frame in frames)


async def test_silence_is_one_done() -> None:
    (done,) = messages(await frames_of(*script_of(fake_transcript())))
    assert (done["type"], done["text"]) == ("transcript.text.done", "")


async def test_progress_is_a_comment() -> None:
    frames = await frames_of(*script_of(fake_transcript(" a")))
    assert b": 1.0 s done\n\n" in frames


async def test_speakers_come_as_segments() -> None:
    transcript = fake_transcript(" Hello.", " Hi.", speakers=("left", "right"))
    found = messages(await frames_of(*script_of(transcript), asked=DIARIZED))
    assert [message["type"].rpartition(".")[2] for message in found] == ["delta", "segment", "delta", "segment", "done"]
    assert [message["segment_id"] for message in found if "segment_id" in message] == ["seg_0", "seg_1"]
    assert [message["speaker"] for message in found if message["type"].endswith("segment")] == ["A", "B"]


async def test_an_error_is_the_last_message() -> None:
    started = script_of(fake_transcript())[0]
    (message,) = messages(await frames_of(started, Busy("Too much.", retry_after=3)))
    assert message["error"]["code"] == "rate_limit_exceeded"


async def test_an_unforeseen_error_says_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    (message,) = messages(await frames_of(RuntimeError("secret detail")))
    assert message["error"]["code"] == "internal_error"
    assert "secret" not in json.dumps(message)
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("stopping", [True, False])
async def test_cancelled_by_shutdown_says_so(stopping: bool) -> None:
    hold = Hold()
    stream = FakeTranscriber([hold]).stream("", PLAIN.options)
    frames: list[bytes] = []

    async def collect() -> None:
        async with aclosing(event_frames(stream, PLAIN, stopping=lambda: stopping)) as source:
            async for frame in source:
                frames.append(frame)

    task = asyncio.create_task(collect())
    await hold.reached.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() is not stopping
    assert [message["error"]["code"] for message in messages(frames)] == ["shutting_down"] * stopping


async def test_closing_the_frames_leaves_closing_the_events_to_their_owner() -> None:
    transcriber = FakeTranscriber(script_of(fake_transcript(" a", " b")))
    events: AsyncGenerator[TranscriptionEvent, None] = transcriber.stream("", PLAIN.options)
    async with aclosing(events):
        async with aclosing(event_frames(events, PLAIN)) as frames:
            await anext(frames)
    assert transcriber.calls[0].closed.is_set()
    assert not transcriber.calls[0].finished


def test_line_separators_inside_text_are_escaped() -> None:
    frame = data_frame({"delta": "a\u2028b\u0085c\nd"})
    assert len(frame.decode().splitlines()) == 2
    assert json.loads(frame[6:]) == {"delta": "a\u2028b\u0085c\nd"}


def test_a_transcript_keeps_the_text_of_its_segments() -> None:
    segments = fake_segments(" a ", " b ")
    assert Transcript(segments=segments, language="en").text == "a  b"
