"""The page *Models and keys*, for those who look after the server."""

from __future__ import annotations

import streamlit as st

from kikitori.console import key_view, model_view, task_parts
from kikitori.console.words import say


def render() -> None:
    st.html(task_parts.STYLE)
    st.title(say("common.models"))
    models, keys = st.tabs([say("models.models"), say("models.keys")])
    with models:
        model_view.draw()
    with keys:
        key_view.draw()
