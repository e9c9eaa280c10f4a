"""Training windows, composed at random from the corpus: a mel spectrum, and what a model should answer about it."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import domain
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

END, START, TRANSLATE, TRANSCRIBE, PREVIOUS, NO_SPEECH, NO_TIMESTAMPS = 50257, 50258, 50358, 50359, 50361, 50362, 50363
FIRST_TIMESTAMP = 50364
IDS = 51_865
TIMESTAMP_SECONDS = 0.02
SILENCE = -10.0
"""The least value of a log-mel spectrum."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Span = tuple[float, float]


class Vocabulary:
    """Whisper's ids that are in use ↔ dense places in the model that is trained: text, specials, timestamps."""

    def __init__(self, tokenizer: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(tokenizer))
        self.text_ids = sorted(number for number in self.tokenizer.get_vocab().values() if number < END)
        self.ids = [*self.text_ids, *range(END, IDS)]
        self.place = np.full(IDS, -1, np.int64)
        self.place[self.ids] = np.arange(len(self.ids))
        self.first_timestamp = int(self.place[FIRST_TIMESTAMP])

    def language(self, code: str) -> int:
        return int(self.tokenizer.token_to_id(f"<|{code}|>"))

    def domain_ids(self) -> list[int]:
        """The tokens that sentences of the domain are made of."""
        plans = [domain.sample(random.Random(seed)) for seed in range(2_000)]
        texts = [domain.units(plan, language)[0] for plan in plans for language in domain.LANGUAGES]
        return sorted({number for text in texts for number in self.tokenizer.encode(text).ids})


@dataclass(slots=True, kw_only=True)
class Recording:
    """An utterance of the corpus."""

    language: str
    plan: domain.Plan
    mel: NDArray[np.float16]
    start: float
    end: float
    spans: list[Span]
    """When each unit is spoken."""
    words: list[int]
    """What each unit is, as a number; 0 is silence."""
    tokens_from: dict[int, list[Token]] = field(default_factory=dict)


class Token(NamedTuple):
    """A token of an utterance, with its own share of its unit's time."""

    id: int
    start: float
    end: float
    unit: int


class Placed(NamedTuple):
    """A recording in a window, ``shift`` seconds later than in the corpus."""

    recording: Recording
    shift: float
    first: int
    """Its first unit that is heard."""
    cut: bool
    """The window ends before it does."""


class Target(NamedTuple):
    """A token to answer, whether it is learned, and where the model should look."""

    id: int
    learned: bool
    look: Span | None = None


class Corpus:
    def __init__(self, folder: Path) -> None:
        self.recordings: list[Recording] = []
        self.by_language: dict[str, list[int]] = {language: [] for language in domain.LANGUAGES}
        self.words = ["<sil>"]
        numbers: dict[str, int] = {}
        for path in sorted(folder.glob("??[0-9][0-9].json")):
            features = np.load(path.with_suffix(".npy"))
            for label in json.loads(path.read_text(encoding="utf-8")):
                plan = tuple(tuple(choice) if isinstance(choice, list) else choice for choice in label["plan"])
                self._add(plan, label, features, numbers)
        self.noise = np.load(folder / "noise.npy").astype(np.float32)

    def _add(
        self, plan: domain.Plan, label: dict[str, Any], features: NDArray[np.float16], numbers: dict[str, int]
    ) -> None:
        language = label["language"]
        words = []
        for unit in domain.units(plan, language)[1]:
            word = f"{language}:{unit.spoken.lower()}"
            if word not in numbers:
                numbers[word] = len(self.words)
                self.words.append(word)
            words.append(numbers[word])
        self.by_language[language].append(len(self.recordings))
        self.recordings.append(
            Recording(
                language=language,
                plan=plan,
                mel=features[label["offset"] : label["offset"] + label["frames"]],
                start=label["start"],
                end=label["end"],
                spans=[(start, end) for start, end in label["spans"]],
                words=words,
            )
        )


