"""What a language model makes of a task: a summary, and answers to questions, read while they are written."""

from __future__ import annotations

from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from kikitori.console import acting, here
from kikitori.console.api import ApiError
from kikitori.console.shown import plain, without_images
from kikitori.console.words import say
from kikitori.text.languages import LANGUAGE_NAMES

KINDS = ("summary", "chat")
SHOWN = 50
REMEMBERED_TURNS = 10
CURSOR = " ▌"


def draw(task_id: str) -> None:
    kept = _kept(task_id)
    for answer in kept:
        _exchange(answer["question"], answer["text"])
    if not kept:
        st.caption(say("tasks.ask_text"))
    place = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        wants_summary = st.button(say("tasks.summary"), icon=":material/summarize:", key="tasks.summary")
    question = st.chat_input(say("tasks.ask"), key="tasks.ask", max_chars=5_000)
    if wants_summary:
        _answer(place, task_id, "summary", "", {"output_language": LANGUAGE_NAMES[here.language()].title()})
    elif question:
        _answer(place, task_id, "chat", question, {"question": question, "history": _history(kept)})


def _kept(task_id: str) -> list[dict[str, Any]]:
    """Summaries and answers so far, the oldest first."""
    found = here.api().get(f"{acting.path_of(task_id)}/answers", {"limit": SHOWN})
    return [answer for answer in found["answers"] if answer["kind"] in KINDS]


def _history(kept: list[dict[str, Any]]) -> list[dict[str, str]]:
    turns = [answer for answer in kept if answer["kind"] == "chat"][-REMEMBERED_TURNS:]
    return [
        {"role": role, "content": content}
        for turn in turns
        for role, content in (("user", turn["question"]), ("assistant", turn["text"]))
    ]


def _exchange(question: str, text: str) -> None:
    _question(question)
    with st.chat_message("assistant", avatar=":material/auto_awesome:"):
        st.markdown(without_images(text))


def _question(question: str) -> None:
    if question:
        with st.chat_message("user", avatar=":material/person:"):
            st.markdown(plain(question))


def _answer(place: DeltaGenerator, task_id: str, verb: str, question: str, body: dict[str, Any]) -> None:
    """Write the answer while it comes; then it is kept with the task, and drawn from there."""
    with place:
        _question(question)
        with st.chat_message("assistant", avatar=":material/auto_awesome:"):
            shown = st.empty()
            shown.caption(say("tasks.thinking"))
            try:
                _stream(shown, f"{acting.path_of(task_id)}/{verb}", body)
            except ApiError as exc:
                if exc.wants_key or exc.unreachable:
                    raise
                shown.warning(plain(str(exc)), icon=":material/auto_awesome:")
                return
    st.rerun()


def _stream(shown: DeltaGenerator, path: str, body: dict[str, Any]) -> None:
    text = ""
    for event in here.api().events("POST", path, json={**body, "stream": True}):
        if event.name == "answer.progress":
            shown.caption(say("tasks.reading", done=event.data["done"], total=event.data["total"]))
        elif event.name == "answer.delta":
            text += event.data["delta"]
            shown.markdown(without_images(text) + CURSOR)
