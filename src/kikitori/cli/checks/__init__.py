"""What ``kikitori doctor`` looks at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kikitori.cli.checks import machine, recognition, server, speech
from kikitori.cli.checks.lines import Check, Line, State
from kikitori.errors import KikitoriError

if TYPE_CHECKING:
    from kikitori.settings import Settings

__all__ = ["Line", "State", "all_lines"]

CHECKS: tuple[Check, ...] = (
    machine.check_python,
    machine.check_packages,
    recognition.check_engines,
    recognition.check_default_model,
    recognition.check_devices,
    speech.check_speech,
    server.check_data_folder,
    server.check_database,
    server.check_media_store,
    server.check_nodes,
    server.check_keys,
    server.check_address,
    server.check_tls,
    recognition.check_model_hub,
)


def all_lines(settings: Settings, *, load: bool = False) -> Iterator[Line]:
    """Every check in turn. A check that breaks is a failed line, so that the others are still seen."""
    for check in (*CHECKS, recognition.check_loading) if load else CHECKS:
        try:
            yield from check(settings)
        except KikitoriError as exc:
            yield Line(name=_name(check), state=State.FAIL, detail=exc.message, remedy=exc.remedy)
        except Exception as exc:  # a broken installation breaks anywhere, and saying where is what this is for
            yield Line(
                name=_name(check),
                state=State.FAIL,
                detail=f"{type(exc).__name__}: {exc}",
                remedy="Reinstall Kikitori in a new environment; report this if it stays.",
            )


def _name(check: Check) -> str:
    return str(getattr(check, "__name__", "check")).removeprefix("check_").replace("_", " ")
