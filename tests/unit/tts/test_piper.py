"""Piper, of which a script with the same flags takes the place: the program and its voices are not among our files."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from kikitori.errors import InvalidOption, SpeechFailed
from kikitori.tts.piper import PiperSpeaker
from kikitori.tts.speaker import Sound

SCRIPT = f"""#!{sys.executable}
import argparse, sys
parser = argparse.ArgumentParser()
parser.add_argument("-m", "--model", required=True)
parser.add_argument("--output-raw", "--output_raw", action="store_true", required=True)
parser.add_argument("--length-scale", "--length_scale", type=float, required=True)
parser.add_argument("-s", "--speaker", type=int)
asked = parser.parse_args()
for line in sys.stdin:
    told = f"{{asked.model.rpartition('/')[2]}}|{{asked.length_scale}}|{{asked.speaker}}|{{line.strip()}}"
    sys.stdout.buffer.write(told.encode("utf-16-le"))
"""


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "piper"
    path.write_text(SCRIPT)
    path.chmod(0o755)
    return str(path)


def put_voice(folder: Path, name: str, *, rate: int = 22_050, language: str = "en_US", **more: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.onnx").write_bytes(b"")
    config = {"audio": {"sample_rate": rate}, "language": {"code": language}, **more}
    (folder / f"{name}.onnx.json").write_text(json.dumps(config))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "voices"
    put_voice(folder, "amy")
    put_voice(folder, "thorsten", language="de_DE", rate=16_000)
    put_voice(folder, "vctk", speaker_id_map={"p1": 0, "p2": 7})
    return folder


@pytest.fixture
async def speaker(folder: Path, program: str) -> AsyncGenerator[PiperSpeaker, None]:
    speaker = PiperSpeaker(folder, program=program)
    yield speaker
    await speaker.close()


async def said(sounds: AsyncGenerator[Sound, None]) -> tuple[str, int]:
    """What the script was asked for, and the rate."""
    async with aclosing(sounds):
        heard = [sound async for sound in sounds]
    return b"".join(sound.pcm for sound in heard).decode("utf-16-le"), heard[0].rate


async def test_a_text_becomes_one_line(speaker: PiperSpeaker) -> None:
    assert await said(speaker.speak("Good\n morning.\0")) == ("amy.onnx|1.0|None|Good morning.", 22_050)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"voice": "thorsten", "speed": 2.0}, ("thorsten.onnx|0.5|None|x", 16_000)),
        ({"voice": "vctk/p2", "speed": 0.25}, ("vctk.onnx|4.0|7|x", 22_050)),
        ({"voice": "alloy", "language": "de-AT"}, ("thorsten.onnx|1.0|None|x", 16_000)),
        ({"voice": "alloy", "language": "ja"}, ("amy.onnx|1.0|None|x", 22_050)),
    ],
)
async def test_voice_and_speed_are_its_flags(speaker: PiperSpeaker, asked: Any, told: tuple[str, int]) -> None:
    assert await said(speaker.speak("x", **asked)) == told


async def test_a_voice_that_is_not_there_is_refused(speaker: PiperSpeaker) -> None:
    with pytest.raises(InvalidOption, match="amy, thorsten"):
        await said(speaker.speak("x", voice="../secret"))


async def test_nothing_to_say_is_nothing(speaker: PiperSpeaker) -> None:
    assert [sound async for sound in speaker.speak(" \n ")] == []


async def test_voices_are_listed_the_default_first(folder: Path, program: str) -> None:
    speaker = PiperSpeaker(folder, program=program, default="thorsten")
    voices = await speaker.voices()
    assert [voice.name for voice in voices] == ["thorsten", "amy", "vctk", "vctk/p1", "vctk/p2"]
    assert voices[0].languages == ("de-de",)
    await speaker.close()


async def test_a_voice_that_cannot_be_read_is_left_out(
    folder: Path, speaker: PiperSpeaker, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "broken.onnx").write_bytes(b"")
    (folder / "broken.onnx.json").write_text('{"audio": 1}')
    assert "broken" not in [voice.name for voice in await speaker.voices()]
    assert [record.__dict__["voice"] for record in caplog.records] == ["broken.onnx"]


async def test_a_folder_without_voices(tmp_path: Path, program: str) -> None:
    speaker = PiperSpeaker(tmp_path, program=program)
    with pytest.raises(SpeechFailed, match="KIKITORI_TTS_PIPER_VOICES"):
        await speaker.voices()


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpeechFailed, match="pip install piper-tts"):
        PiperSpeaker(tmp_path, program="no-such-piper")
