"""One run on the page: how far it is, its text, and what can be done with it."""

from __future__ import annotations

from pathlib import PurePath

import streamlit as st

from kikitori.console import here, runs
from kikitori.console.api import ApiError
from kikitori.console.choosing import language_label, model_label
from kikitori.console.lines import transcript_of
from kikitori.console.progress import Progress, Stage
from kikitori.console.running import Run
from kikitori.console.shown import pace, plain
from kikitori.console.transcript_view import Edited, text_view, transcript_view
from kikitori.console.words import say
from kikitori.text.durations import human_duration
from kikitori.text.formats import MEDIA_TYPES, SUFFIXES, OutputFormat, render_file

FORMATS = (OutputFormat.TXT, OutputFormat.SRT, OutputFormat.VTT, OutputFormat.DOCX, OutputFormat.JSON)
BADGES = {
    Stage.WAITING: (":material/schedule:", "gray"),
    Stage.SENDING: (":material/upload:", "blue"),
    Stage.QUEUED: (":material/hourglass_top:", "orange"),
    Stage.RUNNING: (":material/graphic_eq:", "red"),
    Stage.LOST: (":material/cloud_off:", "orange"),
    Stage.DONE: (":material/check_circle:", "green"),
    Stage.STOPPED: (":material/stop_circle:", "gray"),
    Stage.MOVED: (":material/checklist:", "blue"),
    Stage.FAILED: (":material/error:", "red"),
}
PLAYER = "file-player"
ROW_BAR_PIXELS = 130


def draw_run(run: Run) -> None:
    """Its state and its text."""
    known = run.progress()
    _head(run, known)
    with st.container(key="file-state"):  # always there: what comes after it keeps its place, and so its state
        _state(known)
    if known.shown or not known.stage.is_over:
        _text(run, known)
    elif known.stage is Stage.DONE:
        st.info(say("file.empty"), icon=":material/hearing_disabled:")
    if known.stage.is_over and known.shown:
        _downloads(run, known)


def draw_player(run: Run) -> None:
    """Not in a part that refreshes itself: Streamlit would read the whole recording each time."""
    with st.container(key=PLAYER):
        if run.recording.media_type.startswith("video/"):
            st.video(run.recording.content, format=run.recording.media_type)
        else:
            st.audio(run.recording.content, format=run.recording.media_type or "audio/wav")


def draw_row(run: Run, number: int) -> bool:
    """A run among several: its name and progress. True when it is to be shown."""
    known = run.progress()
    with st.container(horizontal=True, vertical_alignment="center", wrap=False):
        st.markdown(plain(run.recording.name), width="stretch")
        if known.stage.is_over:
            badge(known)
        else:
            short = f"{known.percent} %" if known.stage is Stage.RUNNING else _progress_text(known)
            st.progress(_share(known), text=short, width=ROW_BAR_PIXELS)
        return st.button(say("file.show"), key=f"file.show.{number}", disabled=run is runs.chosen())


def badge(known: Progress) -> None:
    icon, color = BADGES[known.stage]
    st.badge(say(f"file.stage.{known.stage}"), icon=icon, color=color)  # type: ignore[arg-type]


def _head(run: Run, known: Progress) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="file-head"):
        st.markdown(f"**{plain(run.recording.name)}**", width="stretch")
        badge(known)
        if known.stage.is_over:
            with st.popover("", icon=":material/more_horiz:"):
                st.button(say("file.again"), icon=":material/replay:", key="file.again", on_click=_again, args=(run,))
                st.button(
                    say("file.remove"), icon=":material/close:", key="file.remove", on_click=runs.forget, args=(run,)
                )
        else:
            st.button(say("file.stop"), icon=":material/stop:", key="file.stop", type="primary", on_click=run.stop)


def _again(run: Run) -> None:
    runs.forget(run)
    runs.begin(run.recording)


def _state(known: Progress) -> None:
    """How far it is, and what went wrong."""
    if not known.stage.is_over:
        st.progress(_share(known), text=_progress_text(known))
    if known.stage is Stage.LOST:
        st.warning(f"{say('file.lost')}\n\n{plain(known.problem)}", icon=":material/cloud_off:")
    elif known.stage is Stage.FAILED:
        st.error(plain(known.problem), icon=":material/error:")
    elif known.stage is Stage.STOPPED:
        st.info(say("file.stopped"), icon=":material/stop_circle:")
    elif known.stage is Stage.MOVED:
        st.info(say("file.moved"), icon=":material/checklist:")
    elif known.attempts > 1 and not known.stage.is_over:
        st.info(say("file.begun_again"), icon=":material/replay:")
    if known.warning:
        st.warning(plain(known.warning))
    if known.stage.is_over and (facts := _facts(known)):
        st.caption(facts)


def _facts(known: Progress) -> str:
    length = human_duration(known.duration) if known.duration else ""
    named = [known.model and model_label(known.model), known.language and language_label(known.language), length]
    kept = [say("file.kept")] if known.task_id else []
    return " · ".join(plain(part) for part in (*named, *kept) if part)


def _text(run: Run, known: Progress) -> None:
    over = known.stage.is_over
    may_edit = over and known.stage is not Stage.MOVED
    timeline, whole = st.tabs([say("common.lines.timeline"), say("common.lines.whole")])
    with timeline:
        edited = transcript_view(
            known.shown, key=f"file.lines.{id(run)}", player=PLAYER, editable=may_edit, growing=not over
        )
    with whole:
        text_view(known.text, key=f"file.text.{id(run)}")
    if edited is not None:
        save(run, edited)
        st.rerun()


def save(run: Run, edited: Edited) -> None:
    """Keep what was edited: here, and in the task when there is one."""
    run.edit(edited.id, edited.text)
    known = run.progress()
    if not known.task_id:
        st.toast(say("file.edit_here"), icon=":material/check:")
        return
    try:
        here.api().call(
            "PATCH", f"/api/tasks/{known.task_id}/segments/{edited.id}", json={"text": known.shown[edited.id].text}
        )
    except ApiError as exc:
        st.toast(say("file.edit_failed", problem=exc), icon=":material/error:")
    else:
        st.toast(say("file.edit_kept"), icon=":material/check:")


def _downloads(run: Run, known: Progress) -> None:
    stem = PurePath(run.recording.name).stem or "transcript"
    transcript = transcript_of(
        known.shown,
        language=known.language,
        duration=known.duration,
        model=known.model,
        task=str(run.recording.options.get("task", "transcribe")),
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        for kind in FORMATS:
            st.download_button(
                SUFFIXES[kind].removeprefix("."),
                render_file(transcript, kind, title=stem),
                file_name=f"{stem}{SUFFIXES[kind]}",
                mime=MEDIA_TYPES[kind],
                icon=":material/download:",
                key=f"file.download.{kind}",
                on_click="ignore",
                help=say("file.download"),
            )


def _share(known: Progress) -> float:
    if known.stage is Stage.SENDING:
        return 0.0
    return known.percent / 100


def _progress_text(known: Progress) -> str:
    if known.stage is Stage.SENDING:
        return say("file.sent", percent=round(known.sent * 100))
    if known.stage is Stage.QUEUED:
        return say("file.position", position=known.position)
    if known.stage is not Stage.RUNNING:
        return say(f"file.stage.{known.stage}")
    return pace(known.percent, known.speed, known.eta_seconds)
