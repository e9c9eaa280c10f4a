"""What is installed, and from which lock."""

from __future__ import annotations

import re
import sys
import tomllib
import wave
from pathlib import Path

import pytest

from kikitori.data import sample_path, sample_text

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = ("dev", "main")


def locked(name: str) -> dict[str, str]:
    """Package → its lines of the lock, without hashes of others."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    return {entry.partition("==")[0]: entry for entry in entries}


def asked(requirements: list[str]) -> set[str]:
    names = [re.split(r"[^\w.-]", requirement)[0] for requirement in requirements]
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names}


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_pins_every_dependency_with_hashes(name: str) -> None:
    lock = locked(name)
    extras = PROJECT["optional-dependencies"]["dev"] if name == "dev" else []
    assert asked([*PROJECT["dependencies"], *extras]) | {"hatchling", "editables"} <= lock.keys()
    for entry in lock.values():
        assert re.match(r"[\w.-]+==[\w.]+ ", entry) and "--hash=sha256:" in entry


def versions(name: str) -> dict[str, str]:
    """Package and exact version; where a package is needed differs between the locks."""
    return {package: entry.split(";")[0].split("\\")[0].strip() for package, entry in locked(name).items()}


def test_both_locks_agree() -> None:
    everything, main = versions("dev"), versions("main")
    assert {package: everything[package] for package in main} == main


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_names_no_host_and_never_brings_torch(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    assert "://" not in text and "--index" not in text and "--find-links" not in text
    assert not {"torch", "openai-whisper", "transformers", "triton"} & locked(name).keys()
    assert not [package for package in locked(name) if package.startswith("nvidia-")]


def test_this_python_is_supported() -> None:
    assert PROJECT["requires-python"] == ">=3.11"
    assert sys.version_info >= (3, 11)


def test_the_bundled_sample_is_small_speech_audio() -> None:
    assert sample_path().stat().st_size < 300_000
    with wave.open(str(sample_path())) as sample:
        assert (sample.getframerate(), sample.getnchannels(), sample.getsampwidth()) == (16_000, 1, 2)
        assert 6 <= sample.getnframes() / sample.getframerate() <= 10
    assert re.fullmatch(r"[a-z' ]{40,200}", sample_text())
