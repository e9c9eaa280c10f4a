"""Queue and throughput: numbers, and a chart."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import altair as alt
import streamlit as st

from kikitori.console import here
from kikitori.console.frame import telling
from kikitori.console.shown import browser_zone, local
from kikitori.console.words import say

REFRESH_SECONDS = 5.0
SPANS = ("last_hour", "last_day")
COLORS = {"succeeded": "#2f6b47", "failed": "#b93a26", "cancelled": "#8d8678"}
QUEUE_COLORS = {"active": "#b93a26", "waiting": "#8d8678"}
HEIGHT = 240
HOUR_SECONDS = 3_600
WHOLE_NUMBERS = alt.Axis(tickMinStep=1, format="d")
QUEUE = "tasks.queue"
MOST_MOMENTS = 360
"""Half an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueMoment:
    """How many tasks there were."""

    at: datetime
    waiting: int
    working: int


@st.fragment(run_every=REFRESH_SECONDS)
def draw() -> None:
    with telling():
        stats = here.api().get("/api/stats")
        _numbers(stats)
        queue = _remembered(stats["tasks"])
        with st.expander(say("tasks.figures"), icon=":material/bar_chart:"):
            st.caption(say("tasks.queue"))
            st.altair_chart(areas(queue), width="stretch")
            st.caption(say("tasks.throughput"))
            _chart(stats)
            _nodes(stats["nodes"])


def _numbers(stats: dict[str, Any]) -> None:
    tasks, day = stats["tasks"], stats["last_day"]
    more = "" if stats["tasks_are_exact"] else "+"
    numbers = {
        "waiting": f"{tasks['queued']:,}{more}",
        "working": f"{tasks['fetching'] + tasks['running']:,}",
        "done_today": f"{sum(hour['succeeded'] for hour in day):,}",
        "audio_today": _length(sum(hour["audio_seconds"] for hour in day)),
    }
    with st.container(horizontal=True, key="tasks-numbers"):
        for name, value in numbers.items():
            st.metric(say(f"tasks.{name}"), value, border=True)


def _length(seconds: float) -> str:
    if seconds < HOUR_SECONDS:
        return say("tasks.minutes", count=f"{seconds / 60:.0f}")
    hours = seconds / HOUR_SECONDS
    return say("tasks.hours", count=f"{hours:.1f}" if hours < 100 else f"{hours:,.0f}")


def _chart(stats: dict[str, Any]) -> None:
    span = st.segmented_control(
        say("tasks.span"),
        SPANS,
        default=SPANS[0],
        format_func=lambda name: say(f"tasks.{name}"),
        key="tasks.span",
        label_visibility="collapsed",
    )
    st.altair_chart(bars(stats[span or SPANS[0]]), width="stretch")


def _remembered(tasks: dict[str, int]) -> Sequence[QueueMoment]:
    """The queue as it was each time this part was drawn, and is now."""
    seen: deque[QueueMoment] = st.session_state.setdefault(QUEUE, deque(maxlen=MOST_MOMENTS))
    working = tasks["fetching"] + tasks["running"]
    seen.append(QueueMoment(at=datetime.now(browser_zone()), waiting=tasks["queued"], working=working))
    return seen


def areas(queue: Sequence[QueueMoment]) -> alt.Chart:
    """What waited and what was worked on, one upon the other."""
    names = {name: say(f"tasks.group.{name}") for name in QUEUE_COLORS}
    most = max(1, *(moment.waiting + moment.working for moment in queue))
    rows = [
        {"at": _at(moment.at), "state": names[name], "count": count}
        for moment in queue
        for name, count in (("active", moment.working), ("waiting", moment.waiting))
    ]
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_area(interpolate="step-after", opacity=0.75)
        .encode(
            x=alt.X("at:T", title=None, axis=alt.Axis(format="%H:%M:%S", grid=False, tickCount=6)),
            y=alt.Y(
                "count:Q",
                title=say("tasks.in_queue"),
                stack="zero",
                axis=WHOLE_NUMBERS,
                scale=alt.Scale(domainMax=most),
            ),
            color=_colors(names, QUEUE_COLORS),
            tooltip=[alt.Tooltip("at:T", format="%H:%M:%S", title=say("tasks.time")), "state:N", "count:Q"],
        )
        .properties(height=HEIGHT)
    )
    return chart


def bars(steps: list[dict[str, Any]]) -> alt.Chart:
    """What ended in each step, as bars of three colours."""
    names = {name: say(f"tasks.group.{'done' if name == 'succeeded' else name}") for name in COLORS}
    rows = [
        {"at": _at(local(step["at"])), "state": names[name], "count": step[name]} for step in steps for name in COLORS
    ]
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar(cornerRadius=1)
        .encode(
            x=alt.X("at:T", title=None, axis=alt.Axis(format="%H:%M", grid=False)),
            y=alt.Y("sum(count):Q", title=say("tasks.ended"), axis=WHOLE_NUMBERS),
            color=_colors(names, COLORS),
            tooltip=[alt.Tooltip("at:T", format="%H:%M", title=say("tasks.time")), "state:N", "count:Q"],
        )
        .properties(height=HEIGHT)
    )
    return chart


def _colors(names: Mapping[str, str], colors: Mapping[str, str]) -> alt.Color:
    """A colour for each state, under its name for people."""
    scale = alt.Scale(domain=list(names.values()), range=[colors[name] for name in names])
    return alt.Color("state:N", scale=scale, legend=alt.Legend(orient="top", title=None))


def _at(moment: datetime) -> str:
    """For charts, which show it as it is written, whatever the zone."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}"


def _nodes(nodes: list[dict[str, Any]]) -> None:
    """Only administrators are told of them."""
    if nodes:
        st.caption(say("tasks.nodes"))
        shown = [
            {
                say("tasks.node_host"): node["host"],
                say("tasks.node_tasks"): f"{node['tasks']} / {node['slots']}",
                say("tasks.node_version"): node["version"],
            }
            for node in nodes
        ]
        st.dataframe(shown, hide_index=True, width="stretch")
