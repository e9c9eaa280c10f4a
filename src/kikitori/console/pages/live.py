"""The page *Live*: the server's live page, and the sessions of this browser."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

from kikitori.console import here
from kikitori.console.lines import lines_from
from kikitori.console.transcript_view import transcript_view
from kikitori.console.words import say
from kikitori.text.durations import human_duration

PARTS = Path(__file__).parents[1] / "parts"
KEPT = 10
"""Sessions on the server that are listed."""


def render() -> None:
    st.title(say("live.title"))
    page = f"{here.browser_url()}/live"
    origin = origin_of(st.context.url or "")
    if not may_frame(here.api().policy("/live", host=urlsplit(page).netloc), origin):
        st.info(say("live.not_allowed", origin=origin), icon=":material/open_in_new:")
        st.link_button(say("live.own_window"), page, icon=":material/mic:", type="primary")
    else:
        record = st.toggle(say("live.record"), key="live.record")
        _frame(page, record=record)
    _kept()


def origin_of(url: str) -> str:
    """``http://host:8501`` of any address below it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def may_frame(policy: str, origin: str) -> bool:
    """Whether a Content-Security-Policy lets pages of ``origin`` show its page in a frame."""
    found = re.search(r"frame-ancestors ([^;]*)", policy)
    return found is not None and origin in found[1].split()


def _frame(page: str, *, record: bool) -> None:
    names = ("title", "history", "history_tab", "none", "copy", "copied", "save", "remove", "recorded")
    data = {
        "url": page,
        "apiKey": here.key(),
        "holder": hashlib.sha256(here.key().encode()).hexdigest()[:16] if here.key() else "",
        "language": here.language(),
        "record": record,
        "words": {name: say(f"live.{name}") for name in names},
    }
    _component()(key="live.frame", data=data, on_kept_change=lambda: None)


@cache
def _component() -> ComponentRenderer:
    return st.components.v2.component(
        "kikitori_live", js=(PARTS / "live.js").read_text("utf-8"), css=(PARTS / "live.css").read_text("utf-8")
    )


def _kept() -> None:
    """Sessions that became tasks."""
    st.markdown(f"#### {say('live.kept')}")
    found = here.api().get("/api/tasks", {"platform": "live", "limit": KEPT})["tasks"]
    if not found:
        st.caption(say("live.kept_none"))
    for task in found:
        _session(task)


def _session(task: dict[str, Any]) -> None:
    began = str(task.get("started_at") or task["created_at"])[:16].replace("T", " ")
    title = f"{began} · {human_duration(float(task.get('duration') or 0))}"
    key = f"live.open.{task['id']}"
    if st.button(title, key=key, icon=":material/graphic_eq:", type="tertiary"):
        st.session_state["live.shown"] = task["id"] if st.session_state.get("live.shown") != task["id"] else ""
    if st.session_state.get("live.shown") != task["id"]:
        return
    lines = lines_from(here.api().get(f"/api/tasks/{task['id']}/result"))
    if lines:
        transcript_view(lines, key=f"live.lines.{task['id']}")
    else:
        st.caption(say("live.nothing_said"))
