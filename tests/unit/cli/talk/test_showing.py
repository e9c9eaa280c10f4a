"""What is read along: lines in a pipe, two texts side by side in a terminal."""

from __future__ import annotations

import io
import re

from rich.console import Console

from kikitori.cli.talk.dialogue import Problem, Replied, Shown, Who
from kikitori.cli.talk.showing import Lines, SideBySide, open_display

YOU, AGENT = Who.YOU, Who.AGENT


class Screen:
    """A terminal of a test's own: what has scrolled up, and what stands below it."""

    def __init__(self) -> None:
        self._out = io.StringIO()
        console = Console(file=self._out, force_terminal=True, width=80, highlight=False, legacy_windows=False)
        self.display = SideBySide(console)

    @property
    def lines(self) -> list[str]:
        """As a terminal shows them, without colours."""
        rows, row = [""], 0
        for code, text in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)|([^\x1b\r\n]+)", self._out.getvalue()):
            if text:
                rows[row] += text
            elif code == "\n":
                row += 1
                rows += [""] * (row - len(rows) + 1)
            elif code.endswith("A"):
                row -= int(code[2:-1] or 1)
            elif code.endswith("2K"):
                rows[row] = ""
        return [line.rstrip() for line in rows if line.strip()]

    def show(self, *outcomes: Shown | Replied | Problem) -> None:
        for outcome in outcomes:
            self.display.show(outcome)


def test_both_grow_side_by_side_and_the_users_words_may_still_change() -> None:
    screen = Screen()
    with screen.display:
        screen.show(Shown(YOU, "What is"), Shown(AGENT, "It"), Shown(YOU, " thyme"), Shown(AGENT, " is"))
        assert screen.lines == ["you: What is thyme", "agent: It is"]
        screen.show(Shown(YOU, "What is time?", ends=True, whole=True))
        assert screen.lines == ["you: What is time?", "agent: It is"]
        screen.show(Shown(AGENT, " late."), Shown(AGENT, "", ends=True), Replied())
    assert screen.lines == ["you: What is time?", "agent: It is late."]


def test_a_reply_never_stands_above_what_it_answers() -> None:
    screen = Screen()
    with screen.display:
        screen.show(Shown(YOU, "What"), Shown(AGENT, "Late.", ends=True), Replied())
        assert screen.lines == ["you: What", "agent: Late."]
        screen.show(Shown(YOU, "What time?", ends=True, whole=True))
        assert screen.lines == ["you: What time?", "agent: Late."]


def test_a_reply_that_is_complete_is_not_continued_by_the_next_one() -> None:
    screen = Screen()
    with screen.display:
        screen.show(Shown(YOU, "What"), Shown(AGENT, "One.", ends=True), Shown(AGENT, "Two."))
    assert sorted(screen.lines) == ["agent: One.", "agent: Two.", "you: What"]


def test_what_was_interrupted_ends_and_problems_are_said() -> None:
    screen = Screen()
    with screen.display:
        screen.show(Shown(AGENT, "I was"), Shown(AGENT, "", ends=True), Shown(AGENT, "", ends=True))
        screen.show(
            Problem("No \x1b[2J."), Replied("No model."), Shown(YOU, "x"), Shown(YOU, "", ends=True, whole=True)
        )
        screen.show(Shown(AGENT, "Anew."))
    assert screen.lines == ["agent: I was", "No  [2J.", "No model.", "agent: Anew."]


def test_a_pipe_gets_a_line_for_each_and_nothing_that_is_taken_back() -> None:
    out, problems = io.StringIO(), list[str]()
    with Lines(out, problems.append) as lines:
        for outcome in (
            Shown(AGENT, "Good "),
            Shown(YOU, "Hel"),
            Shown(AGENT, "morning."),
            Shown(YOU, "Hello.", ends=True, whole=True),
            Shown(AGENT, " How?"),
            Shown(AGENT, "", ends=True),
            Replied("No model."),
            Problem("No."),
            Shown(AGENT, "Half a"),
        ):
            lines.show(outcome)
    assert out.getvalue() == "agent: Good morning.\nyou: Hello.\nagent:  How?\nagent: Half a\n"
    assert problems == ["No model.", "No."]


def test_what_is_no_terminal_gets_lines() -> None:
    assert isinstance(open_display(io.StringIO()), Lines)
