"""A PocketSphinx decoder that runs in a process of its own, as an object here."""

from __future__ import annotations

import re
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kikitori.engines import pocketsphinx_worker
from kikitori.engines.pocketsphinx_worker import read_message, write_message

FRAMES_PER_SECOND = 100
NOT_A_WORD = re.compile(r"<.*>|\[.*\]|\+\+.*\+\+")
VARIANT = re.compile(r"\(\d+\)$")
"""``the(2)`` is another way to say ``the``."""
STOP_SECONDS = 5.0


class DecoderFailed(Exception):
    """The decoder reported an error, or its process is gone. It cannot be used again."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One word of the best path; times in seconds from the start of the utterance."""

    word: str
    start: float
    end: float
    probability: float


class DecoderProcess:
    """One decoder. Blocking, for one caller at a time; every call may raise DecoderFailed."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        # By its path and with -P: nothing of this folder, or of the current one, shadows the library.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(pocketsphinx_worker.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl+C is for us; the process ends with its standard input
        )
        self._stop = weakref.finalize(self, _stop, self._process)
        self._in_utterance = False
        self._ask(dict(settings))

    def level(self, audio: bytes) -> str:
        """The cepstral mean of ``audio``, for ``start``. Forgets the noise of earlier utterances."""
        return str(self._ask({"do": "level"}, audio)["level"])

    def start(self, level: str) -> None:
        """Begin an utterance."""
        self._ask({"do": "start", "level": level})
        self._in_utterance = True

    def feed(self, audio: bytes) -> None:
        self._ask({"do": "feed"}, audio)

    def words(self) -> list[Heard]:
        """What was heard so far in the utterance; probabilities mean nothing yet."""
        return _words(self._ask({"do": "words"})["words"])

    def end(self) -> list[Heard]:
        """End the utterance, if there is one."""
        if not self._in_utterance:
            return []
        self._in_utterance = False
        return _words(self._ask({"do": "end"})["words"])

    def close(self) -> None:
        self._stop()

    @property
    def alive(self) -> bool:
        return self._stop.alive

    def _ask(self, request: dict[str, Any], audio: bytes = b"") -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        try:
            write_message(self._process.stdin, request, audio)
            answer, _ = read_message(self._process.stdout)
        except (EOFError, OSError, ValueError) as exc:
            self.close()
            raise DecoderFailed(f"its process ended ({self._process.returncode})") from exc
        except BaseException:  # Ctrl+C: the answer that was not read would pass for the next one
            self.close()
            raise
        if "error" in answer:
            self.close()
            raise DecoderFailed(answer["error"])
        return answer


def _words(path: Sequence[tuple[str, int, int, float]]) -> list[Heard]:
    """The words of a path, without fillers and sounds."""
    return [
        Heard(
            word=VARIANT.sub("", word),
            start=first / FRAMES_PER_SECOND,
            end=(last + 1) / FRAMES_PER_SECOND,
            probability=min(1.0, max(0.0, probability)),
        )
        for word, first, last, probability in path
        if not NOT_A_WORD.fullmatch(word)
    ]


def _stop(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream:
            try:
                stream.close()
            except OSError:
                pass  # what was not written yet has no reader any more
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
