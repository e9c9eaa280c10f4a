"""Which engines there are, what each can do, and how to load one.

The table below is readable without importing any engine: the module of an engine, and the library
behind it, are imported when the engine is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import cast

from kikitori.engines.base import Engine, EngineConfig, EngineInfo
from kikitori.errors import NotFound, Unavailable, Unsupported
from kikitori.options import DecodeOptions
from kikitori.types import Task

BOTH_TASKS = frozenset(Task)

WHISPER_LANGUAGES = frozenset(
    "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy "
    "id is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru "
    "sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo yue zh".split()
)
"""The languages of Whisper's vocabulary. A model may know fewer: English-only ones, and those without ``yue``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEntry:
    """One row of the table."""

    info: EngineInfo
    module: str
    class_name: str
    library: str
    """The package that must be importable."""
    extra: str = ""
    """The extra of ours that brings it; "" for what is always installed."""


ENGINES = {
    entry.info.name: entry
    for entry in (
        EngineEntry(
            info=EngineInfo(
                name="whisper",
                title="Whisper (CTranslate2)",
                languages=WHISPER_LANGUAGES,
                tasks=BOTH_TASKS,
                detects_language=True,
                word_timestamps=True,
                conditions_on_text=True,
                max_batch_size=8,
                parallel_runs=True,
                devices=frozenset({"cpu", "cuda"}),
            ),
            module="kikitori.engines.whisper",
            class_name="WhisperEngine",
            library="faster_whisper",
        ),
        EngineEntry(
            info=EngineInfo(
                name="openai_whisper",
                title="Whisper (OpenAI, PyTorch)",
                languages=WHISPER_LANGUAGES,
                tasks=BOTH_TASKS,
                detects_language=True,
                word_timestamps=True,
                conditions_on_text=True,
                devices=frozenset({"cpu", "cuda"}),
            ),
            module="kikitori.engines.openai_whisper",
            class_name="OpenAIWhisperEngine",
            library="whisper",
            extra="openai-whisper",
        ),
        EngineEntry(
            info=EngineInfo(
                name="pocketsphinx",
                title="PocketSphinx (embedded, English, low accuracy)",
                languages=frozenset({"en"}),
                word_timestamps=True,
                streaming=True,
            ),
            module="kikitori.engines.pocketsphinx",
            class_name="PocketSphinxEngine",
            library="pocketsphinx",
        ),
        EngineEntry(
            info=EngineInfo(
                name="openai",
                title="A transcription endpoint (OpenAI or compatible)",
                tasks=BOTH_TASKS,
                detects_language=True,
                word_timestamps=True,
                remote=True,
            ),
            module="kikitori.engines.openai_api",
            class_name="OpenAIEngine",
            library="http",
        ),
        EngineEntry(
            info=EngineInfo(
                name="openai_realtime",
                title="A transcription endpoint, live (OpenAI's Realtime protocol)",
                detects_language=True,
                word_timestamps=True,
                streaming=True,
                remote=True,
            ),
            module="kikitori.engines.openai_realtime",
            class_name="OpenAIRealtimeEngine",
            library="websockets",
        ),
        EngineEntry(
            info=EngineInfo(
                name="google",
                title="Google Cloud Speech-to-Text",
                word_timestamps=True,
                streaming=True,
                remote=True,
            ),
            module="kikitori.engines.google_cloud",
            class_name="GoogleEngine",
            library="google.cloud.speech_v2",
            extra="google",
        ),
    )
}


def engine_infos() -> tuple[EngineInfo, ...]:
    """Every engine we know, installed or not."""
    return tuple(entry.info for entry in ENGINES.values())


def engine_info(name: str) -> EngineInfo:
    """What the engine can do at best; a loaded model may know less. Raises NotFound."""
    return _entry(name).info


def available(name: str) -> bool:
    """Whether the engine's library is installed. Imports nothing. Raises NotFound."""
    try:
        return find_spec(_entry(name).library) is not None
    except ModuleNotFoundError:  # not even the package that it is part of
        return False


def engines_that(predicate: Callable[[EngineInfo], bool]) -> tuple[str, ...]:
    """Names of the engines of which ``predicate`` holds: those that are installed first."""
    able = [info.name for info in engine_infos() if predicate(info)]
    return tuple(sorted(able, key=lambda name: not available(name)))


def load_engine(name: str, config: EngineConfig) -> Engine:
    """Import the engine and load a model with it. Raises Unavailable when its extra is missing."""
    require(name)
    entry = _entry(name)
    build = getattr(import_module(entry.module), entry.class_name)
    return cast(Engine, build(config))


def require(name: str) -> None:
    """Raise Unavailable, with the command that helps, unless the engine's library is installed."""
    if not available(name):
        entry = _entry(name)
        package = f"'kikitori[{entry.extra}]'" if entry.extra else entry.library
        raise Unavailable(f"{entry.info.title} is not installed.", remedy=f"Install it: pip install {package}")


def check_options(info: EngineInfo, options: DecodeOptions) -> None:
    """Raise Unsupported for what ``info`` cannot do and would silently do wrong: task and language.

    Hints an engine has no use for (prompt, beam, hotwords, …) are not an error.
    """
    if options.task not in info.tasks:
        raise Unsupported(
            f"{info.title} cannot {options.task}.",
            param="task",
            engines=engines_that(lambda other: options.task in other.tasks),
        )
    language = options.language
    if language and not _speaks(info, language):
        able = engines_that(lambda other: _speaks(other, language))
        who = "The model" if info.name in able else info.title
        raise Unsupported(f"{who} does not know the language {language!r}.", param="language", engines=able)


def _entry(name: str) -> EngineEntry:
    try:
        return ENGINES[name]
    except KeyError:
        raise NotFound(
            f"There is no engine named {name!r}.", remedy=f"Engines: {', '.join(ENGINES)}.", param="engine"
        ) from None


def _speaks(info: EngineInfo, language: str) -> bool:
    return info.languages is None or language in info.languages
