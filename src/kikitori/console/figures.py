"""Queue and throughput: numbers, and a chart."""

from __future__ import annotations

from typing import Any

import altair as alt
import streamlit as st

from kikitori.console import here
from kikitori.console.frame import telling
from kikitori.console.shown import local
from kikitori.console.words import say

REFRESH_SECONDS = 5.0
SPANS = ("last_hour", "last_day")
COLORS = {"succeeded": "#2f6b47", "failed": "#b93a26", "cancelled": "#8d8678"}
HEIGHT = 220
HOUR_SECONDS = 3_600


@st.fragment(run_every=REFRESH_SECONDS)
def draw() -> None:
    with telling():
        stats = here.api().get("/api/stats")
        _numbers(stats)
        with st.expander(say("tasks.figures"), icon=":material/bar_chart:"):
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


def bars(steps: list[dict[str, Any]]) -> alt.Chart:
    """What ended in each step, as bars of three colours."""
    names = {name: say(f"tasks.group.{'done' if name == 'succeeded' else name}") for name in COLORS}
    rows = [
        {"at": f"{local(step['at']):%Y-%m-%dT%H:%M:%S}", "state": names[name], "count": step[name]}
        for step in steps
        for name in COLORS
    ]
    state = alt.Color(
        "state:N",
        scale=alt.Scale(domain=list(names.values()), range=list(COLORS.values())),
        legend=alt.Legend(orient="bottom", title=None),
    )
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar(cornerRadius=1)
        .encode(
            x=alt.X("at:T", title=None, axis=alt.Axis(format="%H:%M", grid=False)),
            y=alt.Y("sum(count):Q", title=say("tasks.ended"), axis=alt.Axis(tickMinStep=1, format="d")),
            color=state,
            tooltip=[alt.Tooltip("at:T", format="%H:%M", title=say("tasks.time")), "state:N", "count:Q"],
        )
        .properties(height=HEIGHT)
    )
    return chart


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
