"""Engines, models and devices."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from kikitori.cli.checks.lines import Line, State

if TYPE_CHECKING:
    from kikitori.settings import Settings


def check_engines(settings: Settings) -> Iterator[Line]:
    """Imports each engine's library; the embedded engine transcribes the bundled sample."""
    from importlib import import_module

    from kikitori.engines.registry import ENGINES, available

    for name, entry in ENGINES.items():
        title = f"engine {name}"
        if not available(name):
            bring = f"pip install 'kikitori[{entry.extra}]' brings it." if entry.extra else "Reinstall Kikitori."
            state = State.OFF if entry.extra else State.FAIL
            yield Line(name=title, state=state, detail="Not installed.", remedy=bring)
            continue
        try:
            import_module(entry.module)
            import_module(entry.library)
        except (ImportError, OSError) as exc:
            remedy = f"Reinstall it: pip install --force-reinstall {entry.library.replace('_', '-')}."
            yield Line(name=title, state=State.FAIL, detail=f"Cannot be loaded: {exc}", remedy=remedy)
            continue
        yield _heard_sample(title) if name == "pocketsphinx" else Line(name=title, state=State.OK, detail="Loads.")


def _heard_sample(title: str) -> Line:
    """A real transcription: decoder, resampler, engine."""
    import numpy as np

    from kikitori.audio.decode import decode
    from kikitori.data import sample_path, sample_text
    from kikitori.engines.base import EngineConfig
    from kikitori.engines.registry import load_engine
    from kikitori.options import DecodeOptions

    began = time.monotonic()
    audio = np.concatenate(list(decode(sample_path())), axis=1)[0]
    with closing(load_engine("pocketsphinx", EngineConfig())) as engine:
        heard = "".join(segment.text for segment in engine.transcribe(audio, DecodeOptions(), _Direct()).segments)
    seconds = time.monotonic() - began
    right = set(sample_text().split()) & set(heard.lower().split())
    if len(right) < len(set(sample_text().split())) / 2:
        return Line(
            name=title, state=State.FAIL, detail=f"Misheard the bundled sample: {heard!r}", remedy="Reinstall Kikitori."
        )
    return Line(name=title, state=State.OK, detail=f"Heard the bundled sample in {seconds:.1f} s.")


class _Direct:
    """Calls of one decoding, without a pool: an engine that does not merge calls makes none."""

    def submit(self, key: object, payload: object) -> Any:
        raise NotImplementedError("this engine works alone")

    def check(self) -> None:
        return None


def check_default_model(settings: Settings) -> Iterator[Line]:
    """Where it is; a model that is not here yet comes with the first start, if it may."""
    from kikitori.errors import ModelNotFound
    from kikitori.inference.known_models import canonical_name, hub_id
    from kikitori.services.making import make_catalog

    try:
        spec = make_catalog(settings).resolve("")
    except ModelNotFound as exc:
        can_come = hub_id(canonical_name(settings.model)) is not None and not settings.offline
        state = State.WARN if can_come else State.FAIL
        later = " The first start downloads it." if can_come else ""
        yield Line(name="default model", state=state, detail=f"{exc.message}{later}", remedy=exc.remedy)
        return
    if spec.engine == "pocketsphinx" and settings.model == "auto":
        later = "The first start tries to download one; until then " if not settings.offline else ""
        detail = f"No Whisper model is here. {later}PocketSphinx is used: English, with many mistakes."
        remedy = "`kikitori models pull base` downloads a better one; --model FOLDER names one on disk."
        yield Line(name="default model", state=State.WARN, detail=detail, remedy=remedy)
        return
    yield Line(name="default model", state=State.OK, detail=f"{spec.id} ({spec.path or spec.engine})")


def check_loading(settings: Settings) -> Iterator[Line]:
    """Only when asked for, because a large model takes its time: load the default model, let it hear the sample."""
    import asyncio

    from kikitori.cli.inputs import Recording
    from kikitori.cli.interrupts import StoppableInput
    from kikitori.cli.local import LocalBackend
    from kikitori.cli.progress import Silence
    from kikitori.data import sample_path
    from kikitori.options import DecodeOptions
    from kikitori.pipeline.events import Finished

    async def hear() -> Line:
        began = time.monotonic()
        with StoppableInput(sys.stdin) as stdin:
            async with LocalBackend.open(settings, DecodeOptions(), stdin, Silence()) as backend:
                loaded = time.monotonic()
                async for event in backend.stream(Recording(name="sample", path=sample_path())):
                    if isinstance(event, Finished):
                        transcript = event.transcript
        spent = f"loaded in {loaded - began:.1f} s, heard the sample in {time.monotonic() - loaded:.1f} s"
        return Line(name="loading", state=State.OK, detail=f"{transcript.model}: {spent}: {transcript.text}")

    yield asyncio.run(hear())


def check_devices(settings: Settings) -> Iterator[Line]:
    from kikitori.engines.devices import device_report

    for found in device_report(settings.device, settings.device_index, settings.compute_type):
        state = State.OK if found.ok else State.FAIL
        if found.ok and found.remedy:
            state = State.WARN
        yield Line(name=found.name, state=state, detail=found.detail, remedy=found.remedy)


def check_model_hub(settings: Settings) -> Iterator[Line]:
    if settings.offline:
        yield Line(name="model hub", state=State.OFF, detail="Never asked, because `offline` is set.")
        return
    from kikitori.inference.hub import DEFAULT_ENDPOINT

    hub = os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT
    problem = _hub_problem(hub, settings.hub_connect_timeout_seconds)
    if problem:
        remedy = "Models on this machine work without it. KIKITORI_OFFLINE=true stops asking it."
        yield Line(name="model hub", state=State.WARN, detail=f"{hub} cannot be reached ({problem}).", remedy=remedy)
        return
    yield Line(name="model hub", state=State.OK, detail=f"{hub} answers")


def _hub_problem(hub: str, seconds: float) -> str:
    """Why the hub does not answer within ``seconds``; "" when it does.

    Asked in a thread that is left behind: looking up an address has no time limit of its own.
    """
    import httpx

    problems = [f"no answer in {seconds:g} s"]

    def ask() -> None:
        try:
            httpx.head(hub, timeout=seconds)
            problems.append("")
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            problems.append(str(exc) or type(exc).__name__)

    thread = threading.Thread(target=ask, name="kikitori-hub-check", daemon=True)
    thread.start()
    thread.join(seconds)
    return problems[-1]
