"""What engines make up: text without speech, and loops."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from operator import itemgetter

from kikitori.live.speech import Speech
from kikitori.live.words import Unit, is_unspaced, norms, units, words_of
from kikitori.options import DecodeOptions
from kikitori.types import SAMPLE_RATE, Segment, Word

EQUAL_UNITS = 8
"""So many equal words in a row are a loop;"""
GRAMS = range(2, 9)
GRAM_REPEATS = 3
"""or so many equal groups of 2 to 8 words in a row,"""
GRAM_UNITS = 12
"""with this many words in all;"""
SPREAD_REPEATS = 4
"""or one group anywhere so often,"""
SPREAD_SHARE = 0.55
"""when it is so much of the text."""
UNSPACED_FACTOR = 2
"""Characters are less than words: more of them make a loop."""

SPEECH_SHARE = 0.2
"""Text with less speech under it is made up."""
DOUBTFUL_SHARE = 0.5
"""Doubtful text with less speech under it is made up."""
MARGIN_SAMPLES = SAMPLE_RATE // 5
"""Times of words are not exact: speech counts so far around it."""
ANOMALY_UNITS = 8
ANOMALY_SCORE = 3.0
UNLIKELY = 0.15
SHORTEST_SECONDS = 0.133
SHORT_WEIGHT = 15.0
LONGEST_SECONDS = 2.0
FASTEST_WORDS = 6.0
"""A second; nobody speaks faster for"""
FAST_SECONDS = 2.0

PHRASE_SPEECH_SECONDS = 1.0
PHRASE_NO_SPEECH = 0.4

KNOWN_PHRASES = {
    "en": (
        "thanks for watching",
        "thank you for watching",
        "thank you so much for watching",
        "please subscribe",
        "subscribe to my channel",
        "like and subscribe",
        "see you in the next video",
    ),
    "ja": ("ご視聴ありがとうございました", "チャンネル登録お願いします", "最後までご視聴いただきありがとうございます"),
    "ko": ("시청해 주셔서 감사합니다", "구독과 좋아요 부탁드립니다", "다음 영상에서 만나요"),
    "zh": (
        "谢谢观看",
        "感谢观看",
        "請不吝點贊訂閱轉發打賞支持明鏡與點點欄目",
        "请不吝点赞订阅转发打赏支持明镜与点点栏目",
    ),
    "de": ("vielen dank fürs zuschauen", "untertitel der amara.org community"),
    "fr": ("merci d'avoir regardé cette vidéo", "sous-titres réalisés par la communauté d'amara.org"),
    "es": ("gracias por ver el video", "subtítulos realizados por la comunidad de amara.org"),
}
"""What Whisper writes under silence, by language."""
EVERYDAY_PHRASES = {"en": ("thank you", "thank you very much", "bye", "you"), "de": ("vielen dank",)}
"""The same, but people say it too: left out only where Whisper itself hears no speech."""
_PHRASES = {language: frozenset("".join(norms(text)) for text in texts) for language, texts in KNOWN_PHRASES.items()}
_EVERYDAY = {
    language: frozenset("".join(norms(text)) for text in texts) for language, texts in EVERYDAY_PHRASES.items()
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What is known about the audio of a pass: where speech is, in samples since the session began.

    Nothing is known after ``judged``, which therefore counts as speech.
    """

    speech: Speech
    judged: int
    end: int

    def share(self, start: float, end: float) -> float:
        """How much of ``start`` to ``end`` (seconds) may be speech, 0 to 1."""
        first, last = int(start * SAMPLE_RATE), max(int(end * SAMPLE_RATE), int(start * SAMPLE_RATE) + 1)
        covered = max(0, last - max(first, self.judged))
        at = min(first, self.judged)
        spans = self.speech.spans
        for n in range(bisect_left(spans, first - MARGIN_SAMPLES, key=itemgetter(1)), len(spans)):
            begin, stop = spans[n]
            if begin - MARGIN_SAMPLES >= last:
                break
            begin, stop = max(begin - MARGIN_SAMPLES, at), min(stop + MARGIN_SAMPLES, self.judged, last)
            covered += max(0, stop - max(begin, first))
            at = max(at, stop)
        return min(1.0, covered / (last - first))

    @property
    def speech_seconds(self) -> float:
        return (self.speech.samples + max(0, self.end - self.judged)) / SAMPLE_RATE


def plausible(segments: Sequence[Segment], ground: Ground, options: DecodeOptions) -> list[Segment]:
    """``segments`` (times since the session began) without those that are made up."""
    return [segment for segment in segments if not _made_up(segment, ground, options)]


