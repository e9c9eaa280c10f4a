"""What belongs to this session of a browser: its server, its key, its language."""

from __future__ import annotations

import hashlib
import re

import httpx
import streamlit as st

from kikitori.console import tabs
from kikitori.console.api import Api, ApiError, open_client
from kikitori.console.target import Target, from_environment
from kikitori.console.words import say

LANGUAGES = {"en": "English", "ja": "日本語", "ko": "한국어", "zh": "中文"}
KEY = "here.key"
OPEN = "here.open"
"""The server let us in without a key."""
HOLDER_DIGITS = 16
LANGUAGE = "here.language"
PARAMETER = "lang"
"""Of the address, so that a page that is loaded anew keeps the language that was chosen."""


@st.cache_resource(show_spinner=False)
def target() -> Target:
    return from_environment()


@st.cache_resource(show_spinner=False)
def client() -> httpx.Client:
    """One for the process; it holds no key."""
    return open_client(target().url, target().certificate)


def key() -> str:
    """The API key of this session; empty: none."""
    return str(st.session_state.get(KEY, ""))


def holder() -> str:
    """Whoever has the key of this session, as a name that does not give it away; empty: there is no key."""
    return hashlib.sha256(key().encode()).hexdigest()[:HOLDER_DIGITS] if key() else ""


def api() -> Api:
    return Api(client(), key())


def is_welcome() -> bool:
    """Whether this session may call the server as it is. Raises ApiError when nobody answers, or everybody could come.

    A server on loopback is open to its machine; a console that a network reaches must not open it to the network.
    """
    if key() or st.session_state.get(OPEN):
        return True
    try:
        api().get("/v1/models")
    except ApiError as exc:
        if exc.wants_key:
            return False
        raise
    if not target().open:
        raise ApiError(say("common.not_open"), status=403, code="forbidden")
    st.session_state[OPEN] = True
    return True


def sign_in(given: str) -> None:
    """Keep the key for this session when the server takes it. Raises ApiError."""
    Api(client(), given).get("/v1/models")
    st.session_state[KEY] = given
    tabs.current().hand_over(holder())


def sign_out() -> None:
    """Forget the key, and all that was seen with it."""
    kept = {name: st.session_state[name] for name in (LANGUAGE, tabs.TAB) if name in st.session_state}
    st.session_state.clear()
    st.session_state.update(kept)


def forget_open() -> None:
    """The server has got keys since it let us in."""
    st.session_state.pop(OPEN, None)


def browser_url() -> str:
    """The server's address for this browser."""
    return target().browser_url(st.context.url or "")


def language() -> str:
    """A key of ``LANGUAGES``: chosen, or else the browser's first that we speak, or else English."""
    chosen = st.session_state.get(LANGUAGE) or st.query_params.get(PARAMETER)
    if chosen in LANGUAGES:
        return str(chosen)
    return spoken([st.context.locale or "", *_accepted(st.context.headers.get("accept-language", ""))])


def speak(chosen: str) -> None:
    """Use a language of ``LANGUAGES`` from now on."""
    st.session_state[LANGUAGE] = chosen


def keep_language() -> None:
    """Write the chosen language into the address, which loses it from page to page."""
    chosen = st.session_state.get(LANGUAGE)
    if chosen and st.query_params.get(PARAMETER) != chosen:
        st.query_params[PARAMETER] = chosen


def spoken(wanted: list[str]) -> str:
    """The first of ``wanted`` (``ja-JP``) that the console speaks, or English."""
    codes = (name.lower().replace("_", "-").partition("-")[0] for name in wanted)
    return next((code for code in codes if code in LANGUAGES), "en")


def _accepted(header: str) -> list[str]:
    return [name for name in re.split(r"\s*,\s*|;[^,]*", header) if name]
