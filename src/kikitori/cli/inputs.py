"""FILE arguments → recordings: files, folders, patterns, ``-`` for stdin."""

from __future__ import annotations

import glob
import sys
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kikitori.cli.exits import InvalidSetting, complain
from kikitori.errors import InvalidInput

T = TypeVar("T")

MEDIA_SUFFIXES = frozenset(
    ".3g2 .3gp .aac .ac3 .aif .aiff .alac .amr .ape .asf .au .avi .caf .dts .flac .flv .gsm .m2ts .m4a .m4b .m4v .mka "
    ".mkv .mov .mp2 .mp3 .mp4 .mpeg .mpg .mpga .mts .mxf .oga .ogg .ogv .opus .ra .rm .spx .ts .vob .voc .w64 .wav "
    ".weba .webm .wma .wmv .wv".split()
)
"""What is taken from a folder; a file that is named is taken whatever it is called."""

STDIN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One thing to transcribe; ``path`` is None for stdin."""

    name: str
    """What messages call it: the path as it was given."""
    path: Path | None

    @property
    def is_stream(self) -> bool:
        """Can be read only once: stdin, a named pipe, a process substitution of the shell."""
        return self.path is None or not self.path.is_file()


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """An argument behind which nothing was found."""

    name: str
    problem: str


def check_piped(arguments: Container[str], example: str) -> None:
    """Raises InvalidSetting, showing ``example``, when stdin is asked for and nothing is piped in."""
    if STDIN in arguments and (sys.stdin is None or sys.stdin.isatty()):
        raise InvalidSetting("Nothing is piped in.", remedy=f"Do so: {example}")


def those_there(found: Iterable[T | Missing]) -> list[T]:
    """What was found; what is missing is told, a line each."""
    there = []
    for item in found:
        if isinstance(item, Missing):
            complain(InvalidInput(item.problem), about=item.name)
        else:
            there.append(item)
    return there


def find_recordings(arguments: Iterable[str]) -> list[Recording | Missing]:
    """What the arguments stand for, in their order, each file once."""
    found: list[Recording | Missing] = []
    seen: set[Path | None] = set()
    for argument in arguments:
        for item in _found(argument):
            if isinstance(item, Recording):
                key = item.path and item.path.resolve()
                if key in seen:
                    continue
                seen.add(key)
            found.append(item)
    return found


def _found(argument: str) -> Iterator[Recording | Missing]:
    if argument == STDIN:
        yield Recording(name="stdin", path=None)
        return
    path = Path(argument).expanduser()
    try:
        paths = _paths(argument, path)
    except OSError as exc:
        yield Missing(name=argument, problem=f"Cannot be read: {exc.strerror}.")
        return
    if isinstance(paths, str):
        yield Missing(name=argument, problem=paths)
        return
    for each in paths:
        yield Recording(name=str(each), path=each)


def _paths(argument: str, path: Path) -> list[Path] | str:
    """The files behind one argument, or why there are none."""
    if path.is_dir():
        return _in_folder(path) or "There is no audio or video file in this folder."
    if path.exists():
        return [path]
    if not glob.has_magic(argument):
        return "There is no such file."
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    files = [file for match in matches for file in ([match] if match.is_file() else _in_folder(match))]
    return files or "No file matches this pattern."


def _in_folder(folder: Path) -> list[Path]:
    """Media below ``folder``, in order; what is hidden stays hidden."""
    inside = (path for path in folder.rglob("*") if path.suffix.lower() in MEDIA_SUFFIXES)
    visible = (path for path in inside if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return sorted(path for path in visible if path.is_file())
