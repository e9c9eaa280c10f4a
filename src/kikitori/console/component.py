"""Components of ours: a script and a style of the folder ``parts``, and those that all of them share before both."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

PARTS = Path(__file__).with_name("parts")
SHARED = "base"


@cache
def component(name: str) -> ComponentRenderer:
    """The component whose files are called ``name``."""
    return st.components.v2.component(f"kikitori_{name}", js=_text(name, "js"), css=_text(name, "css"))


def _text(name: str, suffix: str) -> str:
    paths = [PARTS / f"{each}.{suffix}" for each in (SHARED, name)]
    return "\n".join(path.read_text("utf-8") for path in paths if path.exists())
