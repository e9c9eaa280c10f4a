"""Piper: neural voices on the CPU, from files that lie here. The program is installed separately.

Piper is a program of others: the newer ones (``pip install piper-tts``) are under the GPL 3, the older ones under the
MIT licence, and each voice has a licence of its own. So it is not among our dependencies, and runs as a process.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from kikitori.errors import InvalidOption, SpeechFailed
from kikitori.tts.espeak_voices import OPENAI_VOICES
from kikitori.tts.plan import SpeechPlan
from kikitori.tts.processes import SpareProcesses
from kikitori.tts.speaker import Sound, SpeakerInfo, Voice

logger = logging.getLogger(__name__)

PROGRAM = "piper"
SUFFIX = ".onnx"
SHOWN_VOICES = 10


@dataclass(frozen=True, slots=True)
class PiperVoice:
    """A voice file and what its configuration says; ``number`` is one of several people in a file."""

    path: Path
    rate: int
    language: str
    number: int | None = None


class PiperSpeaker:
    """A ``Speaker``. Raises SpeechFailed when the program or the voices are not here."""

    info = SpeakerInfo(name="piper", title="Piper")

    def __init__(
        self, folder: Path, *, program: str = PROGRAM, default: str = "", silence_seconds: float = 30.0
    ) -> None:
        """``folder`` has voices: ``NAME.onnx`` and ``NAME.onnx.json``. Without ``default`` the first is it."""
        found = shutil.which(program)
        if found is None:
            raise SpeechFailed(f"The program {program} is not here.", remedy=_INSTALL)
        self._program, self._folder, self._default = found, folder, default
        self._processes = SpareProcesses(silence_seconds=silence_seconds)
        self._voices: Mapping[str, PiperVoice] | None = None

    def prepare(self) -> None:
        pass  # which voice will be wanted is not known

    async def voices(self) -> Sequence[Voice]:
        known = await self._known()
        default = self._default_of(known)
        names = [default, *(name for name in known if name != default)]
        return [Voice(name=name, languages=_spoken(known[name]), title=name) for name in names]

    async def speak(
        self, text: str, *, voice: str = "", speed: float = 1.0, language: str = "", instructions: str = ""
    ) -> AsyncGenerator[Sound, None]:
        chosen = _chosen(await self._known(), voice or self._default, language)
        line = " ".join(text.replace("\0", " ").split())
        if not line:
            return
        command = [self._program, "--model", str(chosen.path), "--output_raw", "--length_scale", f"{1 / speed:.3f}"]
        if chosen.number is not None:
            command += ["--speaker", str(chosen.number)]
        async with aclosing(self._processes.speak(tuple(command), f"{line}\n".encode(errors="replace"))) as pieces:
            async for piece in pieces:
                yield Sound(pcm=piece, rate=chosen.rate)

    async def close(self) -> None:
        await self._processes.close()

    async def _known(self) -> Mapping[str, PiperVoice]:
        if self._voices is None:
            self._voices = await asyncio.to_thread(_read_voices, self._folder)
        return self._voices

    def _default_of(self, known: Mapping[str, PiperVoice]) -> str:
        return self._default if self._default in known else next(iter(known))


_INSTALL = "Install it: pip install piper-tts, in an environment of its own; KIKITORI_TTS_PIPER_PROGRAM names it."


def _read_voices(folder: Path) -> dict[str, PiperVoice]:
    """Every voice in ``folder``, by name. Blocking. Raises SpeechFailed when there is none."""
    voices: dict[str, PiperVoice] = {}
    for path in sorted(folder.rglob(f"*{SUFFIX}")):
        try:
            config = json.loads(path.with_name(path.name + ".json").read_text(encoding="utf-8"))
            voices |= _voices_of(path, config)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            facts = {"action": "tts_voice_skipped", "voice": path.name, "reason": f"{type(exc).__name__}: {exc}"}
            logger.warning("voice skipped", extra=facts)
    if not voices:
        raise SpeechFailed(
            "No voice of Piper's can be read.",
            remedy="Put NAME.onnx and NAME.onnx.json into the folder that KIKITORI_TTS_PIPER_VOICES names.",
        )
    return voices


def _voices_of(path: Path, config: Mapping[str, object]) -> dict[str, PiperVoice]:
    """A file's own name; and ``name/person`` where several people speak in it."""
    audio, language, people = config["audio"], config.get("language"), config.get("speaker_id_map")
    if not isinstance(audio, dict):
        raise TypeError("audio is no object")
    code = str(language.get("code", "")) if isinstance(language, dict) else ""
    voice = PiperVoice(path, int(audio["sample_rate"]), code.replace("_", "-").lower())
    name = path.name.removesuffix(SUFFIX)
    several = people if isinstance(people, dict) else {}
    others = {
        f"{name}/{person}": PiperVoice(path, voice.rate, voice.language, int(number))
        for person, number in several.items()
    }
    return {name: voice, **others}


def _chosen(known: Mapping[str, PiperVoice], asked: str, language: str) -> PiperVoice:
    """The voice of that name; OpenAI's names are the first voice that speaks ``language``. Raises InvalidOption."""
    if asked in known:
        return known[asked]
    if asked and asked not in OPENAI_VOICES:
        more = ", …" if len(known) > SHOWN_VOICES else ""
        raise InvalidOption("voice", asked, ", ".join([*known][:SHOWN_VOICES]) + more)
    stem = language.lower().partition("-")[0]
    able = [voice for voice in known.values() if stem and voice.language.partition("-")[0] == stem]
    return (able or [*known.values()])[0]


def _spoken(voice: PiperVoice) -> tuple[str, ...]:
    return (voice.language,) if voice.language else ()


def make(plan: SpeechPlan) -> PiperSpeaker:
    if plan.piper_voices is None:
        raise SpeechFailed("No folder of voices is named.", remedy="Set KIKITORI_TTS_PIPER_VOICES.")
    return PiperSpeaker(
        plan.piper_voices,
        program=plan.piper_program,
        default=plan.voice,
        silence_seconds=plan.silence_seconds,
    )
