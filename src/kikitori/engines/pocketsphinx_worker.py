"""A PocketSphinx decoder in a process of its own; pocketsphinx_process.py starts it and talks to it.

PocketSphinx keeps Python's lock while it searches, sometimes for a second, in which no other thread of
a server would run. So it runs as a script of its own, which needs nothing but the library.

A message is the length of a JSON object and the length of the audio after it, then both. Requests:
``{"do": "level"}`` with audio, ``{"do": "start", "level": …}``, ``{"do": "feed"}`` with audio,
``{"do": "words"}``, ``{"do": "end"}``. Each gets one answer; ``{"error": …}`` is the last one.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable
from typing import IO, Any

LENGTHS = struct.Struct(">II")
LEVEL_SEARCH = "level"
LEVEL_GRAMMAR = "#JSGF V1.0; grammar level; public <level> = oh;"
"""The smallest search there is: it runs for its features, not for its words."""


def write_message(stream: IO[bytes], message: dict[str, Any], audio: bytes = b"") -> None:
    content = json.dumps(message).encode()
    stream.write(LENGTHS.pack(len(content), len(audio)) + content + audio)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Raises EOFError when the other side is gone."""
    content_length, audio_length = LENGTHS.unpack(_read(stream, LENGTHS.size))
    message: dict[str, Any] = json.loads(_read(stream, content_length))
    return message, _read(stream, audio_length)


def _read(stream: IO[bytes], length: int) -> bytes:
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    return content


class Recogniser:
    """Answers requests with one decoder."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import pocketsphinx

        self._decoder = pocketsphinx.Decoder(**settings)
        self._decoder.add_jsgf_string(LEVEL_SEARCH, LEVEL_GRAMMAR)
        self._search = self._decoder.current_search()

    def level(self, request: dict[str, Any], audio: bytes) -> dict[str, Any]:
        """The cepstral mean of ``audio``, in a hundredth of its time.

        Also forgets the noise of what was heard before, which would be subtracted from what comes.
        """
        decoder = self._decoder
        decoder.reinit_feat()
        decoder.activate_search(LEVEL_SEARCH)
        decoder.start_utt()
        decoder.process_raw(audio, full_utt=True)
        decoder.end_utt()
        level = decoder.get_cmn(True)
        decoder.activate_search(self._search)
        return {"level": level}

    def start(self, request: dict[str, Any], audio: bytes) -> dict[str, Any]:
        self._decoder.set_cmn(request["level"])
        self._decoder.start_utt()
        return {}

    def feed(self, request: dict[str, Any], audio: bytes) -> dict[str, Any]:
        self._decoder.process_raw(audio)
        return {}

    def words(self, request: dict[str, Any], audio: bytes) -> dict[str, Any]:
        """The best path so far: word, first frame, last frame, probability."""
        path = self._decoder.seg() or ()
        return {"words": [(item.word, item.start_frame, item.end_frame, item.prob) for item in path]}

    def end(self, request: dict[str, Any], audio: bytes) -> dict[str, Any]:
        self._decoder.end_utt()
        return self.words(request, audio)


def main() -> None:
    """Serve standard input until it closes. The first message holds the decoder's settings."""
    source, target = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever the library prints is no answer
    try:
        settings, _ = read_message(source)
        try:
            recogniser = Recogniser(settings)
            answers: dict[str, Callable[[dict[str, Any], bytes], dict[str, Any]]] = {
                name: getattr(recogniser, name) for name in ("level", "start", "feed", "words", "end")
            }
            write_message(target, {})
            while True:
                request, audio = read_message(source)
                write_message(target, answers[request["do"]](request, audio))
        except (RuntimeError, ValueError, KeyError, TypeError) as exc:  # what PocketSphinx raises
            write_message(target, {"error": str(exc)})
    except (EOFError, BrokenPipeError):
        pass  # whoever started this process is gone, or wants no more


if __name__ == "__main__":
    main()
