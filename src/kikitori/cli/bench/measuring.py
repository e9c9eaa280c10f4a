"""Levels one after the other, and the most sessions that hold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from kikitori.audio.pcm import to_wav_bytes
from kikitori.cli.api import unanswered
from kikitori.cli.bench.alignment import Errors, align, normalize, normalize_truth
from kikitori.cli.bench.journal import Journal, read_journals
from kikitori.cli.bench.metrics import Level, score, summarize
from kikitori.cli.bench.replay import Target, replay_all
from kikitori.cli.bench.server import own_server
from kikitori.cli.bench.truth import REPOSITORY_TRUTH, Sentence, Speech, compose, read_sentences
from kikitori.errors import Unavailable

OFFLINE_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured."""

    counts: tuple[int, ...]
    """Sessions at once."""
    search: bool = False
    """Stop at the first count that is too much, and find the largest that is not."""
    seconds: float = 60.0
    duty: float = 0.6
    """Part of the time that is speech."""
    truth: Path = REPOSITORY_TRUTH
    language: str = "en"
    model: str = ""
    device: str = ""
    """Of the server that is started; "": its own choice."""
    start: Mapping[str, object] = field(default_factory=dict)
    """Further fields of the ``start`` message."""
    endpoint_seconds: float = 0.5
    frame_seconds: float = 0.04
    url: str = ""
    """"": a server is started."""
    api_key: str = ""


def run_plan(plan: Plan, tell: Callable[[str], None]) -> Measured:
    """Raises InvalidInput for recordings that cannot be used, Unavailable."""
    load = Load(
        sentences=read_sentences(plan.truth, plan.language),
        language=plan.language,
        seconds=plan.seconds,
        duty=plan.duty,
    )
    settings = {name: value for name, value in (("model", plan.model), ("device", plan.device)) if value}
    with nullcontext(plan.url) if plan.url else own_server(settings) as url:
        target = Target(
            url=url,
            api_key=plan.api_key,
            start={**plan.start, **({"model": plan.model} if plan.model else {})},
            endpoint_seconds=plan.endpoint_seconds,
            frame_seconds=plan.frame_seconds,
        )
        return asyncio.run(measure(target, load, plan.counts, search=plan.search, tell=tell))


def count_again(lines: Iterable[str]) -> Measured:
    """What the journals of an earlier run say. Raises InvalidInput."""
    measured = Measured(journals=list(read_journals(lines)))
    for count in sorted({journal.sessions for journal in measured.journals}):
        scores = [score(journal) for journal in measured.journals if journal.sessions == count]
        measured.levels[count] = summarize(scores, count)
    return measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What each client says."""

    sentences: Sequence[Sentence]
    language: str
    seconds: float
    duty: float

    def speech(self, client: int) -> Speech:
        return compose(self.sentences, client=client, seconds=self.seconds, duty=self.duty, language=self.language)


@dataclass(slots=True)
class Measured:
    """What came of it."""

    levels: dict[int, Level] = field(default_factory=dict)
    journals: list[Journal] = field(default_factory=list)
    offline: Errors | None = None
    """Of the audio of the fewest sessions, sent as files."""

    @property
    def most_held(self) -> int:
        """The most sessions in real time, where all smaller numbers held too; 0: not even one."""
        held = 0
        for count in sorted(self.levels):
            if not self.levels[count].held:
                break
            held = count
        return held

    @property
    def wer_change(self) -> float | None:
        """Of live finals at the fewest sessions, less that of the file."""
        if self.offline is None or not self.levels:
            return None
        return self.levels[min(self.levels)].error_rate - self.offline.rate


async def measure(
    target: Target, load: Load, counts: Sequence[int], *, search: bool, tell: Callable[[str], None]
) -> Measured:
    """A level for each of ``counts``; ``search`` adds those between the last that held and the first that did not."""
    measured = Measured()

    async def run(count: int) -> bool:
        tell(f"{count} at once, {load.seconds:.0f} s …")
        journals = await replay_all(target, [load.speech(client) for client in range(count)])
        measured.journals += journals
        measured.levels[count] = summarize([score(each) for each in journals], count)
        return measured.levels[count].held

    tell("The same audio as a file …")
    files = [await transcribed(target, load.speech(client)) for client in range(min(counts))]
    measured.offline = sum(files, Errors())
    for count in sorted(set(counts)):
        if not await run(count) and search:
            break
    if search:
        await between(measured.most_held, max(measured.levels), run)
    return measured


async def between(low: int, high: int, run: Callable[[int], Awaitable[bool]]) -> int:
    """The largest number that holds, to within a tenth: runs differ more. ``low`` does, and ``high`` was tried."""
    while high - low > max(1, low // 10):
        middle = (low + high) // 2
        if await run(middle):
            low = middle
        else:
            high = middle
    return low


async def transcribed(target: Target, speech: Speech) -> Errors:
    """The mistakes in the transcript of ``speech`` as a file. Raises Unavailable."""
    fields = {"language": speech.language, "response_format": "json"}
    if model := target.start.get("model"):
        fields["model"] = str(model)
    headers = {"authorization": f"Bearer {target.api_key}"} if target.api_key else {}
    async with httpx.AsyncClient(base_url=target.url, headers=headers, timeout=OFFLINE_SECONDS) as client:
        try:
            answer = await client.post(
                "/v1/audio/transcriptions", data=fields, files={"file": ("speech.wav", to_wav_bytes(speech.audio))}
            )
        except httpx.HTTPError as exc:
            raise Unavailable(**unanswered(httpx.URL(target.url), exc)) from exc
    if not answer.is_success:
        raise Unavailable(f"The server refused a file: {answer.text[:200]}")
    said = [word.word for word in normalize_truth(speech.words, speech.language)]
    return align(said, normalize(answer.json()["text"], speech.language)).errors
