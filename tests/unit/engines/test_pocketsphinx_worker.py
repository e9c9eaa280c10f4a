"""The decoder's process: what it answers, and how both sides end."""

import gc
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from kikitori.engines import pocketsphinx_worker
from kikitori.engines.pocketsphinx_process import DecoderFailed, DecoderProcess, Heard, _words
from kikitori.engines.pocketsphinx_worker import LENGTHS, read_message, write_message

SETTINGS = {"loglevel": "FATAL", "fwdflat": False}
SECOND = np.zeros(16_000, dtype="<i2").tobytes()


def pid_of(decoder: DecoderProcess) -> int:
    return decoder._process.pid


def test_messages_arrive_as_they_were_sent() -> None:
    stream = io.BytesIO()
    write_message(stream, {"do": "feed", "text": "聞く"}, b"\x00\x01")
    write_message(stream, {})
    stream.seek(0)
    assert read_message(stream) == ({"do": "feed", "text": "聞く"}, b"\x00\x01")
    assert read_message(stream) == ({}, b"")
    with pytest.raises(EOFError):
        read_message(stream)


@pytest.mark.parametrize("content", [b"\x00", LENGTHS.pack(2, 0) + b"{", LENGTHS.pack(2, 5) + b"{}\x00"])
def test_half_a_message_is_the_end(content: bytes) -> None:
    with pytest.raises(EOFError):
        read_message(io.BytesIO(content))


def test_fillers_are_no_words_and_variants_are_spelt_plainly() -> None:
    path: list[Any] = [
        ["<s>", 0, 4, 1.0],
        ["the(2)", 5, 9, 0.5],
        ["[NOISE]", 10, 14, 1.0],
        ["++breath++", 15, 19, 1.0],
        ["o'clock", 20, 29, 1.2],
        ["<sil>", 30, 34, 1.0],
        ["</s>", 35, 39, 1.0],
    ]
    assert _words(path) == [Heard("the", 0.05, 0.1, 0.5), Heard("o'clock", 0.2, 0.3, 1.0)]


def test_a_process_answers_and_ends() -> None:
    decoder = DecoderProcess(SETTINGS)
    pid = pid_of(decoder)
    level = decoder.level(SECOND)
    assert len(level.split(",")) == 13
    decoder.start(level)
    decoder.feed(SECOND)
    assert decoder.words() == decoder.end() == []
    assert decoder.end() == []  # there is none to end
    decoder.close()
    assert not decoder.alive
    assert not psutil.pid_exists(pid)


def test_an_error_of_the_library_is_told_and_is_the_end() -> None:
    decoder = DecoderProcess(SETTINGS)
    decoder.start(decoder.level(SECOND))
    with pytest.raises(DecoderFailed, match=r"\w"):
        decoder.start("40,3,-1")  # the utterance has not ended
    assert not decoder.alive
    with pytest.raises(DecoderFailed):
        decoder.feed(SECOND)


def test_a_setting_that_does_not_exist() -> None:
    with pytest.raises(DecoderFailed, match="no_such_setting"):
        DecoderProcess({"no_such_setting": 1})


def test_a_process_that_is_killed_is_noticed() -> None:
    decoder = DecoderProcess(SETTINGS)
    os.kill(pid_of(decoder), signal.SIGKILL)
    with pytest.raises(DecoderFailed, match="its process ended"):
        decoder.level(SECOND)
    assert not decoder.alive


def test_a_decoder_that_is_forgotten_leaves_no_process() -> None:
    decoder = DecoderProcess(SETTINGS)
    pid = pid_of(decoder)
    del decoder
    gc.collect()
    assert not psutil.pid_exists(pid)


def test_the_process_ends_with_the_one_that_started_it() -> None:
    code = (
        "import os; from kikitori.engines.pocketsphinx_process import DecoderProcess;"
        f"decoder = DecoderProcess({SETTINGS}); print(decoder._process.pid, flush=True); os._exit(1)"
    )
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    try:
        psutil.Process(int(started.stdout)).wait(120)
    except psutil.NoSuchProcess:
        pass  # gone already
    assert not psutil.pid_exists(int(started.stdout))


def test_what_lies_in_the_current_folder_is_not_imported(tmp_path: Path) -> None:
    for name in ("pocketsphinx.py", "json.py", "struct.py"):
        (tmp_path / name).write_text("raise SystemExit('imported')")
    script = Path(pocketsphinx_worker.__file__)
    request = io.BytesIO()
    write_message(request, SETTINGS)
    answer = subprocess.run(
        [sys.executable, "-P", script], input=request.getvalue(), capture_output=True, cwd=tmp_path, check=True
    )
    assert read_message(io.BytesIO(answer.stdout)) == ({}, b"")
