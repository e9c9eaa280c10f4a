"""The page *File*: a recording goes in, and its text is read while it comes."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from typing import Any

import streamlit as st

from kikitori.console import here, runs
from kikitori.console.api import ApiError
from kikitori.console.choosing import language_choices, language_label, model_choices, model_label
from kikitori.console.frame import telling
from kikitori.console.run_view import draw_player, draw_row, draw_run
from kikitori.console.running import Recording, Run
from kikitori.console.words import say
from kikitori.types import Task

REFRESH_SECONDS = 1.0
MODELS = "file.models"
UPLOADS = "file.uploads"
"""How often something was started: each time the field for files begins anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is asked for all files that are started together."""

    options: dict[str, str]
    keep: bool
    go_on: bool


def render() -> None:
    st.title(say("file.title"))
    st.markdown(say("file.text"))
    run = runs.chosen()
    if run is None:
        _choose()
        return
    another = f"file.another.{st.session_state.get(UPLOADS, 0)}"  # once something is started, it is closed again
    with st.expander(say("file.another"), icon=":material/add:", key=another):
        _choose()
    still = any(not each.progress().stage.is_over for each in runs.all_runs())
    every = REFRESH_SECONDS if still else None
    if len(runs.all_runs()) > 1:
        st.fragment(_list, run_every=every)()
    draw_player(run)
    st.fragment(_follow, run_every=every)(run, still)


def _choose() -> None:
    files = st.file_uploader(
        say("file.upload"), accept_multiple_files=True, key=f"file.upload.{st.session_state.get(UPLOADS, 0)}"
    )
    wishes, start = _wishes(), say("file.start")
    if st.button(start, icon=":material/play_arrow:", type="primary", key="file.start", disabled=not files):
        runs.begin(*(recording(file.name, file.getvalue(), file.type or "", wishes) for file in files))
        st.session_state[UPLOADS] = st.session_state.get(UPLOADS, 0) + 1
        st.rerun()


def _wishes() -> Wishes:
    model, spoken, task = st.columns(3)
    names = model_choices(_models())
    options = {
        "model": model.selectbox(say("file.model"), names, format_func=model_label, key="file.model"),
        "language": spoken.selectbox(
            say("file.spoken"), language_choices(), format_func=language_label, key="file.spoken"
        ),
        "task": task.selectbox(
            say("file.task"), [each.value for each in Task], format_func=_task_label, key="file.task"
        ),
    }
    with st.container(horizontal=True):
        go_on = st.session_state.get("file.go_on", False)
        keep = st.checkbox(say("file.keep"), key="file.keep", value=False, disabled=go_on) or go_on
        st.checkbox(say("file.go_on"), key="file.go_on", help=say("file.go_on_help"))
    return Wishes(options={name: value for name, value in options.items() if value}, keep=keep, go_on=go_on)


def _models() -> list[dict[str, Any]]:
    """What the server has; while it is away, what it had: what runs here must stay in sight."""
    try:
        st.session_state[MODELS] = here.api().get("/v1/models")["data"]
    except ApiError as exc:
        if not exc.unreachable or not runs.all_runs():
            raise
    found: list[dict[str, Any]] = st.session_state.get(MODELS, [])
    return found


def _task_label(task: str) -> str:
    return say(f"file.task.{task}")


def recording(name: str, content: bytes, media_type: str, wishes: Wishes) -> Recording:
    """A file that was chosen; browsers that do not know its type say nothing, or that it is bytes."""
    known = media_type if media_type.startswith(("audio/", "video/")) else mimetypes.guess_type(name)[0] or ""
    options: dict[str, Any] = dict(wishes.options)
    return Recording(
        name=name, content=content, media_type=known, options=options, keep=wishes.keep, go_on=wishes.go_on
    )


def _list() -> None:
    """All runs; it refreshes itself while one of them is not over."""
    with st.container(border=True, gap="xsmall"):
        for number, each in enumerate(runs.all_runs()):
            if draw_row(each, number):
                runs.choose(each)
                st.rerun()


def _follow(run: Run, still: bool) -> None:
    """The run that is looked at; it refreshes itself while something is not over."""
    with telling():
        draw_run(run)
        if still and all(each.progress().stage.is_over for each in runs.all_runs()):
            st.rerun()  # nothing to refresh any more
