"""Mistakes in live finals and in the transcript of the same audio as a file.

Sessions run in this process and are fed as fast as they decode, so only what is heard counts, not when.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.audio import SAMPLES
from benchmarks.report import Table
from benchmarks.setup import Setup
from kikitori.audio.pcm import Encoding, from_float, to_wav_bytes
from kikitori.cli.bench.alignment import Errors, align, normalize, normalize_truth
from kikitori.cli.bench.truth import Sentence, Speech, compose, read_sentences
from kikitori.live.events import Final, LiveEvent
from kikitori.live.options import LiveOptions
from kikitori.options import DecodeOptions
from kikitori.pipeline.transcriber import Transcriber
from kikitori.protocols.live_start import read_start
from kikitori.services.making import find_device, live_defaults, make_catalog, make_pool, make_transcriber, plan_live
from kikitori.sessions.desk import LiveDesk, Wanted, live_desk
from kikitori.settings import Settings
from kikitori.types import SAMPLE_RATE

LANGUAGES = ("en", "ja", "ko")
SENTENCES = 10
"""Of one speech."""
DUTY = 0.6
FRAME_BYTES = 32_000
"""A second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How the audio is heard."""

    name: str
    live: bool = True
    start: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ``start``, or decode options of a file."""


WAYS = (
    Way(name="as a file", live=False),
    Way(name="as a file, `audio_context` 10", live=False, start={"audio_context": 10}),
    Way(name="live"),
    Way(name="live, `audio_context` 10", start={"audio_context": 10}),
    Way(name="live, `audio_context` 5", start={"audio_context": 5}),
    Way(name="live, `carry_context`", start={"carry_context": True}),
)


def measure(setup: Setup) -> list[Table]:
    found = asyncio.run(_measure(setup))
    return [
        Table(
            name="live-accuracy",
            title="Mistakes, live and as a file",
            command="python -m benchmarks accuracy",
            machine=machine.describe(setup.model_name, setup.device),
            columns=("heard", *LANGUAGES, "all"),
            rows=[(way.name, *_row(found[way.name])) for way in WAYS],
            notes=[
                f"Wrong, missing and added words (characters in Japanese) for each that was said: "
                f"{', '.join(f'{errors.reference} in {code}' for code, errors in found[WAYS[0].name].items())}. "
                f"Synthetic sentences of a small grammar, {SENTENCES} at a time, {DUTY:.0%} of the time speech."
            ],
        )
    ]


def _row(errors: Mapping[str, Errors]) -> Iterator[str]:
    for each in (*errors.values(), sum(errors.values(), Errors())):
        yield f"{each.rate * 100:.1f} %"


async def _measure(setup: Setup) -> dict[str, dict[str, Errors]]:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(model=setup.model, device=setup.device, data_dir=Path(folder))
        device = await asyncio.to_thread(find_device, settings)
        async with make_pool(settings, make_catalog(settings), device) as pool:
            await pool.load("", pin=True)
            transcriber = make_transcriber(settings, pool)
            defaults = live_defaults(settings, device)

            def check(model: str, decode: DecodeOptions) -> None:
                transcriber.check(decode, model=model)

            async with live_desk(pool, plan_live(settings), check=check) as desk:
                ears = _Ears(transcriber, desk, defaults, Path(folder) / "speech.wav")
                return {way.name: {code: await ears.errors(way, code) for code in LANGUAGES} for way in WAYS}


@dataclass(frozen=True, slots=True)
class _Ears:
    transcriber: Transcriber
    desk: LiveDesk
    defaults: LiveOptions
    file: Path

    async def errors(self, way: Way, language: str) -> Errors:
        found = Errors()
        for speech in _speeches(language):
            text = await (self._live(way, speech) if way.live else self._as_file(way, speech))
            said = [word.word for word in normalize_truth(speech.words, language)]
            found += align(said, normalize(text, language)).errors
        return found

    async def _as_file(self, way: Way, speech: Speech) -> str:
        await asyncio.to_thread(self.file.write_bytes, to_wav_bytes(speech.audio))
        transcript = await self.transcriber.transcribe(self.file, DecodeOptions(language=speech.language, **way.start))
        return transcript.text

    async def _live(self, way: Way, speech: Speech) -> str:
        start = read_start({"lang": speech.language, "interim": False, **way.start}, self.defaults)
        finals: list[str] = []

        def hear(event: LiveEvent) -> None:
            if isinstance(event, Final):
                finals.append(event.text)

        session = await self.desk.open(Wanted(options=start.options), hear)
        data = from_float(speech.audio, Encoding.S16LE)
        for begin in range(0, len(data), FRAME_BYTES):
            await session.feed(data[begin : begin + FRAME_BYTES])
        session.end()
        await session.finished.wait()
        await self.desk.close(session)
        return " ".join(finals)


def _speeches(language: str) -> list[Speech]:
    """Each sentence once."""
    sentences = read_sentences(SAMPLES / "samples.json", language)
    parts = [sentences[first : first + SENTENCES] for first in range(0, len(sentences), SENTENCES)]
    return [compose(part, client=0, seconds=_seconds(part), duty=DUTY, language=language) for part in parts]


def _seconds(sentences: Sequence[Sentence]) -> float:
    """As long as all of them take; a tenth of a second more, for rounding."""
    return sum(max(len(each.audio) / SAMPLE_RATE, each.spoken_seconds / DUTY) for each in sentences) + 0.1
