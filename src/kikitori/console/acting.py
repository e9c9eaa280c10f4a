"""What is done to tasks with buttons. A button's work comes before its page is drawn, so problems are told there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import streamlit as st

from kikitori.console import here
from kikitori.console.api import ApiError

PROBLEM = "tasks.problem"
SURE = "tasks.sure"
"""The task that shall perhaps be deleted."""
CHOSEN = "task"
"""In the page's address: the id of the task that is shown, which says nothing of what is in it."""


def path_of(task_id: str) -> str:
    return f"/api/tasks/{quote(task_id, safe='')}"


def shown() -> str:
    """The task that is looked at; empty: the list is."""
    return str(st.query_params.get(CHOSEN, ""))


def show(task_id: str) -> None:
    st.query_params[CHOSEN] = task_id


def leave() -> None:
    """Back to the list."""
    st.query_params.pop(CHOSEN, None)


def cancel(task_id: str) -> None:
    _try(lambda: here.api().post(f"{path_of(task_id)}/cancel"))


def retry(task_id: str) -> None:
    _try(lambda: here.api().post(f"{path_of(task_id)}/retry"))


def set_priority(task_id: str, widget: str) -> None:
    """To what the ``widget`` says; nothing was chosen: it stays."""
    priority = st.session_state.get(widget)
    if priority:
        _try(lambda: here.api().post(f"{path_of(task_id)}/priority", {"priority": priority}))


def ask_whether_sure(task_id: str) -> None:
    st.session_state[SURE] = task_id


def delete(task_id: str) -> None:
    st.session_state.pop(SURE, None)
    if _try(lambda: here.api().delete(path_of(task_id))) and shown() == task_id:
        leave()


def correct(task_id: str, segment: int, text: str, *, expected: str) -> bool:
    """Another text for a segment; False: it could not be kept, which is told."""
    body: Mapping[str, Any] = {"text": text, "expected": expected}
    return _try(lambda: here.api().call("PATCH", f"{path_of(task_id)}/segments/{segment}", json=body))


def tell() -> None:
    """What went wrong since the page was drawn last."""
    if problem := st.session_state.pop(PROBLEM, ""):
        st.toast(problem, icon=":material/error:")


def _try(work: Callable[[], Any]) -> bool:
    try:
        work()
    except ApiError as exc:
        st.session_state[PROBLEM] = str(exc)
        return False
    return True
