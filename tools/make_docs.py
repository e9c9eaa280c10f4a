"""Write the pages of docs/ that are made from the code: settings.md, options.md, cli.md.

With --check nothing is written; the exit code says whether the pages are what the code says.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
import typer.main
from typer.core import TyperGroup

from kikitori.cli.config import NO_FLAG
from kikitori.cli.exits import ExitCode
from kikitori.cli.flags import shown_default
from kikitori.cli.root import Commands, app
from kikitori.options import DecodeOptions, OptionRow, option_table
from kikitori.settings import Settings
from kikitori.text.subtitle_options import layout_table

DOCS = Path(__file__).resolve().parent.parent / "docs"
WIDTH = 100
MADE = "<!-- Made by tools/make_docs.py. Change the code it comes from, then run `make docs`. -->\n"


def main() -> int:
    stale = [name for name, text in pages().items() if not is_current(DOCS / name, text)]
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"docs/{name} is not what the code says. Run `make docs`.", file=sys.stderr)
        return 1 if stale else 0
    DOCS.mkdir(exist_ok=True)
    for name in stale:
        (DOCS / name).write_text(pages()[name], encoding="utf-8")
        print(f"docs/{name} written")
    return 0


def is_current(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


def pages() -> Mapping[str, str]:
    return {"settings.md": settings_page(), "options.md": options_page(), "cli.md": cli_page()}


def sections(owner: type) -> dict[str, list[str]]:
    """The fields of a class under the comments that head them in its source."""
    found: dict[str, list[str]] = {}
    title = ""
    for line in inspect.getsource(owner).splitlines():
        if heading := re.match(r"    # (.+)$", line):
            title = heading[1]
        elif (field := re.match(r"    (\w+): ", line)) and title:
            found.setdefault(title, []).append(field[1])
    return found


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *([*row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def code(text: str) -> str:
    """``text`` in backticks, whatever backticks it holds."""
    return f"`` {text} ``" if "`" in text else f"`{text}`" if text else ""


# Settings ---------------------------------------------------------------------------------------------------------


def settings_page() -> str:
    parts = [
        MADE,
        "# Settings\n\n"
        "Every setting is an environment variable, a key of a TOML file (its name in lower case, without `KIKITORI_`) "
        "and, unless it is a secret, a flag of `kikitori serve` (`KIKITORI_DATA_DIR` is `--data-dir`).\n\n"
        "Later wins: defaults, the TOML file (`--config FILE`, or `KIKITORI_CONFIG`), a file `.env` in the working "
        "folder, environment variables, flags. Lists are written with commas or as JSON, tables as JSON.\n",
    ]
    for title, names in sections(Settings).items():
        rows = [_setting_row(name) for name in names]
        parts.append(f"\n## {title}\n\n" + table(("Variable", "Default", "Meaning"), rows))
    return "".join(parts)


def _setting_row(name: str) -> tuple[str, str, str]:
    field = Settings.model_fields[name]
    default = "" if field.default_factory else _shown(_plain(field.default))
    if name == "data_dir":
        default = "~/.local/share/kikitori"
    secret = " A secret: not a flag." if name in NO_FLAG else ""
    return code(f"KIKITORI_{name.upper()}"), code(default), f"{field.description}{secret}"


def _plain(value: Any) -> Any:
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


# Options ----------------------------------------------------------------------------------------------------------


def options_page() -> str:
    rows = {row.name: row for row in option_table()}
    parts = [
        MADE,
        "# Decode options\n\n"
        "The same names everywhere: fields of a form (`beam_size=1`), flags of `kikitori transcribe` "
        "(`--beam-size 1`). Lists are written with commas. The word `none` switches off what may be none. "
        "A value that is not allowed is refused with the name of the option and what is allowed.\n",
    ]
    for title, names in sections(DecodeOptions).items():
        parts.append(f"\n## {title}\n\n" + _option_rows(rows[name] for name in names))
    parts.append(
        "\n## Subtitle layout\n\nFor `srt`, `vtt`, `lrc` and `ass`. Cues follow word times where there are any "
        "(`word_timestamps`), else the segments.\n\n" + _option_rows(layout_table())
    )
    return "".join(parts)


def _option_rows(rows: Iterable[OptionRow]) -> str:
    head = ("Option", "Default", "Allowed", "Meaning")
    return table(head, ((code(row.name), code(_shown(row.default)), row.allowed, row.description) for row in rows))


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else shown_default(default)


# Commands ---------------------------------------------------------------------------------------------------------


def cli_page() -> str:
    root = typer.main.get_command(app)
    assert isinstance(root, Commands)
    top = typer.Context(root, info_name="kikitori", max_content_width=WIDTH, terminal_width=WIDTH)
    top.help_option_names = ["-h", "--help"]
    parts = [MADE, "# Commands\n", *_command(root, top, level=2)]
    for entry in root.entries:
        if not entry.hidden:
            parts += _with_children(root.load(entry.name), top, level=2)
    parts.append("\n## Exit codes\n\n" + table(("Code", "Meaning"), _exit_codes()))
    return "".join(parts)


def _with_children(command: Any, parent: Any, *, level: int) -> Iterator[str]:
    context = typer.Context(command, parent=parent, info_name=command.name, terminal_width=WIDTH)
    yield from _command(command, context, level=level)
    if isinstance(command, TyperGroup):
        for child in command.commands.values():
            yield from _with_children(child, context, level=level + 1)


def _command(command: Any, context: Any, *, level: int) -> Iterator[str]:
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines()).strip()
    yield f"\n{'#' * level} `{context.command_path}`\n\n```text\n{text}\n```\n"


def _exit_codes() -> Iterator[tuple[str, str]]:
    """The members of ExitCode and the comments beside them."""
    for name, meaning in re.findall(r"^    (\w+) = \d+  # (.+)$", inspect.getsource(ExitCode), re.MULTILINE):
        yield str(ExitCode[name].value), meaning


if __name__ == "__main__":
    sys.exit(main())
