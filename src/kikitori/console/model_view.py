"""Models: those in memory, those on the disk, those that can be had, and those on their way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote

import streamlit as st

from kikitori.console import here
from kikitori.console.api import LONG_SECONDS, ApiError
from kikitori.console.frame import telling
from kikitori.console.shown import plain, size
from kikitori.console.words import say

REFRESH_SECONDS = 2.0
PROBLEM = "models.problem"
SURE = "models.sure"
NAME = "models.name"
STATES = {"done": "green", "failed": "red", "cancelled": "gray"}


@st.fragment(run_every=REFRESH_SECONDS)
def draw() -> None:
    with telling():
        if problem := st.session_state.pop(PROBLEM, ""):
            st.error(plain(problem), icon=":material/error:")
        known = here.api().get("/api/models/known")["models"]
        loaded = {each["model"]: each for each in here.api().get("/api/models/loaded")["models"]}
        downloads = _downloads()
        _on_disk([model for model in known if model["installed"]], loaded, may=downloads is not None)
        if downloads is None:
            st.caption(say("models.read_only"))
            return
        _on_their_way(downloads)
        _to_be_had([model for model in known if not model["installed"]], downloads)


def _downloads() -> list[dict[str, Any]] | None:
    """None: this key may only look."""
    try:
        found: list[dict[str, Any]] = here.api().get("/api/models/downloads")["downloads"]
    except ApiError as exc:
        if exc.status != 403:
            raise
        return None
    return found


def _on_disk(models: list[dict[str, Any]], loaded: dict[str, dict[str, Any]], *, may: bool) -> None:
    st.markdown(f"##### {say('models.here')}")
    for model in models:
        id = str(model["id"])
        status = loaded.get(id)
        with (
            st.container(border=True, key=f"row-{_slug(id)}"),
            st.container(horizontal=True, vertical_alignment="center", wrap=False, key=f"head-{_slug(id)}"),
        ):
            with st.container(gap=None):
                st.markdown(f"**{plain(id)}**")
                st.caption(_facts(model, status))
            with st.container(horizontal=True, width="content", vertical_alignment="center", wrap=False):
                _badge(status)
                if may:
                    _menu(model, status)


def _facts(model: dict[str, Any], status: dict[str, Any] | None) -> str:
    parts = [model["engine"], size(model["size_bytes"])]
    if model["english_only"]:
        parts.append(say("models.english_only"))
    replicas = Counter(_replica(replica) for replica in (status or {}).get("replicas", ()))
    parts += [text if count == 1 else f"{count} × {text}" for text, count in replicas.items()]
    return " · ".join(plain(part) for part in parts)


def _replica(replica: dict[str, Any]) -> str:
    """Where it is; and what its batches hold, when there was one: an engine that merges no calls has none."""
    place = "CPU" if replica["device"] == "cpu" else f"GPU {replica['device_index']}"
    if not replica["mean_batch_size"]:
        return place
    return f"{place} · {say('models.batches', mean=format(replica['mean_batch_size'], '.1f'))}"


def _badge(status: dict[str, Any] | None) -> None:
    state = status["state"] if status else "on_disk"
    icon, color = {
        "ready": (":material/memory:", "green"),
        "loading": (":material/hourglass_top:", "orange"),
        "failed": (":material/error:", "red"),
    }.get(state, (":material/save:", "gray"))
    st.badge(say(f"models.state.{state}"), icon=icon, color=color)  # type: ignore[arg-type]  # those above


def _menu(model: dict[str, Any], status: dict[str, Any] | None) -> None:
    id, api = str(model["id"]), here.api()
    with st.popover("⋯", key=f"models.menu.{id}"):
        if status is None or status["state"] == "failed":
            load = partial(api.post, "/api/models/load", {"model": id, "pin": True}, timeout=LONG_SECONDS)
            _button("load", ":material/memory:", id, load)
        else:
            _button("unload", ":material/eject:", id, partial(api.delete, f"/api/models/loaded/{_quoted(id)}"))
        if not model["removable"] or status is not None:
            return
        if st.session_state.get(SURE) == id:
            remove = partial(api.delete, f"/api/models/installed/{_quoted(id)}")
            _button("remove_now", ":material/delete_forever:", id, remove, type="primary")
        else:
            st.button(
                say("models.remove"),
                icon=":material/delete:",
                key=f"models.remove.{id}",
                width="stretch",
                on_click=_ask,
                args=(id,),
            )


def _ask(id: str) -> None:
    st.session_state[SURE] = id


def _on_their_way(downloads: list[dict[str, Any]]) -> None:
    if not downloads:
        return
    st.markdown(f"##### {say('models.downloads')}")
    for download in downloads:
        id, state = str(download["model"]), download["state"]
        with (
            st.container(border=True, key=f"row-download-{_slug(id)}"),
            st.container(horizontal=True, vertical_alignment="center", wrap=False),
        ):
            if state == "running":
                done, total = download["bytes_done"], download["bytes_total"]
                st.progress(done / total if total else 0.0, text=f"**{plain(id)}** · {_speed(download)}")
                stop = partial(here.api().delete, f"/api/models/downloads/{_quoted(id)}")
                _button("stop", ":material/stop:", id, stop, width="content")
                continue
            with st.container(gap=None):
                st.markdown(f"**{plain(id)}**")
                if download["error"]:
                    st.markdown(f":small[:red[{plain(download['error'])}]]")
            st.badge(say(f"models.download.{state}"), color=STATES[state])  # type: ignore[arg-type]  # those above
            if state != "done":
                _begin_button(id, "again")


def _speed(download: dict[str, Any]) -> str:
    if not download["bytes_total"]:
        return say("models.asking")
    amount = f"{size(download['bytes_done'])} / {size(download['bytes_total'])}"
    return f"{amount} · {size(download['bytes_per_second'])}/s" if download["bytes_per_second"] else amount


def _to_be_had(models: list[dict[str, Any]], downloads: list[dict[str, Any]]) -> None:
    st.markdown(f"##### {say('models.to_be_had')}")
    running = {download["model"] for download in downloads if download["state"] == "running"}
    with (
        st.form("models.other", border=False, clear_on_submit=True),
        st.container(horizontal=True, vertical_alignment="bottom"),
    ):
        st.text_input(say("models.other"), key=NAME, placeholder="organisation/model")
        st.form_submit_button(say("models.download"), icon=":material/download:", on_click=_begin_named)
    with st.expander(say("models.known", count=len(models))):
        for model in models:
            id = str(model["id"])
            with st.container(horizontal=True, vertical_alignment="center", wrap=False):
                with st.container(gap=None):
                    st.markdown(f"**{plain(id)}**")
                    st.caption(_facts(model, None))
                if id not in running:
                    _begin_button(id, "download")


def _begin_named() -> None:
    if name := str(st.session_state.get(NAME, "")).strip():
        _try(_begin(name))


def _begin_button(id: str, word: str) -> None:
    _button(word, ":material/download:", id, _begin(id), width="content")


def _begin(name: str) -> Callable[[], Any]:
    return partial(here.api().post, "/api/models/downloads", {"model": name})


def _button(name: str, icon: str, id: str, work: Callable[[], Any], **more: Any) -> None:
    more = {"width": "stretch"} | more
    st.button(say(f"models.{name}"), icon=icon, key=f"models.{name}.{id}", on_click=_try, args=(work,), **more)


def _try(work: Callable[[], Any]) -> None:
    st.session_state.pop(SURE, None)
    try:
        work()
    except ApiError as exc:
        st.session_state[PROBLEM] = str(exc)


def _quoted(id: str) -> str:
    return quote(id, safe="")


def _slug(id: str) -> str:
    """``id`` as a part of a CSS class."""
    return "".join(each if each.isalnum() else "-" for each in id)
