"""Where utterances begin and end."""

from __future__ import annotations

from collections.abc import Sequence

from kikitori.audio.vad import FRAME_SAMPLES
from kikitori.live.endpoint import Began, Ended, Endpointer, Mark
from kikitori.live.events import EndReason
from kikitori.live.options import LiveOptions
from kikitori.types import SAMPLE_RATE

PATIENCE = 16 * FRAME_SAMPLES


def marks(probabilities: Sequence[float], options: LiveOptions | None = None, *, look_back: bool = True) -> list[Mark]:
    endpointer = Endpointer()
    return [
        mark
        for n, probability in enumerate(probabilities)
        for mark in endpointer.push(
            n * FRAME_SAMPLES, probability, options or LiveOptions(), PATIENCE, look_back=look_back
        )
    ]


def frames(seconds: float) -> int:
    return int(seconds * SAMPLE_RATE / FRAME_SAMPLES)


def test_two_frames_are_a_click() -> None:
    assert marks([0.9, 0.9, 0.1] * 10) == []


def test_three_frames_begin_and_silence_ends() -> None:
    began, ended = marks([0.0] * 5 + [0.9] * 10 + [0.1] * 20)
    assert isinstance(began, Began) and began.start == 5 * FRAME_SAMPLES
    assert ended == Ended(end=(15 + 16) * FRAME_SAMPLES, reason=EndReason.PAUSE)


def test_a_soft_beginning_belongs_to_it() -> None:
    [began] = marks([0.0] * 5 + [0.2] * 4 + [0.9] * 3)
    assert isinstance(began, Began) and began.start == 5 * FRAME_SAMPLES
    [began] = marks([0.2] * 4 + [0.0] + [0.9] * 3)
    assert isinstance(began, Began) and began.start == 5 * FRAME_SAMPLES
    [began] = marks([0.2] * 1_000 + [0.9] * 3)
    assert isinstance(began, Began) and 1_003 * FRAME_SAMPLES - began.start < SAMPLE_RATE


def test_speech_that_fades_goes_on() -> None:
    assert len(marks([0.9] * 3 + [0.4] * 30)) == 1
    assert len(marks([0.9] * 3 + [0.34] * 30)) == 2


def test_a_pause_that_is_too_short_ends_nothing() -> None:
    assert len(marks(([0.9] * 5 + [0.1] * 15) * 5)) == 1


def test_long_speech_ends_at_the_next_short_pause() -> None:
    """After three quarters of the longest utterance."""
    found = marks([0.9] * frames(10) + [0.1] * 5 + [0.9] * frames(6) + [0.1] * 4 + [0.9] * 5)
    assert [type(mark) for mark in found] == [Began, Ended, Began]
    assert found[1] == Ended(end=(frames(10) + 5 + frames(6) + 4) * FRAME_SAMPLES, reason=EndReason.LONGEST)


def test_speech_without_pause_is_cut_where_it_is_least_likely() -> None:
    quiet = frames(19)
    found = marks([0.9] * quiet + [0.7] + [0.9] * 100)
    cut = (quiet + 1) * FRAME_SAMPLES
    began, ended, again = found
    assert ended == Ended(end=cut, reason=EndReason.LONGEST)
    assert isinstance(began, Began) and isinstance(again, Began)
    assert again.start == cut == began.speech.end == again.speech.start
    assert again.continues and not began.continues


def test_a_stream_is_cut_where_it_is() -> None:
    """What a streaming engine has heard cannot be taken from it."""
    found = marks([0.9] * frames(19) + [0.7] + [0.9] * 100, look_back=False)
    assert isinstance(found[1], Ended)
    assert found[1].end >= 20 * SAMPLE_RATE


def test_frames_of_audio_that_is_gone_do_not_count() -> None:
    endpointer = Endpointer()
    endpointer.reset(10 * FRAME_SAMPLES)
    found = [endpointer.push(n * FRAME_SAMPLES, 0.9, LiveOptions(), PATIENCE) for n in range(13)]
    assert [len(each) for each in found] == [0] * 12 + [1]
