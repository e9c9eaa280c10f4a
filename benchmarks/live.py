"""Live sessions over real sockets: how late text comes, and how many sessions are held; see ``kikitori bench live``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks import machine
from benchmarks.audio import SAMPLES
from benchmarks.report import Table
from benchmarks.setup import Setup
from kikitori.cli.bench import report
from kikitori.cli.bench.measuring import Plan, run_plan
from kikitori.cli.exits import say

COUNTS = (1, 2, 4, 8, 16, 32, 64)
SECONDS = 45.0
EMBEDDED = "pocketsphinx"
SHORT_CONTEXT = 5
"""Seconds that the encoder looks at: what a CPU wants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ear:
    """What listens."""

    section: str
    title: str
    model: str
    start: Mapping[str, Any] = field(default_factory=dict)


def measure(setup: Setup) -> list[Table]:
    name = setup.model_name.partition(" ")[0]
    ears = (
        Ear(section=f"live-{name}", title=setup.model_name, model=setup.model),
        Ear(
            section=f"live-{name}-short",
            title=f"{setup.model_name}, audio_context {SHORT_CONTEXT}",
            model=setup.model,
            start={"audio_context": SHORT_CONTEXT},
        ),
        Ear(section=f"live-{EMBEDDED}", title=EMBEDDED, model=EMBEDDED),
    )
    return [_measure(setup, ear) for ear in ears]


def _measure(setup: Setup, ear: Ear) -> Table:
    plan = Plan(
        counts=COUNTS,
        search=True,
        seconds=SECONDS,
        truth=SAMPLES / "samples.json",
        model=ear.model,
        device=setup.device,
        start=ear.start,
    )
    measured = run_plan(plan, say)
    return Table(
        name=ear.section,
        title=f"Live sessions with {ear.title}",
        command="python -m benchmarks live",
        machine=machine.describe(ear.title, setup.device),
        columns=report.COLUMNS,
        rows=report.rows(measured),
        notes=[*report.findings(measured), f"Each client speaks {SECONDS:.0f} s at 60 % duty. {report.NOTES}"],
    )
