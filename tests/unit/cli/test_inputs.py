from __future__ import annotations

import os
from pathlib import Path

import pytest

from kikitori.cli.inputs import Missing, Recording, find_recordings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.wav", "a.MP3", "notes.txt", "deep/c.flac", "deep/.hidden/d.wav", ".e.wav", "talk[1].wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*arguments: str) -> list[str]:
    return [item.name for item in find_recordings(arguments)]


def test_a_file_is_taken_whatever_it_is_called(folder: Path) -> None:
    assert names("notes.txt", "b.wav") == ["notes.txt", "b.wav"]


def test_a_folder_gives_its_media_in_order(folder: Path) -> None:
    assert names(".") == ["a.MP3", "b.wav", "deep/c.flac", "talk[1].wav"]
    assert names("deep") == ["deep/c.flac"]


def test_a_pattern_gives_what_it_matches(folder: Path) -> None:
    assert names("*.wav") == ["b.wav", "talk[1].wav"]
    assert names("**/*.flac") == ["deep/c.flac"]
    assert names("d*") == ["deep/c.flac"]
    assert names("notes*") == ["notes.txt"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    assert names("talk[1].wav") == ["talk[1].wav"]


def test_each_file_is_taken_once(folder: Path) -> None:
    assert names("b.wav", "./b.wav", str(folder / "b.wav"), "*.wav", "-", "-") == ["b.wav", "talk[1].wav", "stdin"]


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("none.wav", "There is no such file."),
        ("*.ogg", "No file matches this pattern."),
        ("empty", "There is no audio or video file in this folder."),
        ("x" * 300, "Cannot be read: File name too long."),
    ],
)
def test_what_is_not_there_is_said(folder: Path, argument: str, problem: str) -> None:
    assert find_recordings([argument, "b.wav"]) == [
        Missing(name=argument, problem=problem),
        Recording(name="b.wav", path=Path("b.wav")),
    ]


def test_the_home_folder_is_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert names("~/b.wav") == [str(folder / "b.wav")]


def test_what_can_be_read_only_once_is_known(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    pipe, file, stdin = find_recordings(["pipe", "b.wav", "-"])
    assert isinstance(pipe, Recording)
    assert isinstance(file, Recording)
    assert isinstance(stdin, Recording)
    assert (pipe.is_stream, file.is_stream, stdin.is_stream) == (True, False, True)
