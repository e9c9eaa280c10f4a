"""Tabs of browsers. To Streamlit a page that is loaded anew is another session: here it finds what runs in its tab.

A browser keeps the random id of each tab, for as long as the tab is there and for pages of this console alone
(``sessionStorage``). The id stands in no address and in no log. Where keys are needed it opens nothing by itself: each
holder of a key has a desk of their own in a tab, which a page sees when it is signed in with the same key.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import streamlit as st
from streamlit.runtime import exists, get_instance
from streamlit.runtime.scriptrunner import get_script_run_ctx

from kikitori.console.component import component
from kikitori.console.running import Run

TAB = "tabs.tab"
STRANGE = "tabs.strange"
"""The id that the browser told, and that nobody knows (any more)."""
ID_BYTES = 16


@dataclass(slots=True)
class Desk:
    """What one person works on in a tab."""

    runs: list[Run] = field(default_factory=list)
    """Newest last."""
    chosen: Run | None = None
    """The one that is looked at."""


class Tab:
    """A tab through all its sessions. It may be asked from any thread, and changed by sessions alone."""

    def __init__(self) -> None:
        self.id = secrets.token_urlsafe(ID_BYTES)
        self._sessions: frozenset[str] = frozenset()
        self._desks: dict[str, Desk] = {}

    def __repr__(self) -> str:
        return "Tab()"

    @property
    def is_empty(self) -> bool:
        return not any(desk.runs for desk in self._desks.values())

    def enter(self, session: str) -> None:
        """A session of Streamlit shows this tab."""
        self._sessions |= {session}

    def is_open(self) -> bool:
        """Whether one of its sessions is connected."""
        return not exists() or any(get_instance().is_active_session(session) for session in self._sessions)

    def desk(self, holder: str) -> Desk:
        """The desk of the holder of a key; "" is whoever comes without one."""
        return self._desks.setdefault(holder, Desk())

    def clear(self, holder: str) -> None:
        self._desks.pop(holder, None)

    def hand_over(self, holder: str) -> None:
        """Who worked here without a key has signed in."""
        if holder and (before := self._desks.pop("", None)) is not None:
            self.desk(holder).runs[:0] = before.runs


class Tabs:
    """The tabs that somebody holds: a session, which Streamlit forgets a while after its page is gone, or a run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: WeakValueDictionary[str, Tab] = WeakValueDictionary()

    def open(self) -> Tab:
        tab = Tab()
        with self._lock:
            self._known[tab.id] = tab
        return tab

    def find(self, id: str) -> Tab | None:
        with self._lock:
            return self._known.get(id)


TABS = Tabs()


def current() -> Tab:
    """The tab of this session."""
    tab: Tab | None = st.session_state.get(TAB)
    if tab is None:
        tab = st.session_state[TAB] = TABS.open()
        tab.enter(_session())
    return tab


def recognise() -> None:
    """Ask the browser which tab this is: it answers with another run of the page when it is not a new one."""
    mine, strange = current(), st.session_state.get(STRANGE, "")
    told = component("tab")(key="tab", data={"id": mine.id, "strange": strange}, on_id_change=_ignore).get("id")
    if not isinstance(told, str) or told in (mine.id, strange):
        return
    known = TABS.find(told) if mine.is_empty else None
    if known is None:
        st.session_state[STRANGE] = told
    else:
        st.session_state[TAB] = known
        known.enter(_session())


def _ignore() -> None:
    """The page runs anew, and reads what was told."""


def _session() -> str:
    context = get_script_run_ctx()
    return context.session_id if context else ""
