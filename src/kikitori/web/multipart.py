"""A multipart form as it comes in: fields in memory, files as pieces to be written.

No I/O: ``feed`` takes bytes of the body and returns those of the files. Both official SDKs, curl
and browsers are understood: the file first or last, with or without a name, lists as ``name``
or ``name[]``, objects as ``name[key]``.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from kikitori.errors import InvalidInput, InvalidOption, TooLarge

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_PARTS = 1_000
MAX_FIELD_BYTES = 256 * 1024
"""Of all fields together; a list of clip times can be long."""
MAX_NAME_BYTES = 200
MAX_FILE_NAME = 200
FILE_FIELD = "file"
_NAME = re.compile(r"(?P<base>[^\[\]]+)(?:\[(?P<key>[^\[\]]*)\])?")
_EXTENDED_FILE_NAME = re.compile(rb"filename\*\s*=\s*utf-8'[^']*'([^;\s]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fields:
    """The text fields of a form, in order: (name, value); ``name[]`` is ``name``."""

    items: tuple[tuple[str, str], ...] = ()

    def names(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.items))

    def many(self, name: str) -> list[str]:
        """All values of ``name``."""
        return [value for given, value in self.items if given == name]

    def one(self, name: str, default: str = "") -> str:
        """The value of ``name``, without space around it; raises InvalidOption when several differ."""
        values = {value.strip() for value in self.many(name)}
        if len(values) > 1:
            raise InvalidOption(name, sorted(values), "one value")
        return next(iter(values), "") or default

    def keyed(self, name: str) -> dict[str, str]:
        """``name[key]=value`` as ``{key: value}``."""
        prefix = f"{name}["
        keys = [given for given in self.names() if given.startswith(prefix)]
        return {given[len(prefix) : -1]: self.one(given) for given in keys}


class Piece(NamedTuple):
    """Bytes of a file; ``file`` is its place in ``FormReader.files``."""

    file: int
    data: bytes


@dataclass(slots=True)
class FileHead:
    """A file of the form, as far as it has come."""

    name: str
    """What the client calls it, without folders; may be empty."""
    size_bytes: int = 0


@dataclass(slots=True)
class _Part:
    name: str = ""
    is_file: bool = False
    has_filename: bool = False
    data: bytearray = field(default_factory=bytearray)


class FormReader:
    """Fed with a body, piece by piece, until it ends. Raises InvalidInput or TooLarge as soon as it must."""

    def __init__(self, content_type: str, *, max_file_bytes: int, max_files: int = 1, needs_file: bool = True) -> None:
        """``max_file_bytes`` is for all files together."""
        self.files: list[FileHead] = []
        self.ended = False
        self._max_file_bytes, self._max_files, self._needs_file = max_file_bytes, max_files, needs_file
        self._fields: list[tuple[str, str]] = []
        self._field_bytes = 0
        self._parts = 0
        self._part = _Part()
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[Piece] = []
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._part_begins,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._header_ends,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._part_data,
            "on_part_end": self._part_ends,
            "on_end": self._all_ends,
        }
        with _malformed_is_invalid():
            self._parser = MultipartParser(_boundary(content_type), callbacks)

    @property
    def file_bytes(self) -> int:
        return sum(each.size_bytes for each in self.files)

    def feed(self, data: bytes) -> list[Piece]:
        """The pieces of files in ``data``."""
        with _malformed_is_invalid():
            self._parser.write(data)
        pieces, self._pieces = self._pieces, []
        return pieces

    def finish(self) -> Fields:
        """The fields; the body is over."""
        if not self.ended:
            raise InvalidInput(
                "The form breaks off before its end.", remedy="Send the whole multipart body, with its last boundary."
            )
        if self._needs_file and not self.files:
            raise InvalidInput("The form has no file.", remedy="Send it as the form field `file`.", param=FILE_FIELD)
        return Fields(tuple(self._fields))

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise TooLarge(f"The form has more than {MAX_PARTS} parts.")
        self._part = _Part()
        self._headers = {}

    def _header_ends(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _headers_end(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        kind, options = parse_options_header(disposition)
        if kind != b"form-data" or b"name" not in options or len(options[b"name"]) > MAX_NAME_BYTES:
            raise InvalidInput("A part of the form has no usable name.", remedy='Name it: `form-data; name="file"`.')
        name = plain_name(_text(options[b"name"], "a field's name"))
        self._part = _Part(name=name, is_file=name == FILE_FIELD, has_filename=b"filename" in options)
        if self._part.is_file:
            self._file_begins(_file_name(disposition, options.get(b"filename", b"")))

    def _file_begins(self, name: str) -> None:
        if len(self.files) >= self._max_files:
            if self._max_files == 1:
                raise InvalidInput("The form has two files.", remedy="Send one file a request.", param=FILE_FIELD)
            raise TooLarge(
                f"The form has more than {self._max_files} files.", remedy="Send some of them later.", param=FILE_FIELD
            )
        self.files.append(FileHead(name))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.is_file:
            self.files[-1].size_bytes += end - start
            if self.file_bytes > self._max_file_bytes:
                raise upload_too_large(self._max_file_bytes)
            self._pieces.append(Piece(len(self.files) - 1, data[start:end]))
            return
        if self._part.has_filename:
            raise InvalidInput(
                f"The form has a file named {self._part.name!r}.",
                remedy="Send it as the form field `file`.",
                param=self._part.name,
            )
        self._field_bytes += end - start
        if self._field_bytes > MAX_FIELD_BYTES:
            raise TooLarge(f"The fields of the form are over {MAX_FIELD_BYTES:,} bytes.", param=self._part.name)
        self._part.data += data[start:end]

    def _part_ends(self) -> None:
        if not self._part.is_file and not self._part.has_filename:
            self._fields.append((self._part.name, _text(bytes(self._part.data), self._part.name)))

    def _all_ends(self) -> None:
        self.ended = True


def upload_too_large(max_bytes: int) -> TooLarge:
    return TooLarge(
        f"The file is over {max_bytes:,} bytes.",
        remedy="Send a smaller one, or raise KIKITORI_MAX_UPLOAD_BYTES.",
        param=FILE_FIELD,
    )


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        sent = content_type.split(";")[0].strip()[:80] or "no content type"
        raise InvalidInput(
            f"The request body is {sent}.",
            remedy="Send multipart/form-data with the audio in the form field `file`.",
            param=FILE_FIELD,
        )
    if not options.get(b"boundary"):
        raise InvalidInput("The content type names no boundary.", remedy="Let your HTTP client set the content type.")
    return options[b"boundary"]


@contextmanager
def _malformed_is_invalid() -> Generator[None, None, None]:
    """The parser's errors as ours."""
    try:
        yield
    except FormParserError as exc:
        raise InvalidInput(
            "The body is not a well-formed multipart form.",
            remedy="Let your HTTP client build it, and set no content type yourself.",
        ) from exc


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as exc:
        raise InvalidInput(f"{what} is not UTF-8 text.", param=None if " " in what else what) from exc


def plain_name(name: str) -> str:
    """``list[]`` is ``list``; ``object[key]`` stays."""
    found = _NAME.fullmatch(name)
    return found["base"] if found and not found["key"] else name


def _file_name(disposition: bytes, plain: bytes) -> str:
    extended = _EXTENDED_FILE_NAME.search(disposition)
    name = unquote(extended[1].decode("ascii", "replace")) if extended else plain.decode(errors="replace")
    return plain_file_name(name)


def plain_file_name(name: str) -> str:
    """What a client calls a file, as text to show: no folders, nothing unprintable, not too long. Never a path."""
    last = name.replace("\\", "/").rpartition("/")[2]
    shown = "".join(char for char in last if char.isprintable()).strip()
    return "" if shown in (".", "..") else shown[-MAX_FILE_NAME:]


def shown_names(names: Iterable[str]) -> str:
    """Field names for a header: only plain characters, not too many."""
    safe = [re.sub(r"[^A-Za-z0-9_.\[\]-]", "?", name)[:64] for name in names]
    return ", ".join(safe[:20]) + (", …" if len(safe) > 20 else "")
