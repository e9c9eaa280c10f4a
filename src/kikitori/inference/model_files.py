"""Models on disk: what makes a folder a Whisper model, and what the hub's cache holds. Read only."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from kikitori.errors import InvalidInput

WEIGHTS = "model.bin"
CONFIG = "config.json"
CHECKPOINT = ".pt"
"""A model of openai-whisper is one file."""
FOLDER_SEPARATOR = "--"
"""Stands for the slash of a hub id in the name of a folder, here as in the hub's own cache."""
LONGEST_NAME = 200


def problem_of(place: Path) -> str:
    """Why ``place`` is neither a CTranslate2 folder nor an openai-whisper file; "" when it is one."""
    if is_checkpoint(place):
        return "" if place.is_file() else "it does not exist"
    if not place.is_dir():
        return "it does not exist"
    if not (place / WEIGHTS).is_file():
        return "it has no model.bin"
    try:
        config = json.loads((place / CONFIG).read_bytes())
    except OSError:
        return "it has no config.json"
    except ValueError:
        return "its config.json is not JSON"
    if not isinstance(config, dict) or not {"alignment_heads", "suppress_ids"} & config.keys():
        return "its config.json is not that of a Whisper model"
    return ""


def check(place: Path) -> None:
    """Raise InvalidInput, with what helps, unless ``place`` is a model."""
    problem = problem_of(place)
    if not problem:
        return
    remedy = "A CTranslate2 model is a folder with model.bin, config.json, a vocabulary and tokenizer.json."
    if any((place / name).exists() for name in ("model.safetensors", "pytorch_model.bin")):
        remedy = (
            f"It is a Transformers model: convert it with ct2-transformers-converter --model {place} "
            "--output_dir CONVERTED --copy_files tokenizer.json preprocessor_config.json"
        )
    raise InvalidInput(f"{place} is not a model: {problem}.", remedy=remedy, param="model")


def is_checkpoint(place: Path) -> bool:
    """Whether ``place`` is named like a model of openai-whisper."""
    return place.suffix == CHECKPOINT


def is_place(name: str) -> bool:
    """Whether ``name``, written by the operator, means a folder or a file rather than a model's name."""
    return bool(name) and (looks_like_path(name) or problem_of(Path(name)) == "")


def looks_like_path(name: str) -> bool:
    return name.startswith(("/", "./", "../", "~")) or "\\" in name or name in (".", "..")


def is_safe_name(name: str) -> bool:
    """Whether a name that anybody may have sent can be looked up in a folder: ``model`` or ``organisation/model``."""
    parts = name.split("/")
    return (
        len(parts) <= 2
        and len(name) <= LONGEST_NAME
        and name.isprintable()
        and "\\" not in name
        and all(part and not part.startswith(".") for part in parts)
    )


def folder_name(model: str) -> str:
    """The folder of the model ``model`` (a short name or a hub id) in our model folder."""
    return model.replace("/", FOLDER_SEPARATOR)


def weights_of(place: Path) -> Path:
    return place if is_checkpoint(place) else place / WEIGHTS


def size_of(place: Path) -> int:
    """Bytes of a file, or of the files of a folder."""
    if place.is_file():
        return place.stat().st_size
    return sum(file.stat().st_size for file in place.iterdir() if file.is_file())


def names_in(models_dir: Path) -> Iterator[str]:
    """Names of what lies in our model folder, models or not."""
    if models_dir.is_dir():
        for entry in sorted(models_dir.iterdir()):
            if not entry.name.startswith("."):
                yield _model_name(entry.name)


def default_cache_folder() -> Path:
    """Where huggingface_hub keeps models, by its own environment variables."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub")).expanduser()


def cached_model(cache_folder: Path, hub_id: str) -> Path | None:
    """The snapshot of a hub model in huggingface_hub's cache, if it is a Whisper model and complete."""
    return _snapshot(cache_folder / f"models--{folder_name(hub_id)}")


def cached_names(cache_folder: Path) -> Iterator[str]:
    """Hub ids of the models in the cache, complete or not."""
    if cache_folder.is_dir():
        for repository in sorted(cache_folder.glob("models--*--*")):
            yield _model_name(repository.name.removeprefix("models--"))


def _model_name(folder: str) -> str:
    return folder.replace(FOLDER_SEPARATOR, "/", 1)


def _snapshot(repository: Path) -> Path | None:
    """The complete snapshot to use: that of ``main``, else the newest."""
    snapshots = repository / "snapshots"
    candidates = sorted(snapshots.glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)
    try:
        candidates.insert(0, snapshots / (repository / "refs" / "main").read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        pass  # there may be no branch, only a revision somebody asked for
    return next((path for path in candidates if problem_of(path) == ""), None)
