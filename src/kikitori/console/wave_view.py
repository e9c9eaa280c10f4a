"""The wave of a recording with its segments, to see where speech is and to hear it: a component of ours.

The picture is made of the server's ``GET /api/tasks/{id}/peaks``. The server reads the recording once, as a stream, and
remembers some hundred numbers; drawn from the file itself it would be decoded in the memory of the browser.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

from kikitori.console.lines import Line
from kikitori.console.words import say

PARTS = Path(__file__).with_name("parts")


def wave_view(wave: dict[str, Any], lines: Sequence[Line], *, key: str, player: str) -> None:
    """Draw ``wave`` (``duration`` and ``peaks``); a click on it moves the player in the container ``player``."""
    data = {
        "duration": wave["duration"],
        "peaks": wave["peaks"],
        "segments": [[line.start, line.end] for line in lines if line.text.strip()],
        "player": f"st-key-{player}",
        "label": say("tasks.wave"),
    }
    _component()(key=key, data=data)


@cache
def _component() -> ComponentRenderer:
    return st.components.v2.component(
        "kikitori_wave", js=(PARTS / "wave.js").read_text("utf-8"), css=(PARTS / "wave.css").read_text("utf-8")
    )
