"""The tasks, filtered and in pages; it refreshes itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from kikitori.console import acting, here, task_parts
from kikitori.console.frame import telling
from kikitori.console.shown import plain, task_name
from kikitori.console.words import say

REFRESH_SECONDS = 3.0
PAGE = 20
GROUPS = {
    "waiting": ("queued",),
    "active": task_parts.ACTIVE,
    "done": ("succeeded",),
    "failed": ("failed", "expired"),
    "cancelled": ("cancelled",),
}
SORTS = ("-created_at", "created_at", "-finished_at", "-duration", "-priority")
FIRST = "tasks.first"
"""How many tasks come before those that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which tasks are wanted, in which order."""

    groups: tuple[str, ...] = ()
    text: str = ""
    priorities: tuple[str, ...] = ()
    sort: str = SORTS[0]

    @property
    def is_on(self) -> bool:
        return bool(self.groups or self.text or self.priorities)

    def query(self, first: int) -> dict[str, Any]:
        """As ``GET /api/tasks`` takes it."""
        asked: dict[str, Any] = {"limit": PAGE, "sort": self.sort}
        if self.groups:
            asked["status"] = [status for group in self.groups for status in GROUPS[group]]
        if self.priorities:
            asked["priority"] = list(self.priorities)
        if self.text:
            asked["text"] = self.text
        if first:
            asked["offset"] = first
        return asked


def draw() -> None:
    wanted = _filter()
    st.fragment(_page, run_every=REFRESH_SECONDS)(wanted)


def _filter() -> Filter:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            say("tasks.search"), key="tasks.search", placeholder=say("tasks.search_hint"), on_change=_from_the_first
        )
        with st.popover(say("tasks.more"), icon=":material/tune:"):
            priorities = st.pills(
                say("tasks.priority"),
                task_parts.PRIORITIES,
                selection_mode="multi",
                format_func=lambda name: say(f"tasks.priority.{name}"),
                key="tasks.priorities",
                on_change=_from_the_first,
            )
            sort = st.selectbox(
                say("tasks.sort"),
                SORTS,
                format_func=lambda name: say(f"tasks.sort.{name.replace('-', 'down_')}"),
                key="tasks.sort",
                on_change=_from_the_first,
            )
    groups = st.pills(
        say("tasks.groups"),
        list(GROUPS),
        selection_mode="multi",
        format_func=lambda name: say(f"tasks.group.{name}"),
        key="tasks.groups",
        label_visibility="collapsed",
        on_change=_from_the_first,
    )
    return Filter(groups=tuple(groups), text=text.strip(), priorities=tuple(priorities), sort=sort or SORTS[0])


def _from_the_first() -> None:
    st.session_state[FIRST] = 0


def _page(wanted: Filter) -> None:
    """The part that refreshes itself."""
    with telling():
        acting.tell()
        first = int(st.session_state.get(FIRST, 0))
        found = here.api().get("/api/tasks", wanted.query(first))
        if not found["tasks"] and first:  # those of the last page were deleted
            _from_the_first()
            first, found = 0, here.api().get("/api/tasks", wanted.query(0))
        if not found["tasks"]:
            st.info(say("tasks.none_found" if wanted.is_on else "tasks.none"), icon=":material/inbox:")
            return
        for task in found["tasks"]:
            _row(task)
        _turning(found, first)


def _row(task: dict[str, Any]) -> None:
    id = str(task["id"])
    with st.container(border=True, key=f"row-{id}", gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", wrap=False, key=f"head-{id}"):
            with st.container(gap=None):
                st.button(
                    plain(task_name(task)),
                    key=f"tasks.open.{id}",
                    type="tertiary",
                    on_click=acting.show,
                    args=(id,),
                    help=say("tasks.open"),
                )
                st.caption(task_parts.facts(task))
            with st.container(horizontal=True, width="content", vertical_alignment="center", wrap=False):
                task_parts.badge(task)
                task_parts.menu(task)
        task_parts.progress(task)
        if task["error"]:
            st.markdown(f":small[:red[{plain(task['error']['message'])}]]")
    if acting.shown() == id:  # its name was clicked in this part, which cannot leave by itself
        st.rerun()


def _turning(found: dict[str, Any], first: int) -> None:
    """From page to page."""
    last = first + len(found["tasks"])
    total = f"{found['total']:,}{'' if found['total_is_exact'] else '+'}"
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(say("tasks.shown", first=first + 1, last=last, total=total))
        with st.container(horizontal=True, width="content"):
            st.button(
                say("tasks.previous"), key="tasks.previous", disabled=not first, on_click=_turn, args=(first - PAGE,)
            )
            st.button(
                say("tasks.next"),
                key="tasks.next",
                disabled=not found["has_more"],
                on_click=_turn,
                args=(first + PAGE,),
            )


def _turn(first: int) -> None:
    st.session_state[FIRST] = max(0, first)
