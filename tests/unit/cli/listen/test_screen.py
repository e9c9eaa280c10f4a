from __future__ import annotations

import io

import pytest
from rich.console import Console

from kikitori.cli.listen.captions import Notebook, Said, Shown, Told
from kikitori.cli.listen.screen import Pipe, Terminal, printable
from kikitori.text.formats import OutputFormat, render

SAID = Said(text="Hello world.", start=0.0, end=1.0)


def test_a_pipe_gets_finals_alone(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    with Pipe(out, quiet=False) as screen:
        for caption in (Shown(text="Hel"), SAID, Told(message="The server has caught up.")):
            screen.show(caption)
    assert out.getvalue() == "Hello world.\n"
    assert capsys.readouterr().err == "The server has caught up.\n"


def test_a_quiet_pipe_still_tells_problems(capsys: pytest.CaptureFixture[str]) -> None:
    with Pipe(io.StringIO(), quiet=True) as screen:
        screen.show(Told(message="fine"))
        screen.show(Told(message="broken", problem=True))
    assert capsys.readouterr().err == "broken\n"


def test_a_terminal_shows_interims_and_leaves_finals() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=40, highlight=False)
    with Terminal(quiet=False, console=console) as screen:
        screen.show(Shown(text="Hello wor", stable="Hello"))
        shown = out.getvalue()
        screen.show(SAID)
    assert "Hello" in shown and "wor" in shown
    assert "\x1b[2m" in shown, "grey"
    last_lines = out.getvalue().split("Hello world.")
    assert len(last_lines) == 2
    assert "\x1b[2m" not in last_lines[1], "nothing grey stays"


def test_nothing_that_is_heard_can_move_the_cursor() -> None:
    assert printable("a\x1b[2Jb\nc\u202ed") == "a [2Jb c d"


def test_the_notebook_is_a_transcript() -> None:
    notebook = Notebook("mini")
    assert notebook.transcript.text == ""
    for said in (SAID, Said(text="Again.", start=2.0, end=3.5, language="en")):
        notebook.add(said)
    assert notebook.transcript.text == "Hello world. Again."
    assert notebook.transcript.language == "en"
    assert notebook.transcript.duration == 3.5
    assert "00:00:02,000 --> 00:00:03,500\nAgain." in render(notebook.transcript, OutputFormat.SRT)


def test_scripts_without_spaces_are_joined_without() -> None:
    notebook = Notebook()
    for text in ("こんにちは。", "世界。"):
        notebook.add(Said(text=text, start=0.0, end=1.0, language="ja"))
    assert notebook.transcript.text == "こんにちは。世界。"
