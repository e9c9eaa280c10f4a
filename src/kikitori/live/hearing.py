"""What comes of a pass: made-up text is left out, interims show their stable text, finals are decided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from kikitori.live import guards
from kikitori.live.context import Context
from kikitori.live.events import Final, Interim
from kikitori.live.guards import Ground
from kikitori.live.jobs import Heard
from kikitori.live.options import FinalFrom
from kikitori.live.passes import Pass
from kikitori.live.trimming import STUCK_SECONDS, STUCK_TAIL_SECONDS, TRIM_SECONDS, cut_after
from kikitori.live.utterance import Utterance
from kikitori.live.words import norms, units, words_of
from kikitori.types import SAMPLE_RATE, Segment, Word, join_text


def believed(heard: Heard, utterance: Utterance, *, start: int, end: int, judged: int) -> Pass:
    """A pass over ``utterance`` without made-up text; its audio is samples ``start`` to ``end``."""
    segments = [_moved(segment, start / SAMPLE_RATE, number) for number, segment in enumerate(heard.segments)]
    if not utterance.streaming:
        ground = Ground(speech=utterance.speech, judged=judged, end=end)
        segments = guards.plausible(segments, ground, utterance.options.decode)
        if guards.is_known_phrase(segments, heard.language, ground):
            segments = []
    return Pass(segments=tuple(segments), start=start, end=end, language=heard.language, provisional=heard.provisional)


def hear_interim(utterance: Utterance, heard: Pass) -> Interim | None:
    """Take a pass over an open utterance; what there is to show, if it is new."""
    utterance.heard_to = heard.end
    found = heard.units
    if guards.is_loop(found):
        utterance.loops += 1
        if utterance.loops > 1 and utterance.text.committed:
            utterance.window = max(utterance.window, int(utterance.text.committed[-1].end * SAMPLE_RATE))
        return None
    utterance.loops = 0
    if heard.provisional:
        utterance.text.show(found)
    else:
        utterance.text.hear(found, heard.end / SAMPLE_RATE, start=heard.start / SAMPLE_RATE, trusted=heard.sure)
    utterance.said = utterance.text.stable + utterance.text.tail
    if not utterance.streaming:
        _trim(utterance, heard)
    return _show(utterance)


def decide(utterance: Utterance, heard: Pass, context: Context) -> Final | None:
    """The final that a pass over all of ``utterance`` makes; None: it heard a loop, and should be made once more."""
    segments: Sequence[Segment] = heard.segments
    if guards.is_loop(heard.units):
        context.drop()
        if not (utterance.retried or utterance.streaming):
            return None
        segments = guards.unlooped(segments)
    assert utterance.reason is not None
    bound = utterance.options.final_from is FinalFrom.STABLE and bool(utterance.text.committed)
    if bound:
        segments = [_going_on(utterance, segments, heard)]
    text = join_text(segments)
    words = [word for segment in segments for word in words_of(segment)]
    sure = sum(word.probability for word in words) / max(1, len(words))
    if words and not bound and context.is_echo(norms(text), words[0].start, sure):
        segments, text, words = [], "", []
    if not heard.sure:
        context.drop()
    elif text:
        context.add(text, heard.language, words[-1].end if words else utterance.end / SAMPLE_RATE)
    return Final(
        utterance=utterance.number,
        text=text,
        stable=utterance.text.stable,
        start=utterance.start,
        end=utterance.end,
        reason=utterance.reason,
        language=heard.language,
        words=tuple(words),
        segments=tuple(segments),
    )


def silence(utterance: Utterance) -> Final:
    """The final of an utterance without speech."""
    assert utterance.reason is not None
    return Final(
        utterance=utterance.number,
        text="",
        stable=utterance.text.stable,
        start=utterance.start,
        end=utterance.end,
        reason=utterance.reason,
    )


def _going_on(utterance: Utterance, segments: Sequence[Segment], heard: Pass) -> Segment:
    """The stable words of ``utterance`` and what ``segments``, of the pass over all of it, say after them."""
    said = units(word for segment in segments for word in words_of(segment))
    text, all_units = utterance.text.go_on(said, heard.start / SAMPLE_RATE)
    words = tuple(
        Word(word=unit.text, start=unit.start, end=unit.end, probability=unit.probability) for unit in all_units
    )
    first = segments[0] if segments else Segment(id=0, start=0.0, end=0.0, text="")
    return replace(first, start=words[0].start, end=words[-1].end, text=text, words=words)


def _moved(segment: Segment, seconds: float, number: int) -> Segment:
    words = tuple(replace(word, start=word.start + seconds, end=word.end + seconds) for word in segment.words or ())
    return replace(
        segment,
        id=number,
        start=segment.start + seconds,
        end=segment.end + seconds,
        words=words if segment.words is not None else None,
    )


def _trim(utterance: Utterance, heard: Pass) -> None:
    """Move the window on when it has become long."""
    text, start, end = utterance.text, utterance.window / SAMPLE_RATE, heard.end / SAMPLE_RATE
    if end - start <= TRIM_SECONDS:
        return
    cut = cut_after(text.committed, heard.segments, start, end)
    if cut is None and end - start > STUCK_SECONDS:
        latest = end - STUCK_TAIL_SECONDS
        text.commit_until(latest)
        cut = cut_after(text.committed, (), start, end) or latest
    if cut is not None:
        utterance.window = math.ceil(cut * SAMPLE_RATE)


def _show(utterance: Utterance) -> Interim | None:
    """What is new to show; not what is only shorter than before, unless it is so twice: the text would jump."""
    stable, tail = utterance.text.stable, utterance.text.tail
    shown_stable, shown_tail = utterance.shown
    if (stable, tail) == utterance.shown:
        return None
    before, now = norms(shown_tail), norms(stable[len(shown_stable) :] + tail)
    if len(now) < len(before) and before[: len(now)] == now and not utterance.shrunk:
        utterance.shrunk = True
        return None
    utterance.shrunk = False
    utterance.shown = (stable, tail)
    utterance.revision += 1
    return Interim(
        utterance=utterance.number,
        revision=utterance.revision,
        stable=stable,
        tail=tail,
        start=utterance.start,
        end=utterance.heard_to,
    )
