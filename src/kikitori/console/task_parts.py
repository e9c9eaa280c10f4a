"""Parts of a task that the list and the view of one show alike: its state, its facts, what can be done with it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from kikitori.console import acting
from kikitori.console.choosing import language_label, model_label
from kikitori.console.shown import moment, pace, plain
from kikitori.console.words import say
from kikitori.text.durations import human_duration

STYLE = """<style>
[class*="st-key-row-"] { padding: 0.7rem 1rem; }
[class*="st-key-row-"] [data-testid="stMarkdownContainer"] { margin-bottom: 0; }
[class*="st-key-row-"] [data-testid="stMarkdownContainer"] p { margin: 0; }
[class*="st-key-row-"] button[kind="tertiary"] { min-height: 1.6rem; padding: 0; text-align: start; }
[class*="st-key-row-"] button[kind="tertiary"] p { font-weight: 600; overflow-wrap: anywhere; }
.st-key-tasks-numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); }
.st-key-tasks-numbers > * { width: auto !important; min-width: 0; }
.st-key-tasks-numbers [data-testid="stMetric"] { padding: 0; }
.st-key-tasks-numbers [data-testid="stMetricValue"] { font-size: 1.7rem; height: 2.4rem; line-height: 2.4rem; }
.st-key-tasks-numbers [data-testid="stMetricValue"] * { line-height: inherit; }
@media (max-width: 640px) {
  [class*="st-key-head-"] { flex-wrap: wrap !important; gap: 0.4rem; }
  [class*="st-key-head-"] > :first-child { flex: 1 0 100%; }
  [class*="st-key-head-"] > :last-child { flex: 1 0 100%; }
  [class*="st-key-head-"] > :last-child > * { justify-content: space-between; width: 100%; }
}
</style>"""
"""Rows that are no taller than their text, and on a phone have their state below their name."""
BADGES = {
    "queued": (":material/schedule:", "gray"),
    "fetching": (":material/download:", "blue"),
    "running": (":material/graphic_eq:", "red"),
    "succeeded": (":material/check_circle:", "green"),
    "failed": (":material/error:", "red"),
    "cancelled": (":material/stop_circle:", "gray"),
    "expired": (":material/timer_off:", "orange"),
}
ACTIVE = ("fetching", "running")
UNFINISHED = ("queued", *ACTIVE)
PRIORITIES = ("high", "normal", "low")


def badge(task: dict[str, Any]) -> None:
    status = str(task["status"])
    icon, color = BADGES[status]
    word = "stopping" if task["cancel_requested"] and status in ACTIVE else status
    st.badge(say(f"tasks.status.{word}"), icon=icon, color=color)  # type: ignore[arg-type]  # those above


def facts(task: dict[str, Any]) -> str:
    """One line: when, how long, which model and language, whose."""
    length = human_duration(task["duration"]) if task["duration"] else ""
    parts = [
        say("tasks.position", position=task["queue_position"]) if task["queue_position"] else "",
        moment(task["created_at"]),
        length,
        model_label(task["model"]) if task["model"] else "",
        language_label(task["language"]) if task["language"] else "",
        say(f"tasks.priority.{task['priority']}") if task["priority"] != "normal" else "",
        *task["tags"],
        task["owner"],
    ]
    return " · ".join(plain(part) for part in parts if part)


def progress(task: dict[str, Any]) -> None:
    """Of a task that is worked on."""
    if task["status"] in ACTIVE:
        fetching = task["status"] == "fetching"
        text = say("tasks.status.fetching") if fetching else pace(task["progress"], task["speed"], task["eta_seconds"])
        st.progress(min(1.0, task["progress"] / 100), text=text)


def menu(task: dict[str, Any]) -> None:
    """What can be done with a task, in its state."""
    id, status = str(task["id"]), str(task["status"])
    with st.popover("⋯", key=f"tasks.menu.{id}"):
        if status in UNFINISHED and not task["cancel_requested"]:
            _button(id, "cancel", ":material/stop:", acting.cancel)
        if status in ("failed", "cancelled", "expired"):
            _button(id, "retry", ":material/replay:", acting.retry)
        if status == "queued":
            widget = f"tasks.priority.{id}"
            st.segmented_control(
                say("tasks.priority"),
                PRIORITIES,
                default=task["priority"],
                format_func=_priority_label,
                key=widget,
                on_change=acting.set_priority,
                args=(id, widget),
            )
        if st.session_state.get(acting.SURE) == id:
            st.caption(say("tasks.delete_sure"))
            _button(id, "delete_now", ":material/delete_forever:", acting.delete, type="primary")
        else:
            _button(id, "delete", ":material/delete:", acting.ask_whether_sure)


def _button(id: str, name: str, icon: str, work: Any, **more: Any) -> None:
    st.button(
        say(f"tasks.{name}"), icon=icon, key=f"tasks.{name}.{id}", on_click=work, args=(id,), width="stretch", **more
    )


def _priority_label(priority: str) -> str:
    return say(f"tasks.priority.{priority}")
