"""eSpeak NG in a process of its own: reads one text from standard input, writes its sound, and ends.

eSpeak NG is free software under the GPL, and its library is not made for threads. So it is not loaded
into the server: this script runs alone, with nothing but the standard library, and talks through pipes.

    python espeak_worker.py LIBRARY DATA < {"text": …, "voice": "en-us+f3", "rate": 175} > raw samples

Out come samples of 22,050 Hz, signed 16 bit, little endian, mono. It loads the library before it reads,
so that a process that was started ahead speaks at once.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from typing import Any

SYNCHRONOUS = 2
BUFFER_MS = 60
DONT_EXIT = 0x8000
RATE_PARAMETER = 1
UTF8, END_PAUSE = 1, 0x1000
"""How text is written; a sentence ends with the pause that it has before another one."""
SAMPLE_BYTES = 2
GO_ON, STOP = 0, 1
Library = Any

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


def open_library(library: str, data: str) -> Library:
    """Raises OSError when it cannot be used."""
    espeak = ctypes.CDLL(library)
    espeak.espeak_Synth.argtypes = (
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    )
    espeak.espeak_SetVoiceByName.argtypes = (ctypes.c_char_p,)
    if espeak.espeak_Initialize(SYNCHRONOUS, BUFFER_MS, data.encode(), DONT_EXIT) <= 0:
        raise OSError(f"eSpeak NG finds no voices in {data}")
    return espeak


def speak(espeak: Library, request: dict[str, Any], write: Callable[[bytes], object]) -> None:
    """Raises OSError when the voice is not there or the text cannot be spoken."""
    gone: list[OSError] = []

    def take(samples: int | None, count: int, events: int | None) -> int:
        if samples and count > 0:
            try:
                write(ctypes.string_at(samples, count * SAMPLE_BYTES))
            except OSError as exc:  # nobody listens any more; an exception must not pass through C
                gone.append(exc)
                return STOP
        return GO_ON

    callback = _Callback(take)
    espeak.espeak_SetSynthCallback(callback)
    if espeak.espeak_SetVoiceByName(request["voice"].encode()):
        raise OSError(f"eSpeak NG has no voice {request['voice']}")
    espeak.espeak_SetParameter(RATE_PARAMETER, request["rate"], 0)
    text = request["text"].encode()
    failed = espeak.espeak_Synth(text, len(text) + 1, 0, 0, 0, UTF8 | END_PAUSE, None, None)
    if gone:
        raise gone[0]
    if failed:
        raise OSError(f"eSpeak NG failed ({failed})")


def main() -> None:
    library, data = sys.argv[1:]
    target = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever the library prints is no sound
    try:
        espeak = open_library(library, data)
        asked = sys.stdin.buffer.read()
        if asked:
            speak(espeak, json.loads(asked), lambda samples: _write(target, samples))
    except BrokenPipeError:
        pass  # whoever started this process wants no more
    except OSError as exc:
        sys.exit(str(exc))


def _write(target: int, samples: bytes) -> None:
    while samples:
        samples = samples[os.write(target, samples) :]


if __name__ == "__main__":
    main()
