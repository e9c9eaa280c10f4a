"""``kikitori listen`` with a real model: in this process, and in one of its own that gets a Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.conftest import Sample

from kikitori.cli.exits import ExitCode
from kikitori.cli.listen.captions import Said, Shown
from kikitori.cli.listen.local import LocalSource
from kikitori.cli.listen.sounds import FileSound
from kikitori.cli.progress import Silence
from kikitori.errors import InvalidMedia, InvalidOption
from kikitori.settings import Settings

WAV_HEADER_BYTES = 44


@pytest.fixture
def settings(mini_model: Path, tmp_path: Path) -> Settings:
    return Settings(model=str(mini_model), data_dir=tmp_path / "data", device="cpu")


async def test_a_recording_is_heard_in_this_process(settings: Settings, samples: Mapping[str, Sample]) -> None:
    sample = samples["en_02"]
    async with LocalSource.open(settings, {"lang": "en-US"}, Silence()) as source:
        captions = [caption async for caption in source.captions(FileSound(sample.path, speed=4.0))]
    (said,) = [caption for caption in captions if isinstance(caption, Said)]
    assert said.text == sample.text
    assert said.words[-1].end <= sample.duration + 0.5
    assert all(isinstance(caption, Shown | Said) for caption in captions)


async def test_a_wrong_field_is_told_before_a_model_is_loaded(settings: Settings) -> None:
    with pytest.raises(InvalidOption, match="lang"):
        async with LocalSource.open(settings, {"lang": "klingonese"}, Silence()):
            pass


async def test_what_is_no_recording_is_told(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    async with LocalSource.open(settings, {}, Silence()) as source:
        with pytest.raises(InvalidMedia):
            await anext(source.captions(FileSound(path)))


def test_ctrl_c_ends_the_sound_and_the_last_words_still_come(
    mini_model: Path, samples: Mapping[str, Sample], tmp_path: Path
) -> None:
    sample = samples["en_02"]
    command = [sys.executable, "-m", "kikitori", "listen", "-", "-l", "en", "--model", str(mini_model)]
    command += ["--data-dir", str(tmp_path / "data"), "-o", str(tmp_path / "out.srt")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stdout and process.stderr
        while b"Model:" not in process.stderr.readline():
            assert process.poll() is None
        process.stdin.write(sample.path.read_bytes()[WAV_HEADER_BYTES:] + bytes(32_000))
        process.stdin.flush()
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.stdout.read(), process.stderr.read()
    assert process.returncode == ExitCode.INTERRUPTED, errors
    assert (first + rest).decode().strip() == sample.text
    assert sample.text.split()[-1] in (tmp_path / "out.srt").read_text(encoding="utf-8")
