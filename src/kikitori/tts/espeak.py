"""eSpeak NG: small, quick, a hundred languages, and understood rather than enjoyed. Needs no model and no network.

It is the wheel ``espeakng-loader`` or the program of the system; either runs in processes of its own, because eSpeak NG
is under the GPL and because its library can do one thing at a time.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kikitori.errors import SpeechFailed
from kikitori.tts import espeak_worker
from kikitori.tts.espeak_voices import EspeakVoices, read_voices
from kikitori.tts.plan import SpeechPlan
from kikitori.tts.processes import SpareProcesses
from kikitori.tts.speaker import Sound, SpeakerInfo, Voice
from kikitori.tts.tempo import Tempo

PACKAGE, PROGRAM = "espeakng_loader", "espeak-ng"
RATE = 22_050
WORDS_PER_MINUTE, LEAST_WORDS_PER_MINUTE = 175, 80
SPARES = 2
WAV_HEADER_BYTES, WAV_RATE_AT = 44, 24
ASK_SECONDS = 10.0


class Installation(Protocol):
    """One way to run eSpeak NG."""

    @property
    def data(self) -> Path: ...

    def speak(self, text: str, voice: str, words_per_minute: int) -> AsyncGenerator[Sound, None]: ...

    def prepare(self) -> None: ...


@dataclass(frozen=True, slots=True)
class EmbeddedEspeak:
    """The library of the wheel, in the worker script."""

    library: Path
    data: Path
    processes: SpareProcesses

    @property
    def _command(self) -> tuple[str, ...]:
        # -I and -S: nothing of the environment or of site-packages is in that process.
        return (sys.executable, "-I", "-S", espeak_worker.__file__, str(self.library), str(self.data))

    def prepare(self) -> None:
        self.processes.prepare(self._command)

    async def speak(self, text: str, voice: str, words_per_minute: int) -> AsyncGenerator[Sound, None]:
        asked = json.dumps({"text": text, "voice": voice, "rate": words_per_minute}).encode()
        async with aclosing(self.processes.speak(self._command, asked)) as pieces:
            async for piece in pieces:
                yield Sound(pcm=piece, rate=RATE)


@dataclass(frozen=True, slots=True)
class EspeakProgram:
    """The program of the system, which writes a WAV file."""

    program: Path
    data: Path
    processes: SpareProcesses

    def prepare(self) -> None:
        pass  # its voice is part of the command

    async def speak(self, text: str, voice: str, words_per_minute: int) -> AsyncGenerator[Sound, None]:
        command = (str(self.program), "-b", "1", "-v", voice, "-s", str(words_per_minute), "--stdin", "--stdout")
        plain = text.replace("[[", "[ [")  # it would take what follows for sounds, not for text
        head, rate = b"", RATE
        async with aclosing(self.processes.speak(command, plain.encode())) as pieces:
            async for piece in pieces:
                if len(head) < WAV_HEADER_BYTES:
                    head += piece
                    if len(head) <= WAV_HEADER_BYTES:
                        continue
                    (rate,) = struct.unpack_from("<I", head, WAV_RATE_AT)
                    piece = head[WAV_HEADER_BYTES:]
                yield Sound(pcm=piece, rate=rate)


class EspeakSpeaker:
    """A ``Speaker``. Raises SpeechFailed when eSpeak NG is not here."""

    info = SpeakerInfo(name="espeak", title="eSpeak NG")

    def __init__(self, *, default: str = "", program: bool = False, silence_seconds: float = 30.0) -> None:
        """``default``: the voice where none is named; ``program``: the system's, even where the wheel is."""
        self._default = default
        self._processes = SpareProcesses(spares=SPARES, silence_seconds=silence_seconds)
        self._installation = _installed(self._processes, program=program)
        self._voices: EspeakVoices | None = None

    def prepare(self) -> None:
        self._installation.prepare()

    async def voices(self) -> Sequence[Voice]:
        listed = (await self._known()).listed()
        return sorted(listed, key=lambda voice: voice.name != self._default)

    async def speak(
        self, text: str, *, voice: str = "", speed: float = 1.0, language: str = "", instructions: str = ""
    ) -> AsyncGenerator[Sound, None]:
        readable = text.replace("\0", " ").encode(errors="replace").decode()
        chosen = (await self._known()).chosen(voice or self._default, language=language, text=readable)
        wanted = WORDS_PER_MINUTE * speed
        words_per_minute = max(LEAST_WORDS_PER_MINUTE, round(wanted))
        tempo = Tempo(min(1.0, wanted / LEAST_WORDS_PER_MINUTE))
        async with aclosing(self._installation.speak(readable, chosen, words_per_minute)) as sounds:
            async for sound in sounds:
                if slowed := tempo.push(sound):
                    yield slowed
        if rest := tempo.finish():
            yield rest

    async def close(self) -> None:
        await self._processes.close()

    async def _known(self) -> EspeakVoices:
        if self._voices is None:
            try:
                self._voices = await asyncio.to_thread(read_voices, self._installation.data)
            except OSError as exc:
                raise SpeechFailed("The voices of eSpeak NG cannot be read.", remedy=str(exc)) from exc
        return self._voices


def espeak_here() -> str:
    """``wheel``, ``program`` or, when there is none, nothing."""
    if _wheel() is not None:
        return "wheel"
    return "program" if shutil.which(PROGRAM) else ""


def _installed(processes: SpareProcesses, *, program: bool) -> Installation:
    if not program and (wheel := _wheel()) is not None:
        return EmbeddedEspeak(*wheel, processes)
    path = shutil.which(PROGRAM)
    if path is None:
        raise SpeechFailed("eSpeak NG is not here.", remedy=f"pip install {PACKAGE.replace('_', '-')}")
    return EspeakProgram(Path(path), _program_data(path), processes)


def _wheel() -> tuple[Path, Path] | None:
    """The library and the data of the wheel; None: it is not installed, or not for this machine."""
    try:
        import espeakng_loader
    except ImportError:
        return None
    library, data = Path(espeakng_loader.get_library_path()), Path(espeakng_loader.__file__).parent / "espeak-ng-data"
    return (library, data) if library.is_file() and data.is_dir() else None


def _program_data(program: str) -> Path:
    """Where the program has its voices. Raises SpeechFailed."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=ASK_SECONDS).stdout
    except (OSError, subprocess.SubprocessError) as exc:
        raise SpeechFailed(f"{program} does not run.", remedy=str(exc)) from exc
    found = re.search(r"Data at: (.+)", said)
    if found is None:
        raise SpeechFailed(f"{program} does not say where its voices are.", remedy="Install eSpeak NG 1.50 or newer.")
    return Path(found[1].strip())


def make(plan: SpeechPlan) -> EspeakSpeaker:
    return EspeakSpeaker(default=plan.voice, silence_seconds=plan.silence_seconds)
