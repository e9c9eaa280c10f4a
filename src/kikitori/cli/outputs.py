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

TEXT_FORMATS = ("txt", "json", "srt", "vtt", "tsv", "lrc", "ass")
"""Those that are subtitles or text."""
TASK_FORMATS = (*TEXT_FORMATS, "docx")
"""Those of the texts of tasks."""
FORMATS = (*TASK_FORMATS, "text", "verbose_json")


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
        from kikitori.text.formats import render_file

        title = self._names[recording]
        files = {each: render_file(transcript, each, layout=layout, title=title) for each in self._suffixes}
        return self.write_files(recording, files, whole=whole)

    def write_files(self, recording: Recording, files: Mapping[OutputFormat, bytes], *, whole: bool) -> list[Path]:
        written = []
        for each, content in files.items():
            name = f"{self._names[recording]}{'' if whole else '.partial'}{self._suffixes[each]}"
            write_whole(self._folder / name, content)
            written.append(self._folder / name)
        return written


def write_whole(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` in one step: nobody ever reads half a file. Raises InvalidInput."""
    draft = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with open(draft, "xb") as file:
            file.write(content)
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
        from kikitori.text.formats import render_file

        title = recording.path.stem if recording.path else ""
        files = {each: render_file(transcript, each, layout=layout, title=title) for each in self.formats}
        self.write_files(recording, files)

    def write_files(self, recording: Recording, files: Mapping[OutputFormat, bytes]) -> None:
        from kikitori.text.formats import BINARY

        for each, content in files.items():
            if each in BINARY:
                self.out.flush()
                self.out.buffer.write(content)
                continue
            self._head(recording, each)
            text = content.decode(errors="replace")
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
    """Where texts are printed. Raises InvalidOption for what cannot be: a document in a terminal, or after a text."""
    from kikitori.text.formats import BINARY

    if (documents := BINARY & set(formats)) and (several or len(formats) > 1 or sys.stdout.isatty()):
        name = next(iter(documents)).value
        raise InvalidOption("format", name, f"{name} with --output DIR, or one recording > FILE.{name}")
    return Stdout(formats=formats, several=several, out=utf8(sys.stdout), err=sys.stderr)
