from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.unit.cli.listen.live_server import LiveServer, Talk, live_server
from typer.testing import CliRunner

from kikitori.cli.exits import ExitCode
from kikitori.cli.listen.command import Asked, CommandLine, Stopping, _captions, listen_to, live_source
from kikitori.cli.root import app
from kikitori.errors import ModelNotFound, Unavailable
from kikitori.testing import until
from kikitori.text.formats import OutputFormat

ASKED = Asked(line=CommandLine(source="-"), captions=None, start={"lang": "en"}, settings={})


@dataclass
class Silence:
    """Two frames; then, unless it is to end, nothing until it is stopped."""

    endless: bool = False
    encoding: str = "s16le"
    rate: int = 16_000
    lost_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.stopped = asyncio.Event()

    async def frames(self) -> AsyncGenerator[bytes, None]:
        yield bytes(640)
        yield bytes(640)
        if self.endless:
            await self.stopped.wait()

    def stop(self) -> None:
        self.stopped.set()


async def hear_two_utterances(talk: Talk) -> None:
    await talk.next_message()
    await talk.say("system", message="started")
    await talk.audio(1_280)
    await talk.say("interim", utterance=1, revision=1, text="Hel", stable="")
    await talk.say("final", utterance=1, text="Hello.", start=0.0, end=1.0)
    await talk.rest()
    await talk.say("final", utterance=2, text="Good bye.", start=2.0, end=3.0)
    await talk.say("ended")
    await talk.socket.wait_closed()


def asking(server: LiveServer, **changes: object) -> Asked:
    return replace(ASKED, line=replace(ASKED.line, url=server.url), **changes)  # type: ignore[arg-type]


async def heard_by(sound: Silence, asked: Asked, stopping: Stopping) -> None:
    await listen_to(sound, live_source(asked), asked, stopping)


async def test_a_pipe_gets_a_line_for_each_utterance(capsys: pytest.CaptureFixture[str]) -> None:
    async with live_server(hear_two_utterances) as server:
        sound = Silence()
        await heard_by(sound, asking(server), Stopping(sound))
    assert capsys.readouterr().out == "Hello.\nGood bye.\n"


async def test_stopping_ends_the_sound_and_the_last_words_still_come(capsys: pytest.CaptureFixture[str]) -> None:
    async with live_server(hear_two_utterances) as server:
        sound = Silence(endless=True)
        stopping = Stopping(sound)
        listening = asyncio.create_task(heard_by(sound, asking(server), stopping))
        heard = ""

        def first_line() -> bool:
            nonlocal heard
            heard += capsys.readouterr().out
            return bool(heard)

        await until(first_line)
        stopping.ask()
        await listening
    assert stopping.asked
    assert heard + capsys.readouterr().out == "Hello.\nGood bye.\n"


async def test_captions_are_written_too(tmp_path: Path) -> None:
    path = tmp_path / "out.srt"
    async with live_server(hear_two_utterances) as server:
        sound = Silence()
        await heard_by(sound, asking(server, captions=(path, OutputFormat.SRT)), Stopping(sound))
    text = path.read_text(encoding="utf-8")
    assert "00:00:00,000 --> 00:00:01,000\nHello.\n" in text
    assert "00:00:02,000 --> 00:00:03,000\nGood bye.\n" in text


async def test_captions_so_far_are_kept_when_something_breaks(tmp_path: Path) -> None:
    async def break_later(talk: Talk) -> None:
        await talk.next_message()
        await talk.say("system", message="started")
        await talk.say("final", utterance=1, text="Hello.", start=0.0, end=1.0)
        await talk.socket.send("what?")
        await talk.socket.wait_closed()

    path = tmp_path / "out.txt"
    async with live_server(break_later) as server:
        sound = Silence(endless=True)
        with pytest.raises(Unavailable, match="no Kikitori server"):
            await heard_by(sound, asking(server, captions=(path, OutputFormat.TXT)), Stopping(sound))
    assert path.read_text(encoding="utf-8") == "Hello.\n"


async def test_a_refused_start_is_one_of_our_errors() -> None:
    async def refuse(talk: Talk) -> None:
        await talk.next_message()
        await talk.say("error", code="model_not_found", message="No such model.")
        await talk.socket.wait_closed()

    async with live_server(refuse) as server:
        sound = Silence()
        with pytest.raises(ModelNotFound):
            await heard_by(sound, asking(server), Stopping(sound))


@pytest.mark.parametrize(
    ("arguments", "code", "about"),
    [
        (["nowhere.wav"], ExitCode.FAILED, "no such file"),
        (["-", "--encoding", "mp3"], ExitCode.USAGE, "--encoding"),
        (["-", "--rate", "5"], ExitCode.USAGE, "--rate"),
        ([__file__, "-l", "klingonese"], ExitCode.USAGE, "--language is 'klingonese'"),
        (["x.wav", "--srt", "captions.pdf"], ExitCode.USAGE, "--srt"),
        (["x.wav", "--srt", "/nowhere/at/all.srt"], ExitCode.USAGE, "folder"),
        ([__file__, "--url", "ftp://x"], ExitCode.USAGE, "--url"),
        ([__file__, "--url", "http://127.0.0.1:9"], ExitCode.FAILED, "audio"),
    ],
)
def test_wrong_arguments_are_one_line_and_an_exit_code(arguments: list[str], code: ExitCode, about: str) -> None:
    result = CliRunner().invoke(app, ["listen", *arguments])
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("kikitori: ")]
    assert about in line
    assert result.exit_code == code


def test_a_machine_without_microphones_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    result = CliRunner().invoke(app, ["listen"])
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "pip install 'kikitori[microphone]'" in result.stderr


@pytest.mark.parametrize("name", ["a.srt", "a.VTT", "a.txt", "a.json", "a.tsv", "a.lrc", "a.ass"])
def test_the_suffix_of_the_file_says_its_form(tmp_path: Path, name: str) -> None:
    found = _captions(tmp_path / name)
    assert found is not None
    assert found[1] == name[2:].lower()
