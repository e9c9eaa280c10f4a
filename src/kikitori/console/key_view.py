"""API keys, for administrators."""

from __future__ import annotations

from typing import Any

import streamlit as st

from kikitori.console import here
from kikitori.console.api import ApiError
from kikitori.console.shown import moment, plain
from kikitori.console.words import say

SCOPES = ("transcribe", "models", "admin")
MADE = "models.made_key"
"""The secret of the key that was made last: shown until somebody says that it is kept, and then forgotten."""
PROBLEM = "models.key_problem"
SURE = "models.key_sure"


def draw() -> None:
    try:
        keys = here.api().get("/api/keys")["keys"]
    except ApiError as exc:
        if exc.status != 403:
            raise
        st.info(say("models.admin_only"), icon=":material/lock:")
        return
    if problem := st.session_state.pop(PROBLEM, ""):
        st.error(plain(problem), icon=":material/error:")
    _made()
    _new(first=not any(key["revoked_at"] is None for key in keys))
    live = [key for key in keys if key["revoked_at"] is None]
    for key in live:
        _row(key)
    _revoked([key for key in keys if key["revoked_at"] is not None])


def _made() -> None:
    if secret := st.session_state.get(MADE):
        st.success(say("models.key_made"), icon=":material/key:")
        st.code(secret, language=None)
        st.button(say("models.key_kept"), icon=":material/check:", key="models.key_kept", on_click=_forget)


def _forget() -> None:
    st.session_state.pop(MADE, None)


def _new(*, first: bool) -> None:
    with st.expander(say("models.new_key"), icon=":material/add:", expanded=first):
        if first:
            st.caption(say("models.first_key"))
        with st.form("models.new_key", border=False, clear_on_submit=True):
            name_place, owner_place = st.columns(2)
            name = name_place.text_input(say("models.key_name"), key="models.key_name", max_chars=200)
            owner = owner_place.text_input(say("models.key_owner"), key="models.key_owner", max_chars=200)
            scopes = st.pills(
                say("models.key_scopes"),
                SCOPES,
                selection_mode="multi",
                default=["admin"] if first else ["transcribe"],
                format_func=lambda scope: say(f"models.scope.{scope}"),
                key="models.key_scopes",
            )
            if st.form_submit_button(say("models.make_key"), type="primary"):
                _make({"name": name.strip() or "key", "owner": owner.strip(), "scopes": list(scopes)}, first=first)


def _make(wanted: dict[str, Any], *, first: bool) -> None:
    try:
        made = here.api().post("/api/keys", wanted)
    except ApiError as exc:
        st.error(plain(str(exc)), icon=":material/error:")
        return
    if first:  # from now on the server lets nobody in without a key
        here.sign_in(made["secret"])
    st.session_state[MADE] = made["secret"]
    st.rerun()


def _row(key: dict[str, Any]) -> None:
    id = key["id"]
    with (
        st.container(border=True, key=f"row-{id}"),
        st.container(horizontal=True, vertical_alignment="center", wrap=False),
    ):
        with st.container(gap=None):
            st.markdown(f"**{plain(key['name'])}** · {plain(key['owner'])}")
            st.caption(_facts(key))
        with st.popover("⋯", key=f"models.key_menu.{id}"):
            if st.session_state.get(SURE) == id:
                st.caption(say("models.revoke_sure"))
                st.button(
                    say("models.revoke_now"),
                    icon=":material/key_off:",
                    type="primary",
                    key=f"models.revoke_now.{id}",
                    on_click=_revoke,
                    args=(id,),
                )
            else:
                st.button(
                    say("models.revoke"),
                    icon=":material/key_off:",
                    key=f"models.revoke.{id}",
                    on_click=_ask,
                    args=(id,),
                )


def _facts(key: dict[str, Any]) -> str:
    scopes = ", ".join(say(f"models.scope.{scope}") for scope in key["scopes"])
    used = say("models.key_used", at=moment(key["last_used_at"])) if key["last_used_at"] else say("models.key_unused")
    return " · ".join([f"`{key['prefix']}…`", plain(scopes), plain(used)])


def _revoked(keys: list[dict[str, Any]]) -> None:
    if keys:
        with st.expander(say("models.revoked", count=len(keys))):
            for key in keys:
                at = moment(key["revoked_at"])
                st.caption(f"`{key['prefix']}…` · {plain(key['name'])} · {plain(key['owner'])} · {plain(at)}")


def _ask(id: int) -> None:
    st.session_state[SURE] = id


def _revoke(id: int) -> None:
    st.session_state.pop(SURE, None)
    try:
        here.api().delete(f"/api/keys/{id}")
    except ApiError as exc:
        st.session_state[PROBLEM] = str(exc)
