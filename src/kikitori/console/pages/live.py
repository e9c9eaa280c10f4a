"""The page *Live*: the server's live page, and the sessions of this browser."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import streamlit as st

from kikitori.console import here
from kikitori.console.component import component
from kikitori.console.words import say


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
        "holder": here.holder(),
        "language": here.language(),
        "record": record,
        "words": {name: say(f"live.{name}") for name in names},
    }
    component("live")(key="live.frame", data=data)
