"""What was said, on every page alike: lines to search, hear, copy and edit, and the text as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kikitori.console.component import component
from kikitori.console.here import language
from kikitori.console.lines import Line, time_label
from kikitori.console.words import say


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """Somebody wrote another text for a line."""

    id: int
    text: str


def transcript_view(
    lines: Sequence[Line], *, key: str, player: str = "", editable: bool = False, growing: bool = False
) -> Edited | None:
    """Draw ``lines``; what was edited since the last run, once.

    ``player`` is the key of the ``st.container`` with the ``st.audio`` or ``st.video`` that a click on a line plays;
    while it plays, its line is marked. ``growing``: more lines will come, and who reads at the end is kept there.
    """
    speaks = language()
    data = {
        "lines": [
            {
                "id": line.id,
                "start": line.start,
                "end": line.end,
                "label": time_label(line.start, line.end, speaks),
                "text": line.text,
                "speaker": line.speaker,
                "edited": line.edited,
            }
            for line in lines
        ],
        "player": f"st-key-{player}" if player else "",
        "editable": editable,
        "growing": growing,
        "words": {
            name: say(f"common.lines.{name}")
            for name in ("search", "found", "copy", "copied", "edit", "save", "cancel", "hear", "waiting", "edited")
        },
    }
    answer = component("lines")(key=key, data=data, on_edited_change=lambda: None)
    return _edited(answer.get("edited"))


def _edited(value: Any) -> Edited | None:
    if not isinstance(value, dict) or not str(value.get("text", "")).strip():
        return None
    return Edited(id=int(value["id"]), text=str(value["text"]))


def text_view(text: str, *, key: str) -> None:
    """Draw ``text`` as a whole, to read and to copy."""
    words = {name: say(f"common.lines.{name}") for name in ("copy", "copied")}
    component("text")(key=key, data={"text": text, "words": words})
