"""The runs of this session of a browser."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st
from streamlit.runtime import exists, get_instance
from streamlit.runtime.scriptrunner import get_script_run_ctx

from kikitori.console import here
from kikitori.console.running import Recording, Run
from kikitori.console.wire import SocketWire, Wire

RUNS = "file.runs"
CHOSEN = "file.chosen"


def all_runs() -> list[Run]:
    """Newest last."""
    found: list[Run] = st.session_state.setdefault(RUNS, [])
    return found


def begin(*recordings: Recording) -> None:
    """Start a run for each, and show the first."""
    started = [Run(recording, wires(), is_open=tab()) for recording in recordings]
    for run in started:
        run.start()
    all_runs().extend(started)
    choose(started[0])


def chosen() -> Run | None:
    """The run that is looked at."""
    runs = all_runs()
    found = next((run for run in runs if id(run) == st.session_state.get(CHOSEN)), None)
    return found or (runs[-1] if runs else None)


def choose(run: Run) -> None:
    st.session_state[CHOSEN] = id(run)


def forget(run: Run) -> None:
    run.stop()
    all_runs().remove(run)


def wires() -> Callable[[], Wire]:
    """Opens sockets to the server of this session, with its key."""
    return partial(SocketWire, here.target(), here.key())


def tab() -> Callable[[], bool]:
    """Whether the browser's tab of this session is open; may be asked from any thread."""
    context = get_script_run_ctx()
    session = context.session_id if context else ""
    return lambda: not exists() or get_instance().is_active_session(session)
