"""Around every page: navigation, the server's light, the language, the sign-in, and what becomes of errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module

import streamlit as st

from kikitori.console import here, runs, tabs
from kikitori.console.api import ApiError
from kikitori.console.launch import UPLOAD_MB
from kikitori.console.look import LOGO, MARK, style
from kikitori.console.words import say

LIGHT_SECONDS = 10
RETRY_SECONDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSpec:
    """A page: its name is that of its module and of its table of words, and its address."""

    name: str
    icon: str
    wants_key: bool = True


PAGES = (
    PageSpec(name="file", icon=":material/description:"),
    PageSpec(name="live", icon=":material/mic:"),
    PageSpec(name="tasks", icon=":material/checklist:"),
    PageSpec(name="models", icon=":material/tune:"),
)


def run() -> None:
    """The whole console, once."""
    st.set_page_config(page_title="Kikitori", page_icon=MARK, layout="wide")
    drop = say("common.drop_files", size=f"{UPLOAD_MB // 1024} GB")
    st.html(style(choose_files=say("common.choose_files"), drop_files=drop, language=here.language()))
    st.logo(LOGO, icon_image=MARK, size="large")
    pages = [_page(spec, default=number == 0) for number, spec in enumerate(PAGES)]
    chosen = st.navigation(pages)
    here.keep_language()
    with st.container(key="frame-tab"):
        tabs.recognise()
    _sidebar()
    chosen.run()


def show(name: str) -> None:
    """One page, with sign-in and errors around it."""
    spec = next(spec for spec in PAGES if spec.name == name)
    with telling():
        if spec.wants_key and not here.is_welcome():
            _sign_in()
        else:
            import_module(f"kikitori.console.pages.{name}").render()


@contextmanager
def telling() -> Iterator[None]:
    """Shows what the server says is wrong; a key that is not taken any more leads to the sign-in."""
    try:
        yield
    except ApiError as exc:
        if exc.wants_key:
            leave()
            st.rerun()
        if exc.unreachable:
            _unreachable()
        else:
            st.error(str(exc), icon=":material/error:")


def leave() -> None:
    """Sign out. What runs here ends, unless it shall go on; without a key the text stays for who signs in."""
    if not here.key():
        here.forget_open()
        return
    runs.forget_all()
    here.sign_out()


def _page(spec: PageSpec, *, default: bool) -> st.Page:
    return st.Page(
        _shown(spec.name), title=say(f"common.{spec.name}"), icon=spec.icon, url_path=spec.name, default=default
    )


def _shown(name: str) -> Callable[[], None]:
    def page() -> None:
        show(name)

    return page


def _sidebar() -> None:
    with st.sidebar:
        light()
        st.selectbox(
            say("common.language"),
            list(here.LANGUAGES),
            index=list(here.LANGUAGES).index(here.language()),
            format_func=here.LANGUAGES.__getitem__,
            key="frame.language",
            on_change=_speak,
        )
        if here.key():
            st.button(say("common.sign_out"), icon=":material/logout:", on_click=leave, width="stretch")
        st.markdown(f":small[[{say('common.documentation')}]({here.browser_url()}/docs)]")


def _speak() -> None:
    here.speak(st.session_state["frame.language"])


@st.fragment(run_every=LIGHT_SECONDS)
def light() -> None:
    """The server's light."""
    try:
        ready, reason = here.api().health()
    except ApiError:
        st.badge(say("common.unreachable"), icon=":material/cloud_off:", color="red")
        return
    if ready:
        st.badge(say("common.ready"), icon=":material/check_circle:", color="green")
    else:
        st.badge(say("common.not_ready"), icon=":material/hourglass_top:", color="orange")
        st.caption(reason)


def _sign_in() -> None:
    _, middle, _ = st.columns([1, 2, 1])
    with middle, st.form("sign-in", border=True):
        st.subheader(say("common.sign_in"))
        st.write(say("common.sign_in_text"))
        given = st.text_input(say("common.key"), type="password", autocomplete="off").strip()
        if not st.form_submit_button(say("common.sign_in"), type="primary", width="stretch"):
            return
        if not given:
            st.error(say("common.key_missing"))
            return
        try:
            here.sign_in(given)
        except ApiError as exc:
            st.error(say("common.key_wrong") if exc.wants_key else str(exc))
            return
    st.rerun()


@st.fragment(run_every=RETRY_SECONDS)
def _unreachable() -> None:
    """Says so, until the server is there again."""
    try:
        here.api().health()
    except ApiError:
        st.warning(
            f"**{say('common.unreachable')}**\n\n{say('common.unreachable_text', url=here.browser_url())}",
            icon=":material/cloud_off:",
        )
    else:
        st.rerun()
