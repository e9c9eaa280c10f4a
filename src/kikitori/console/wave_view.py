"""The wave of a recording with its segments, to see where speech is and to hear it: a component of ours.

The picture is made of the server's ``GET /api/tasks/{id}/peaks``. The server reads the recording once, as a stream, and
remembers some hundred numbers; drawn from the file itself it would be decoded in the memory of the browser.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kikitori.console.component import component
from kikitori.console.lines import Line
from kikitori.console.words import say


def wave_view(wave: dict[str, Any], lines: Sequence[Line], *, key: str, player: str) -> None:
    """Draw ``wave`` (``duration`` and ``peaks``); a click on it moves the player in the container ``player``."""
    data = {
        "duration": wave["duration"],
        "peaks": wave["peaks"],
        "segments": [[line.start, line.end] for line in lines if line.text.strip()],
        "player": f"st-key-{player}",
        "label": say("tasks.wave"),
    }
    component("wave")(key=key, data=data)
