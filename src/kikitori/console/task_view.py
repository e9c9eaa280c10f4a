"""One task: how far it is, its recording and its text, and what can be made of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import Any

import streamlit as st

from kikitori.console import acting, asking, here, task_parts
from kikitori.console.api import Api, ApiError, Download
from kikitori.console.frame import telling
from kikitori.console.lines import Line, full_text, lines_from
from kikitori.console.shown import plain, size, task_name
from kikitori.console.transcript_view import text_view, transcript_view
from kikitori.console.wave_view import wave_view
from kikitori.console.words import say
from kikitori.text.formats import MEDIA_TYPES, OutputFormat

REFRESH_SECONDS = 2.0
FORMATS = (OutputFormat.TXT, OutputFormat.SRT, OutputFormat.VTT, OutputFormat.DOCX, OutputFormat.JSON)
PLAYER = "task-player"
SOUND = "tasks.sound"
MOST_BYTES = 300_000_000
"""A larger recording is not taken into the memory of the console; its text can still be read."""
PEAKS = 800


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """The recording of a task, as far as it can be heard."""

    task_id: str
    recording: Download | None = None
    wave: dict[str, Any] | None = None
    problem: str = ""


def draw(task_id: str) -> None:
    acting.tell()
    st.button(say("tasks.back"), icon=":material/arrow_back:", key="tasks.back", type="tertiary", on_click=acting.leave)
    try:
        task = here.api().get(acting.path_of(task_id))
    except ApiError as exc:
        if exc.status != 404:
            raise
        st.warning(say("tasks.gone"), icon=":material/search_off:")
        return
    if task["status"] in task_parts.UNFINISHED:
        st.fragment(_follow, run_every=REFRESH_SECONDS)(task_id)
        return
    _head(task)
    _ended(task)


def _follow(task_id: str) -> None:
    """The part that refreshes itself until the task has ended."""
    with telling():
        acting.tell()
        task = here.api().get(acting.path_of(task_id))
        if task["status"] not in task_parts.UNFINISHED:
            st.rerun()
        _head(task)
        task_parts.progress(task)
        lines = _lines(task_id)
        transcript_view(lines, key=f"tasks.growing.{task_id}", growing=True)
    if acting.shown() != task_id:  # it was deleted in this part
        st.rerun()


def _head(task: dict[str, Any]) -> None:
    with st.container(horizontal=True, vertical_alignment="center", wrap=False, key="head-of-task"):
        with st.container(gap=None):
            st.subheader(plain(task_name(task)), anchor=False)
            st.caption(task_parts.facts(task))
        with st.container(horizontal=True, width="content", vertical_alignment="center", wrap=False):
            task_parts.badge(task)
            task_parts.menu(task)
    if task["url"]:
        st.caption(f":material/link: {plain(task['url'])}")


def _ended(task: dict[str, Any]) -> None:
    task_id = str(task["id"])
    if task["error"]:
        st.error(plain(f"{task['error']['message']} {task['error']['remedy']}".strip()), icon=":material/error:")
    lines = _lines(task_id)
    sound = _sound(task_id)
    _hear(sound, lines)
    if not lines:
        if task["status"] == "succeeded":
            st.info(say("file.empty"), icon=":material/hearing_disabled:")
        return
    timeline, whole, questions = st.tabs(
        [say("common.lines.timeline"), say("common.lines.whole"), say("tasks.ask_tab")]
    )
    with timeline:
        _text(task_id, lines, can_hear=sound.recording is not None)
        _downloads(task)
    with whole:
        text_view(full_text(lines), key=f"tasks.text.{task_id}")
    with questions:
        asking.draw(task_id)


def _hear(sound: Sound, lines: tuple[Line, ...]) -> None:
    if sound.problem:
        st.caption(f":material/volume_off: {plain(sound.problem)}")
    if sound.recording is None:
        return
    if sound.wave:
        wave_view(sound.wave, lines, key=f"tasks.wave.{sound.task_id}", player=PLAYER)
    with st.container(key=PLAYER):
        if sound.recording.media_type.startswith("video/"):
            st.video(sound.recording.content, format=sound.recording.media_type)
        else:
            st.audio(sound.recording.content, format=sound.recording.media_type)


def _text(task_id: str, lines: tuple[Line, ...], *, can_hear: bool) -> None:
    edited = transcript_view(lines, key=f"tasks.lines.{task_id}", player=PLAYER if can_hear else "", editable=True)
    if edited is None:
        return
    before = next((line.text for line in lines if line.id == edited.id), "")
    if acting.correct(task_id, edited.id, edited.text, expected=before):
        st.toast(say("file.edit_kept"), icon=":material/check:")
    st.rerun()


def _downloads(task: dict[str, Any]) -> None:
    """Written by the server when they are asked for, with the times of its words."""
    stem = PurePath(task_name(task).replace("/", " ")).stem or task["id"]
    with st.container(horizontal=True, vertical_alignment="center"):
        for kind in FORMATS:
            st.download_button(
                kind.value,
                partial(_file, here.api(), str(task["id"]), kind.value),
                file_name=f"{stem}.{kind.value}",
                mime=MEDIA_TYPES[kind],
                icon=":material/download:",
                key=f"tasks.download.{kind}",
                on_click="ignore",
                help=say("file.download"),
            )


def _file(api: Api, task_id: str, kind: str) -> bytes:
    """Called when the button is, outside of any run of the page."""
    return api.content(f"{acting.path_of(task_id)}/subtitles", {"format": kind, "partial": "true"}).content


def _lines(task_id: str) -> tuple[Line, ...]:
    result = here.api().get(f"{acting.path_of(task_id)}/result", {"partial": "true"})
    return lines_from(result)


def _sound(task_id: str) -> Sound:
    """Of the task that is looked at; that of the one before is forgotten."""
    known: Sound | None = st.session_state.get(SOUND)
    if known is None or known.task_id != task_id:
        known = st.session_state[SOUND] = _fetch(task_id)
    return known


def forget() -> None:
    """The recording that was heard last: nobody looks at its task any more."""
    st.session_state.pop(SOUND, None)


def _fetch(task_id: str) -> Sound:
    path, api = acting.path_of(task_id), here.api()
    try:
        with st.spinner(say("tasks.fetching_sound")):
            recording = api.content(f"{path}/recording", most_bytes=MOST_BYTES)
            wave = api.get(f"{path}/peaks", {"count": PEAKS})
    except ApiError as exc:
        if exc.wants_key or exc.unreachable:
            raise
        too_large = exc.code == "too_large"
        problem = say("tasks.too_large", size=size(MOST_BYTES)) if too_large else say("tasks.no_sound")
        return Sound(task_id=task_id, problem=problem)
    return Sound(task_id=task_id, recording=recording, wave=wave)