def is_known_phrase(segments: Sequence[Segment], language: str, ground: Ground) -> bool:
    """Whether hardly anything was said, and the text is what engines write then."""
    said = "".join(unit for segment in segments for unit in norms(segment.text))
    silent = any(segment.no_speech_prob > PHRASE_NO_SPEECH for segment in segments)
    if said in _PHRASES.get(language, frozenset()):
        return silent or ground.speech_seconds < PHRASE_SPEECH_SECONDS
    return silent and said in _EVERYDAY.get(language, frozenset())


def is_loop(heard: Sequence[Unit]) -> bool:
    """Whether words repeat as nobody speaks."""
    forms = [unit.norm for unit in heard]
    factor = UNSPACED_FACTOR if _unspaced(heard) else 1
    if len(forms) < EQUAL_UNITS * factor:
        return False
    if _run_of(forms, 1) >= EQUAL_UNITS * factor:
        return True
    for size in GRAMS:
        repeats = _run_of(forms, size)
        if repeats >= GRAM_REPEATS and len(forms) >= GRAM_UNITS * factor and repeats * size >= GRAM_UNITS * factor / 2:
            return True
        if _spread(forms, size) and len(forms) >= GRAM_UNITS * factor:
            return True
    return False


def unlooped(segments: Sequence[Segment]) -> list[Segment]:
    """``segments`` with what repeats as in a loop said once."""
    words = [word for segment in segments for word in words_of(segment)]
    forms = ["".join(unit.norm for unit in units([word])) for word in words]
    keep = [True] * len(words)
    for size in (1, *GRAMS):
        n = size
        while n < len(forms):
            repeats = n
            while repeats < len(forms) and forms[repeats] == forms[repeats - size]:
                repeats += 1
            if (repeats - n) // size + 1 >= GRAM_REPEATS:
                keep[n:repeats] = [False] * (repeats - n)
            n = max(repeats, n + 1)
    rest = iter(zip(words, keep, strict=True))
    cut = [
        _with_words(segment, [word for word, kept in islice(rest, len(words_of(segment))) if kept])
        for segment in segments
    ]
    return [segment for segment in cut if segment.words]


def _made_up(segment: Segment, ground: Ground, options: DecodeOptions) -> bool:
    words = words_of(segment)
    if not words:
        return not segment.text.strip()
    silent = options.no_speech_threshold is not None and segment.no_speech_prob > options.no_speech_threshold
    unsure = options.log_prob_threshold is None or segment.avg_logprob < options.log_prob_threshold
    if silent and unsure:
        return True
    share = _share(words, ground)
    return share < SPEECH_SHARE or (share < DOUBTFUL_SHARE and (_anomaly(words) >= ANOMALY_SCORE or _too_fast(words)))


def _share(words: Sequence[Word], ground: Ground) -> float:
    weights = [max(word.end - word.start, 0.01) for word in words]
    shares = [ground.share(word.start, word.end) for word in words]
    return sum(weight * share for weight, share in zip(weights, shares, strict=True)) / sum(weights)


def _anomaly(words: Sequence[Word]) -> float:
    """High for words too unlikely, too short or too long: 1 for each doubt."""
    score = 0.0
    for word in words[:ANOMALY_UNITS]:
        seconds = word.end - word.start
        score += word.probability < UNLIKELY
        score += SHORT_WEIGHT * max(0.0, SHORTEST_SECONDS - seconds)
        score += max(0.0, seconds - LONGEST_SECONDS)
    return score


def _too_fast(words: Sequence[Word]) -> bool:
    seconds = words[-1].end - words[0].start
    heard = units(words)
    return not _unspaced(heard) and seconds >= FAST_SECONDS and len(heard) / seconds > FASTEST_WORDS


def _unspaced(heard: Sequence[Unit]) -> bool:
    """Whether most units are characters."""
    return sum(is_unspaced(unit.norm[0]) for unit in heard) * 2 > len(heard)


def _run_of(forms: Sequence[str], size: int) -> int:
    """The most times that a group of ``size`` follows itself, counting the first."""
    best, same = 1, 0
    for n in range(size, len(forms)):
        same = same + 1 if forms[n] == forms[n - size] else 0
        best = max(best, same // size + 1)
    return best


def _spread(forms: Sequence[str], size: int) -> bool:
    """Whether one group of ``size`` makes up most of the text."""
    counts: dict[tuple[str, ...], int] = {}
    for n in range(len(forms) - size + 1):
        group = tuple(forms[n : n + size])
        counts[group] = counts.get(group, 0) + 1
    most = max(counts.values(), default=0)
    return most >= SPREAD_REPEATS and most * size >= SPREAD_SHARE * len(forms)


def _with_words(segment: Segment, words: Sequence[Word]) -> Segment:
    return replace(segment, words=tuple(words), text="".join(word.word for word in words))
