"""Transcripts → stdout, or files in a folder."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from kikitori.cli.inputs import Recording
from kikitori.errors import InvalidInput, InvalidOption

if TYPE_CHECKING:
    from kikitori.text.formats import OutputFormat
    from kikitori.text.subtitle_options import SubtitleLayout
    from kikitori.types import Transcript

FORMATS = ("txt", "json", "srt", "vtt", "tsv", "lrc", "ass", "text", "verbose_json")


TASK_FORMATS = FORMATS[:7]
"""Those of the texts of tasks."""


def parse_formats(given: Iterable[str], *, allowed: Sequence[str] = FORMATS) -> tuple[OutputFormat, ...]:
    """``["txt,srt", "json"]`` → each format once, in order. Raises InvalidOption."""
    from kikitori.text.formats import OutputFormat

    names = [name.strip().lower() for text in given for name in text.split(",") if name.strip()]
    for name in names:
        if name not in allowed:
            raise InvalidOption("format", name, ", ".join(allowed))
    return tuple(dict.fromkeys(OutputFormat(name) for name in names or ["txt"]))


def output_names(recordings: Sequence[Recording]) -> dict[Recording, str]:
    """What the files of each recording are called, without the suffix: ``talk`` for ``talk.mp3``.

    ``talk.mp3`` and ``talk.wav`` in one run are told apart as ``talk.mp3`` and ``talk.wav``, two files of the same
    name in different folders by a number.
    """
    stems = [_stem(recording) for recording in recordings]
    folded = [stem.casefold() for stem in stems]  # some file systems take A and a for the same
    names: dict[Recording, str] = {}
    taken: set[str] = set()
    for recording, stem in zip(recordings, stems, strict=True):
        full = recording.path.name if recording.path else stem
        name = full if folded.count(stem.casefold()) > 1 else stem
        number = 1
        chosen = name
        while chosen.casefold() in taken:
            number += 1
            chosen = f"{name}-{number}"
        taken.add(chosen.casefold())
        names[recording] = chosen
    return names


def _stem(recording: Recording) -> str:
    return (recording.path.stem or recording.path.name) if recording.path else recording.name


class Folder:
    """Writes the files of each transcript, whole or not at all."""

    def __init__(self, folder: Path, names: Mapping[Recording, str], formats: Sequence[OutputFormat]) -> None:
        from kikitori.text.formats import SUFFIXES

        self._folder, self._names = folder, names
        suffixes = [SUFFIXES[each] for each in formats]
        shared = {suffix for suffix in suffixes if suffixes.count(suffix) > 1}
        self._suffixes = {
            each: f".{each.value}{SUFFIXES[each]}" if SUFFIXES[each] in shared else SUFFIXES[each] for each in formats
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise InvalidOption("output", str(folder), f"a folder that can be written to ({exc.strerror})") from exc

    def write(self, recording: Recording, transcript: Transcript, layout: SubtitleLayout, *, whole: bool) -> list[Path]:
        """One file for each format; ``.partial`` in its name when the recording was not heard to its end."""
        from kikitori.text.formats import render

        texts = {each: render(transcript, each, layout=layout) for each in self._suffixes}
        return self.write_texts(recording, texts, whole=whole)

    def write_texts(self, recording: Recording, texts: Mapping[OutputFormat, str], *, whole: bool) -> list[Path]:
        written = []
        for each, text in texts.items():
            name = f"{self._names[recording]}{'' if whole else '.partial'}{self._suffixes[each]}"
            write_whole(self._folder / name, text)
            written.append(self._folder / name)
        return written


def write_whole(path: Path, text: str) -> None:
    """Put ``text`` at ``path`` in one step: nobody ever reads half a file. Raises InvalidInput."""
    draft = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with open(draft, "x", encoding="utf-8", newline="") as file:
            file.write(text)
        os.replace(draft, path)
    except OSError as exc:
        raise InvalidInput(f"{path} cannot be written: {exc.strerror}.", param="output") from exc
    finally:
        draft.unlink(missing_ok=True)


@dataclass(slots=True)
class Stdout:
    """Prints transcripts one after another; tells them apart when there are several."""

    formats: Sequence[OutputFormat]
    several: bool
    out: TextIO
    err: TextIO
    printed: int = 0

    def write(self, recording: Recording, transcript: Transcript, layout: SubtitleLayout) -> None:
        from kikitori.text.formats import render

        self.write_texts(recording, {each: render(transcript, each, layout=layout) for each in self.formats})

    def write_texts(self, recording: Recording, texts: Mapping[OutputFormat, str]) -> None:
        for each, text in texts.items():
            self._head(recording, each)
            self.out.write(text if text.endswith("\n") or not text else f"{text}\n")
            self.printed += 1
        self.out.flush()

    def _head(self, recording: Recording, format: OutputFormat) -> None:
        """``==> name <==``, on stderr when all is JSON: programs read one object after the other."""
        if not self.several and len(self.formats) == 1:
            return
        kind = f" ({format.value})" if len(self.formats) > 1 else ""
        only_json = all(each.value.endswith("json") for each in self.formats)
        gap = "\n" if self.printed and not only_json else ""
        print(f"{gap}==> {recording.name}{kind} <==", file=self.err if only_json else self.out, flush=True)


def utf8(stream: TextIO) -> TextIO:
    """``stream``, writing UTF-8 into pipes and files whatever the locale, and never failing on a letter."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace") if stream.isatty() else reconfigure(encoding="utf-8", errors="replace")
    return stream


def standard_output(formats: Sequence[OutputFormat], *, several: bool) -> Stdout:
    return Stdout(formats=formats, several=several, out=utf8(sys.stdout), err=sys.stderr)
