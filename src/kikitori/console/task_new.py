"""Making tasks: a link, or recordings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import streamlit as st

from kikitori.console import here, task_parts
from kikitori.console.api import ApiError
from kikitori.console.choosing import language_choices, language_label, model_choices, model_label
from kikitori.console.shown import plain
from kikitori.console.words import say
from kikitori.types import Task

TIMES = "tasks.new_times"
"""How often tasks were made: each time the field for files begins anew."""
PROBLEMS = "tasks.new_problems"
UPLOAD_SECONDS = 3_600.0


def draw() -> None:
    with st.expander(say("tasks.new"), icon=":material/add:"):
        for problem in st.session_state.pop(PROBLEMS, ()):
            st.error(plain(problem), icon=":material/error:")
        times = st.session_state.get(TIMES, 0)
        link, file = st.tabs([say("tasks.new_link"), say("tasks.new_file")])
        with link:
            links = st.text_area(
                say("tasks.links"),
                key=f"tasks.links.{times}",
                placeholder="https://…",
                help=say("tasks.links_help"),
                height=68,
            )
        with file:
            files = st.file_uploader(say("file.upload"), accept_multiple_files=True, key=f"tasks.files.{times}")
        options = _options()
        wanted = links.split()
        if st.button(
            say("tasks.make"),
            icon=":material/send:",
            type="primary",
            key="tasks.make",
            disabled=not (wanted or files),
        ):
            _make(wanted, files, options)


def _options() -> dict[str, str]:
    model, spoken, task, priority = st.columns(4)
    names = model_choices(here.api().get("/v1/models")["data"])
    chosen = {
        "model": model.selectbox(say("file.model"), names, format_func=model_label, key="tasks.model"),
        "language": spoken.selectbox(
            say("file.spoken"), language_choices(), format_func=language_label, key="tasks.spoken"
        ),
        "task_type": task.selectbox(
            say("file.task"),
            [each.value for each in Task],
            format_func=lambda name: say(f"file.task.{name}"),
            key="tasks.type",
        ),
        "priority": priority.selectbox(
            say("tasks.priority"),
            task_parts.PRIORITIES,
            index=1,
            format_func=lambda name: say(f"tasks.priority.{name}"),
            key="tasks.new_priority",
        ),
    }
    return {name: value for name, value in chosen.items() if value}


def _make(links: list[str], files: list[Any], options: dict[str, str]) -> None:
    """All links or none; each file by itself. What was taken is gone from its field, what was not is told."""
    api, times = here.api(), st.session_state.get(TIMES, 0)
    problems = _tried("", lambda: api.post("/api/tasks/batch", {"urls": links, **options})) if links else []
    kept = "\n".join(links) if problems else ""
    for file in files:
        part = (file.name, file.getvalue(), file.type or "application/octet-stream")
        send = partial(api.call, "POST", "/api/tasks", data=options, files={"file": part}, timeout=UPLOAD_SECONDS)
        problems += _tried(f"{file.name}: ", send)
    st.session_state[TIMES], st.session_state[PROBLEMS] = times + 1, problems
    st.session_state[f"tasks.links.{times + 1}"] = kept
    if not problems:
        st.toast(say("tasks.made"), icon=":material/check:")
    st.rerun()


def _tried(about: str, work: Callable[[], Any]) -> list[str]:
    """What was wrong. Raises ApiError where nothing else would go well either."""
    try:
        work()
    except ApiError as exc:
        if exc.wants_key or exc.unreachable:
            raise
        return [f"{about}{exc}"]
    return []