class Canvas:
    """A window being filled: 100 frames a second of mel, 50 of labels."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.seconds = frames / 100
        self.mel = np.full((frames, 80), SILENCE, np.float32)
        self.word = np.zeros(frames // 2, np.int64)
        self.phase = np.zeros(frames // 2, np.float32)

    def paint(self, placed: Placed, gain: float) -> None:
        recording, first = placed.recording, placed.first
        skipped = int(recording.spans[first][0] * 100) if first else 0
        at = round((placed.shift + skipped / 100) * 100)
        count = min(self.frames - at, len(recording.mel) - skipped)
        heard = recording.mel[skipped : skipped + count].astype(np.float32) + 2 * np.log10(gain)
        self.mel[at : at + count] = np.maximum(heard, SILENCE)
        for number, (start, end) in list(zip(recording.words, recording.spans, strict=True))[first:]:
            begin, stop = (start + placed.shift) * 50, (end + placed.shift) * 50
            low, high = max(round(begin), 0), min(round(stop), len(self.word))
            if high > low:
                self.word[low:high] = number
                self.phase[low:high] = (np.arange(low, high) - begin + 0.5) / max(1, round(stop) - begin)


class Composer:
    def __init__(self, corpus: Corpus, vocabulary: Vocabulary, seed: int) -> None:
        self._corpus, self._vocabulary = corpus, vocabulary
        self._rng, self._normal = random.Random(seed), np.random.default_rng(seed)
        self._domain_ids = vocabulary.domain_ids()

    def choose(self, items: Sequence[Any], weights: Sequence[float]) -> Any:
        return self._rng.choices(items, weights)[0]

    def batch(self, count: int, frames: int, fill: float) -> dict[str, NDArray[Any]]:
        prompts = self._rng.random() < 0.3  # whole batches with or without text before the window
        windows = [self.window(frames, fill, prompts=prompts) for _ in range(count)]
        answers = [answer for window in windows for answer in window["answers"]]
        width = max(len(answer["inputs"]) for answer in answers)
        made: dict[str, NDArray[Any]] = {
            "mel": np.stack([window["mel"].T for window in windows]),
            **{name: np.stack([window[name] for window in windows]) for name in ("word", "phase", "index")},
            "inputs": np.zeros((len(answers), width), np.int64),
            "targets": np.zeros((len(answers), width), np.int64),
            "learned": np.zeros((len(answers), width), np.float32),
            "look_in": np.full((len(answers), width, 2), -1, np.int64),
            "look_out": np.full((len(answers), width, 2), -1, np.int64),
        }
        for row, answer in enumerate(answers):
            for name in ("inputs", "targets", "learned"):
                made[name][row, : len(answer[name])] = answer[name]
            for name in ("look_in", "look_out"):
                for column, look in enumerate(answer[name]):
                    if look is not None:
                        low = min(max(int(look[0] * 50), 0), frames // 2 - 1)
                        made[name][row, column] = low, max(low + 1, min(frames // 2, int(np.ceil(look[1] * 50))))
        return made

    def window(self, frames: int, fill: float, *, prompts: bool) -> dict[str, Any]:
        """``fill`` is how often the window is full of speech, as in long recordings."""
        rng, canvas = self._rng, Canvas(frames)
        language = rng.choices(domain.LANGUAGES, [0.38, 0.31, 0.31])[0]
        silent = rng.random() < 0.07
        full = rng.random() < fill
        seconds = canvas.seconds if full else rng.uniform(0.5, canvas.seconds)
        gain = 10 ** rng.uniform(-1.2, 0.2)
        placed = [] if silent else self._speak(canvas, language, gain, full=full)
        if placed and not full:
            tail = 0.0 if rng.random() < 0.3 else rng.uniform(0, 1.5)
            seconds = min(canvas.seconds, placed[-1].recording.end + placed[-1].shift + 0.05 + tail)
        mel = self._heard_through_a_room(canvas.mel, max(20, min(frames, int(seconds * 100))), gain, silent=silent)
        index = np.zeros(frames // 2, np.float32)  # tokens of the utterance that have been spoken up to here
        for each in placed:
            for count, token in enumerate(self._tokens(each)):
                low, high = int((token.start + each.shift) * 50), int((token.end + each.shift) * 50) + 1
                index[max(0, low) : min(frames // 2, high)] = count + 0.5
        answers = [
            self._answer(language, placed, canvas.seconds, task=task, timestamps=timestamps, prompts=prompts)
            for task, timestamps in self._questions(language, placed)
        ]
        return {"mel": mel, "word": canvas.word, "phase": canvas.phase, "index": index, "answers": answers}

    def _questions(self, language: str, placed: Sequence[Placed]) -> list[tuple[int, bool]]:
        """Task and timestamps: three answers about the same audio share one pass through the encoder."""
        rng = self._rng
        translate = language != "en" or rng.random() < 0.15
        third = (TRANSLATE if translate else TRANSCRIBE, rng.random() < 0.6)
        if placed and placed[0].first > 0:  # half a sentence cannot be translated
            third = (TRANSCRIBE, True)
        return [(TRANSCRIBE, True), (TRANSCRIBE, False), third]

    def _speak(self, canvas: Canvas, language: str, gain: float, *, full: bool) -> list[Placed]:
        rng, seconds = self._rng, canvas.seconds
        most = 99 if full else rng.choice([1, 1, 1, 2, 3, 5, 9])
        kind = rng.random()
        time = 0.0 if kind < 0.25 else rng.uniform(0, 0.6) if kind < 0.7 else rng.uniform(0.3, min(4, seconds / 3))
        if not full:
            time = min(time, seconds * 0.3)
        density = rng.random()
        placed: list[Placed] = []
        while len(placed) < most:
            recording = self._corpus.recordings[rng.choice(self._corpus.by_language[language])]
            first = 0
            if not placed and len(recording.spans) > 2 and rng.random() < 0.05:  # the window begins inside it
                first, time = rng.randrange(1, len(recording.spans) - 1), 0.0
            skipped = int(recording.spans[first][0] * 100) / 100 if first else 0.0
            at = round(time * 100)
            next_one = Placed(recording, at / 100 - skipped, first, cut=False)
            end = recording.end + next_one.shift
            loudness = gain * 10 ** rng.uniform(-0.25, 0.25)
            if end > seconds - 0.04:
                if placed and full and at < canvas.frames - 5:
                    placed.append(next_one._replace(cut=True))
                    canvas.paint(placed[-1], loudness)
                if placed:
                    break
                length = recording.end - skipped  # alone and too long: move it, or try another
                time = 0.0 if length > seconds - 0.15 else max(0.0, seconds - 0.1 - length)
                continue
            placed.append(next_one)
            canvas.paint(next_one, loudness)
            short = rng.random() < 0.3 + 0.5 * density
            time = end + (rng.uniform(0.08, 0.5) if short else rng.uniform(0.4, 2.5))
        return placed

    def _heard_through_a_room(self, mel: Floats, used: int, gain: float, *, silent: bool) -> Floats:
        """Background, colour of the channel, low-pass; then Whisper's clamp and scale, padded with silence."""
        rng, noise = self._rng, self._corpus.noise
        kind = rng.random()
        if kind > 0.25 or (silent and kind > 0.12):
            which, offset = rng.randrange(len(noise)), rng.randrange(0, noise.shape[1] - used)
            level = rng.uniform(-4.5, -0.3) if silent else np.log10(gain) + rng.uniform(-3.2, -0.35)
            background = noise[which, offset : offset + used] + 2 * level
            mel[:used] = np.log10(10.0 ** mel[:used] + 10.0**background + 1e-10)
        if rng.random() < 0.5:
            colour = np.interp(np.arange(80), np.linspace(0, 79, 6), self._normal.normal(0, 0.18, 6))
            mel[:used] += colour.astype(np.float32)
        if rng.random() < 0.1:
            edge = rng.randint(45, 75)
            mel[:used, edge:] -= np.minimum(np.arange(80 - edge) * 0.6, rng.uniform(2, 6)).astype(np.float32)
        mel = np.maximum(mel, SILENCE)
        loudest = mel[:used].max() + (rng.uniform(0, 0.6) if rng.random() < 0.3 else 0)
        scaled = np.zeros_like(mel)
        scaled[:used] = (np.maximum(mel[:used], loudest - 8) + 4) / 4
        if rng.random() < 0.2:
            scaled[used:] = (loudest - 8 + 4) / 4
        if rng.random() < 0.25:  # a few bands go missing
            edge = rng.randint(0, 70)
            scaled[:, edge : edge + rng.randint(1, 8)] = scaled[:used].mean()
        return scaled

    def _tokens(self, placed: Placed) -> list[Token]:
        recording, first = placed.recording, placed.first
        if first not in recording.tokens_from:
            text, units = domain.units(recording.plan, recording.language)
            base = units[first].start
            encoded = self._vocabulary.tokenizer.encode(text[base:], add_special_tokens=False)
            owners = [
                max(first, max(k for k, unit in enumerate(units) if unit.start <= start + base))
                for start, _ in encoded.offsets
            ]
            recording.tokens_from[first] = _share_time(encoded.ids, owners, recording.spans)
        return recording.tokens_from[first]

    def _answer(
        self, language: str, placed: Sequence[Placed], seconds: float, *, task: int, timestamps: bool, prompts: bool
    ) -> dict[str, Any]:
        rng, vocabulary = self._rng, self._vocabulary
        head = [START, vocabulary.language(language), task] + ([] if timestamps else [NO_TIMESTAMPS])
        if placed:
            body = [
                target
                for index, each in enumerate(placed)
                for target in self._said(each, seconds, task=task, timestamps=timestamps, is_first=index == 0)
            ]
        else:
            body = self._nothing_said(timestamps=timestamps)
        room = 447 - len(head) - len(body)
        prompt: list[int] = []
        if prompts and rng.random() < 0.8 and room > 10:
            written = "en" if task == TRANSLATE else language
            prompt = self._prompt(written, timestamps=timestamps and rng.random() < 0.8, room=room - 2)
        targets = [*(Target(number, False) for number in [*prompt, *head]), *body, Target(END, True)]
        places = vocabulary.place[np.array([target.id for target in targets])]
        expected, learned = places[1:].copy(), np.array([target.learned for target in targets[1:]])
        # After <|startoftranscript|> the model names the language, or says that nothing was said.
        expected[len(prompt)] = vocabulary.place[head[1] if placed else NO_SPEECH]
        learned[len(prompt)] = True
        return {
            "inputs": places[:-1],
            "targets": expected,
            "learned": learned,
            "look_in": [target.look for target in targets[:-1]],
            "look_out": [target.look if target.learned else None for target in targets[1:]],
        }

    def _nothing_said(self, *, timestamps: bool) -> list[Target]:
        if timestamps:
            return [Target(FIRST_TIMESTAMP, True)]
        return [Target(self._rng.choice(self._domain_ids), True)] if self._rng.random() < 0.5 else []

    def _said(self, placed: Placed, seconds: float, *, task: int, timestamps: bool, is_first: bool) -> list[Target]:
        recording, shift = placed.recording, placed.shift
        start = max(0.0, (recording.spans[placed.first][0] if placed.first else recording.start) + shift)
        end = recording.end + shift
        opening = [Target(_timestamp(start, seconds), True, (start - 0.08, start + 0.10))] if timestamps else []
        tokens = [Target(t.id, True, (t.start + shift, t.end + shift)) for t in self._tokens(placed)]
        if placed.cut:  # with timestamps it is left to the next window
            if timestamps:
                return opening if start < seconds - 0.02 else []
            inside = [recording.spans[token.unit][1] + shift < seconds - 0.05 for token in self._tokens(placed)]
            heard = [target for target, whole in zip(tokens, inside, strict=True) if whole]
            return heard if task == TRANSCRIBE else []
        if timestamps and is_first and start > 1.0 and self._rng.random() < 0.3:
            # Decoders forbid a first timestamp after 1.0 s; the model shall bear it.
            early = self._rng.choice([1.0, 1.0, self._rng.random()])
            opening = [Target(_timestamp(early, seconds), False)]
        if task == TRANSLATE and recording.language != "en":
            english = domain.units(recording.plan, "en")[0]
            encoded = self._vocabulary.tokenizer.encode(english, add_special_tokens=False)
            tokens = [Target(number, True) for number in encoded.ids]
        closing = [Target(_timestamp(end, seconds), True, (end - 0.10, end + 0.08))] if timestamps else []
        return [*opening, *tokens, *closing]

    def _prompt(self, language: str, *, timestamps: bool, room: int) -> list[int]:
        """Text before the window: sentences of the domain, or junk, as anything may stand in a prompt."""
        rng = self._rng
        made: list[int] = []
        if rng.random() < 0.15:
            made = rng.choices(self._vocabulary.text_ids, k=rng.randint(1, 40))
        else:
            time = 0.0
            for _ in range(rng.choice([1, 1, 2, 3, 5, 8, 16])):
                text = domain.units(domain.sample(rng), language)[0]
                start = time + rng.uniform(0.1, 1.0)
                time = start + rng.uniform(0.8, 3)
                if time > 30:
                    start, time = 0.0, 2.0
                ids = self._vocabulary.tokenizer.encode(text, add_special_tokens=False).ids
                made += [_timestamp(start), *ids, _timestamp(time)] if timestamps else ids
        return [PREVIOUS, *made[-min(223, room) :]]


def _timestamp(time: float, seconds: float = 30.0) -> int:
    return FIRST_TIMESTAMP + round(min(max(time, 0), seconds) / TIMESTAMP_SECONDS)


def _share_time(ids: Sequence[int], owners: Sequence[int], spans: Sequence[Span]) -> list[Token]:
    """Tokens of one unit share its time evenly."""
    tokens = []
    for place, (number, owner) in enumerate(zip(ids, owners, strict=True)):
        count, before = owners.count(owner), owners[:place].count(owner)
        start, end = spans[owner]
        part = (end - start) / count
        tokens.append(Token(number, start + part * before, start + part * (before + 1), owner))
    return tokens
