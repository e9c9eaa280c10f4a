"""Values as people read them: names in Markdown, sizes, moments."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import streamlit as st

from kikitori.console.words import say
from kikitori.text.durations import human_duration

MARKDOWN = frozenset(r"\`*_{}[]()<>#+-.!|~:$")
GIGA, MEGA = 1_000_000_000, 1_000_000
LONGEST_NAME = 90


def plain(text: str) -> str:
    """``text`` where Markdown is read: nothing in it means anything."""
    return "".join(f"\\{each}" if each in MARKDOWN else each for each in text)


def without_images(text: str) -> str:
    """Markdown of a language model, which may have read it in a recording: no picture is loaded from anywhere."""
    return text.replace("![", "!\\[")


def pace(percent: float, speed: float, seconds_left: float | None) -> str:
    """How far it is, in one line. ``speed``: seconds of audio in a second; 0 and None: not known."""
    parts = [f"{percent:.0f} %"]
    if speed:
        parts.append(say("common.speed", speed=f"{speed:.1f}"))
    if seconds_left is not None:
        parts.append(say("common.left", time=human_duration(seconds_left)))
    return " · ".join(parts)


def size(size_bytes: float) -> str:
    return f"{size_bytes / GIGA:.1f} GB" if size_bytes >= GIGA else f"{size_bytes / MEGA:.0f} MB"


def moment(text: str | None, zone: tzinfo | None = None) -> str:
    """An ISO time as this browser's clock shows it: ``2026-03-01 12:30``; empty: there is none."""
    return f"{local(text, zone):%Y-%m-%d %H:%M}" if text else ""


def local(text: str, zone: tzinfo | None = None) -> datetime:
    return datetime.fromisoformat(text).astimezone(zone or browser_zone())


def browser_zone() -> tzinfo:
    """The time zone of this browser; UTC where it is not known."""
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (KeyError, ValueError, OSError):
        return UTC


def task_name(task: dict[str, Any]) -> str:
    """What a task is called: its title, its file, its link (without https://, which Markdown takes for a link)."""
    title = str((task.get("details") or {}).get("title") or "")
    link = str(task.get("url") or "").partition("://")[2]
    name = title or str(task.get("file_name") or "") or link or str(task["id"])
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
