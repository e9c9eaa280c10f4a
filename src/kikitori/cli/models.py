"""``kikitori models``: show, download and remove models."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kikitori.cli.apps import App
from kikitori.cli.config import load_settings, settings_flags
from kikitori.cli.exits import guarded, say
from kikitori.cli.flags import with_flags
from kikitori.cli.shared_flags import AsJson
from kikitori.cli.tables import print_table

if TYPE_CHECKING:
    from kikitori.inference.models import ModelCatalog

app = App(help="Show, download and remove models.", no_args_is_help=True)
where = with_flags("settings", settings_flags(["data_dir", "model", "model_aliases", "offline"]))
Name = Annotated[str, typer.Argument(metavar="MODEL", help="A name such as small, a hub id, an alias, or a folder.")]


@app.command("list")
@guarded
@where
def list_models(
    *,
    known: Annotated[bool, typer.Option("--known", help="The names that can be downloaded, not what is here.")] = False,
    as_json: AsJson = False,
    settings: dict[str, Any],
) -> None:
    """Show the models that are here; the first is the default."""
    if known:
        _show_known(as_json)
        return
    specs = _catalog(settings).installed()
    if as_json:
        typer.echo(json.dumps([asdict(spec) for spec in specs], ensure_ascii=False, indent=2))
        return
    models = [spec for spec in specs if not spec.alias_of]
    names = {model.id: [spec.id for spec in specs if spec.alias_of == model.id] for model in models}
    rows = [
        (model.id, model.engine, _size(model.size_bytes), ", ".join(names[model.id]), model.place) for model in models
    ]
    print_table(("model", "engine", "size", "also named", "place"), rows)


@app.command()
@guarded
@where
def pull(name: Name, *, settings: dict[str, Any]) -> None:
    """Download a model, or finish a download that broke off."""
    catalog = _catalog(settings)
    try:
        with download_progress(name) as on_progress:
            spec = catalog.pull(name, on_progress)
    except KeyboardInterrupt:
        say("Stopped. What has arrived is kept: the same command goes on from there.")
        raise
    say(f"{spec.id} is here: {spec.place or spec.engine} ({_size(spec.size_bytes)})")


@app.command()
@guarded
@where
def show(name: Name, *, as_json: AsJson = False, settings: dict[str, Any]) -> None:
    """Show what a name stands for, and what its engine can do."""
    from kikitori.engines.registry import engine_info

    spec = _catalog(settings, folder=name).resolve("" if name == "default" else name)
    info = engine_info(spec.engine)
    facts = {
        "model": spec.id,
        "engine": info.title,
        "place": spec.place or "in the package of its engine",
        "size": _size(spec.size_bytes),
        "from": f"{datetime.fromtimestamp(spec.created, UTC):%Y-%m-%d}" if spec.created else "",
        "removable": "yes" if spec.removable else "no, it lies outside of our folder",
        "tasks": ", ".join(sorted(info.tasks)),
        "languages": "whatever the model knows" if info.languages is None else f"{len(info.languages)}",
        "word times": "yes" if info.word_timestamps else "no",
        "batches": f"up to {info.max_batch_size} windows" if info.max_batch_size > 1 else "one window at a time",
        "devices": ", ".join(sorted(info.devices)),
    }
    if as_json:
        typer.echo(json.dumps(asdict(spec), ensure_ascii=False, indent=2))
    else:
        print_table((), [(key, value) for key, value in facts.items() if value])


@app.command()
@guarded
@where
def remove(name: Name, *, settings: dict[str, Any]) -> None:
    """Delete a model that was downloaded here."""
    spec = _catalog(settings).remove(name)
    say(f"{spec.id} is removed: {_size(spec.size_bytes)} are free again.")


def _catalog(settings: dict[str, Any], *, folder: str = "") -> ModelCatalog:
    from kikitori.services.making import make_catalog

    return make_catalog(load_settings(settings), folders=[folder])


@contextmanager
def download_progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """Shows a download on stderr: a bar on a terminal, a line for each tenth in a pipe."""
    if not sys.stderr.isatty():
        yield _TenthLines(name)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bars:
        bar = bars.add_task(name, total=None, visible=False)
        yield lambda here, total: bars.update(bar, completed=here, total=total, visible=True)


class _TenthLines:
    def __init__(self, name: str) -> None:
        self._name, self._told = name, -1

    def __call__(self, here: int, total: int) -> None:
        tenth = here * 10 // total if total else 10
        if tenth > self._told:
            self._told = tenth
            say(f"{self._name}: {tenth * 10} % of {_size(total)}")


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


def _show_known(as_json: bool) -> None:
    from kikitori.inference.known_models import KNOWN_MODELS

    known = list(KNOWN_MODELS.values())
    if as_json:
        typer.echo(json.dumps([asdict(model) for model in known], indent=2))
        return
    rows = [
        (model.name, _size(model.size_bytes), "English" if model.english_only else "99 and more", model.hub_id)
        for model in known
    ]
    print_table(("model", "size", "languages", "hub id"), rows)
