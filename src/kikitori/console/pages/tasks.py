"""The page *Tasks*: what waits, runs and is done, and each of them with its recording and text."""

from __future__ import annotations

import streamlit as st

from kikitori.console import acting, figures, task_list, task_new, task_parts, task_view
from kikitori.console.words import say


def render() -> None:
    st.html(task_parts.STYLE)
    if task_id := acting.shown():
        task_view.draw(task_id)
        return
    task_view.forget()
    st.title(say("tasks.title"))
    st.markdown(say("tasks.text"))
    task_new.draw()
    figures.draw()
    task_list.draw()
