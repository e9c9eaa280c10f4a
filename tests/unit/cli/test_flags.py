from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from kikitori.cli.apps import App
from kikitori.cli.config import settings_flags
from kikitori.cli.flags import (
    Flag,
    layout_flags,
    option_flags,
    shown_default,
    with_fields,
    with_flags,
    with_language_code,
)
from kikitori.cli.serve import serve_flags
from kikitori.options import option_table, parse_options
from kikitori.settings import Settings
from kikitori.text.subtitle_options import layout_table, parse_layout


def command(*flags: Flag) -> tuple[typer.Typer, list[tuple[str, dict[str, Any]]]]:
    app = App()
    got: list[tuple[str, dict[str, Any]]] = []

    @app.command()
    @with_flags("values", flags)
    def run(name: Annotated[str, typer.Argument()], *, values: dict[str, Any]) -> None:
        got.append((name, values))

    return app, got


def test_given_flags_arrive_as_text_and_switches_as_bools() -> None:
    app, got = command(
        Flag(name="beam_size", help="Width.", panel="Search", metavar="N", others=("-b", "--width")),
        Flag(name="fast", help="Fast.", panel="Search", switch=True),
        Flag(name="slow", help="Slow.", panel="Search", switch=True),
        Flag(name="absent", help="Absent.", panel="Search"),
    )
    for name in ("-b", "--width", "--beam-size"):
        done = CliRunner().invoke(app, ["talk", name, "5", "--fast", "--no-slow"])
        assert done.exit_code == 0, done.output
    assert got == [("talk", {"beam_size": "5", "fast": True, "slow": False})] * 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    name: Annotated[str, typer.Argument(metavar="WORD")]
    often: Annotated[int, typer.Option("--often", "-o", metavar="N", max=9)] = 1
    also: Annotated[list[str] | None, typer.Option("--also", metavar="WORD")] = None


def test_the_fields_of_a_dataclass_are_flags_and_arrive_as_one() -> None:
    app, got = App(), list[tuple[Fields, dict[str, Any]]]()

    @app.command()
    @with_flags("values", [Flag(name="fast", help="Fast.", panel="Search", switch=True)])
    @with_fields("line")
    def run(*, line: Fields, values: dict[str, Any]) -> None:
        got.append((line, values))

    invoke = CliRunner().invoke
    assert invoke(app, ["talk"]).exit_code == 0
    assert invoke(app, ["-o", "3", "talk", "--fast", "--also", "a", "--also", "b"]).exit_code == 0
    assert got == [(Fields(name="talk"), {}), (Fields(name="talk", often=3, also=["a", "b"]), {"fast": True})]
    assert invoke(app, ["talk", "-o", "10"]).exit_code == 2
    assert invoke(app, []).exit_code == 2


def test_help_speaks_to_people_not_to_python() -> None:
    app = App()

    @app.command()
    @with_fields("line")
    def run(*, line: Fields) -> None: ...

    shown = CliRunner().invoke(app, ["--help"]).output
    assert "Usage: run [OPTIONS] WORD\n" in shown
    assert "<" not in shown.replace("x<=9", "")


@pytest.mark.parametrize(
    ("typed", "code"),
    [("korean", "ko"), (" Ko-KR ", "ko"), ("zh-Hans-CN", "zh"), ("nb", "no"), ("auto", "auto"), ("klingonese",) * 2],
)
def test_languages_are_taken_as_people_write_them(typed: str, code: str) -> None:
    assert with_language_code({"language": typed, "task": "translate"}) == {"language": code, "task": "translate"}
    assert with_language_code({"language": " "})["language"].strip() == ""


def test_help_shows_sections_and_whole_names() -> None:
    name = "a_very_long_name_that_would_not_fit_into_a_narrow_column"
    app, _ = command(
        Flag(name=name, help="Long [not a style].", panel="Rare"),
        Flag(name="task", help="What.", panel="Decoding", choices=("transcribe", "translate")),
    )
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "--" + name.replace("_", "-") in shown
    assert "Long [not a style]." in shown
    assert "--task transcribe|translate" in shown
    assert shown.index("Options:") < shown.index("Decoding:") < shown.index("Rare:")


def test_every_decode_option_is_a_flag() -> None:
    flags = option_flags()
    assert sorted(flag.name for flag in flags) == sorted(row.name for row in option_table())
    assert {flag.name for flag in flags if flag.switch} == {
        row.name for row in option_table() if row.type.startswith("true/false")
    }


def test_every_layout_option_is_a_flag() -> None:
    assert [flag.name for flag in layout_flags()] == [row.name for row in layout_table()]


def test_defaults_typed_as_flags_are_the_defaults() -> None:
    """What the help calls the default can be typed, and changes nothing."""
    typed = {
        flag.name: (row.default if flag.switch else shown_default(row.default))
        for flag in option_flags()
        for row in option_table()
        if row.name == flag.name and row.default is not None and row.default != float("inf")
    }
    assert parse_options(typed) == parse_options({})
    layout = {
        row.name: row.default if row.type == "true/false" else shown_default(row.default) for row in layout_table()
    }
    assert parse_layout(layout) == parse_layout({})


def test_every_setting_but_the_secrets_is_a_flag_of_serve() -> None:
    names = [flag.name for flag in serve_flags()]
    secrets = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secrets >= {"callback_secret", "llm_api_key", "site_cookies"}
    assert sorted(names) == sorted({"config", *Settings.model_fields} - secrets)
    assert len(names) == len(set(names))


def test_settings_with_few_values_offer_them() -> None:
    flags = {flag.name: flag for flag in settings_flags()}
    assert flags["device"].choices == ("auto", "cpu", "cuda")
    assert flags["log_format"].choices == ("human", "json")
    assert flags["host"].choices == ()
    assert flags["insecure"].switch


@pytest.mark.parametrize(
    ("default", "shown"),
    [
        (None, ""),
        (True, "yes"),
        (False, ""),
        ((), ""),
        ([], ""),
        ((0.0, 0.2, 1.0), "0,0.2,1"),
        (2.4, "2.4"),
        (float("inf"), "no limit"),
        (5, "5"),
        ("auto", "auto"),
    ],
)
def test_defaults_for_people(default: object, shown: str) -> None:
    assert shown_default(default) == shown
