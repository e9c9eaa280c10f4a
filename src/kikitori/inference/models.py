"""Which models there are: names, aliases, folders on disk, the hub. Never loads one."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from kikitori.engines.registry import available
from kikitori.errors import Conflict, InvalidInput, KikitoriError, ModelLoadFailed, ModelNotFound, NotFound, Unavailable
from kikitori.inference import model_files
from kikitori.inference.aliases import Aliases
from kikitori.inference.hub import Hub, OnProgress
from kikitori.inference.known_models import FIRST_MODEL, canonical_name, hub_id, rank

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

AUTO = "auto"
POCKETSPHINX = "pocketsphinx"
POCKETSPHINX_BYTES = 100_000_000
"""What its model takes in memory, measured."""
REMOTE_ENGINES = ("google", "openai", "openai_realtime")
"""Their models lie elsewhere, and only the operator names them: ``ENGINE:MODEL``."""
PARTIAL_FOLDER = ".partial"
"""In our model folder: downloads under way, locks, and what is being removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model that can be loaded: what clients call it, and where it lies."""

    id: str
    engine: str
    """Name of the engine that loads it (engines/registry.py)."""
    path: str = ""
    """Folder or file on disk, or its name where it is remote; "" for an engine that carries its model."""
    size_bytes: int = 0
    created: int = 0
    """Unix seconds."""
    owned_by: str = "kikitori"
    alias_of: str = ""
    """In lists: the id of the model that this is another name of."""
    removable: bool = False
    """It lies in our own model folder."""

    @property
    def remote(self) -> bool:
        return self.engine in REMOTE_ENGINES

    @property
    def place(self) -> str:
        """Where it lies, for people; "" for an engine that carries its model."""
        return "elsewhere" if self.remote else self.path


class ModelCatalog:
    """Names of models and what they stand for. Blocking, safe to call from several threads.

    Clients name models by id or alias. Only the operator names places on disk: in ``default``, as targets
    of ``aliases``, and in ``folders``; clients then know them by the last part of the path.
    """

    def __init__(
        self,
        *,
        models_dir: Path,
        default: str = AUTO,
        aliases: Mapping[str, str] | None = None,
        offline: bool = False,
        connect_timeout: float = 5.0,
        folders: Iterable[str] = (),
        remote: Iterable[str] = (),
        cache_dir: Path | None = None,
        endpoint: str | None = None,
    ) -> None:
        self._models_dir = models_dir
        self._cache_dir = cache_dir or model_files.default_cache_folder()
        self._aliases = Aliases(aliases or {}, default=default or AUTO)
        self._offline, self._connect_timeout, self._endpoint = offline, connect_timeout, endpoint
        named = (*self._aliases.targets, *folders)
        self._places = _places(named)
        self._remote = {name: spec for name in (*named, *remote) if (spec := _remote(name))}
        self._chosen: ModelSpec | None = None

    # Finding

    def resolve(self, name: str) -> ModelSpec:
        """The model that ``name`` stands for; "" is the default. Looks at the disk, never at the network.

        Raises ModelNotFound with what would help, ModelLoadFailed for a folder of the settings that is no model.
        """
        target = self._aliases.follow(name)
        if spec := self._auto() if target == AUTO else self._find(target):
            return spec
        raise ModelNotFound(name or target, remedy=_remedy(target))

    def installed(self) -> list[ModelSpec]:
        """Every model that is here, the default first, and at the end the aliases of models that are here."""
        specs = [spec for name in ("", POCKETSPHINX) if (spec := self._if_here(name))] + list(self._on_disk())
        specs += self._remote.values()
        models = {spec.id: spec for spec in sorted(specs, key=lambda spec: spec.id == POCKETSPHINX)}
        first = specs[0].id if specs else ""
        ordered = sorted(models.values(), key=lambda spec: spec.id != first)
        aliases = ((alias, self._if_here(alias)) for alias in self._aliases)
        return ordered + [
            replace(spec, id=alias, alias_of=spec.id, removable=False) for alias, spec in aliases if spec is not None
        ]

    # Getting and removing

    def pull(self, name: str, on_progress: OnProgress | None = None) -> ModelSpec:
        """Download a model from the hub unless it is here. ``on_progress`` may raise to stop.

        Raises ModelNotFound, Forbidden, InvalidInput, Unavailable (offline, no room, the hub out of reach, or a
        folder of the settings that is no model).
        """
        target = canonical_name(self._aliases.follow(name))
        if target == AUTO:
            raise InvalidInput("`auto` is not one model.", remedy="Name one, such as small.", param="model")
        if spec := self._find(target):
            return spec
        source = hub_id(target)
        if source is None:
            raise ModelNotFound(target, remedy="The hub has models such as small, or ORGANISATION/MODEL.")
        if self._offline:
            raise Unavailable(
                f"The model {target!r} is not here, and the setting `offline` forbids to ask the hub.",
                remedy="Pull it on a machine with a network, and copy the folder.",
                param="model",
            )
        try:
            self._download(target, source, on_progress or (lambda done, total: None))
        except OSError as exc:
            raise Unavailable(
                f"The model folder {self._models_dir} cannot be written: {exc}.",
                remedy="Set KIKITORI_DATA_DIR to a folder with room that you may write to.",
            ) from exc
        return self.resolve(target)

    def remove(self, name: str) -> ModelSpec:
        """Delete a model from our model folder. Raises NotFound; Conflict for one that lies elsewhere."""
        target = canonical_name(name)
        place = self._ours(target)
        if place is None:
            spec = self._find(target)
            if spec is None:
                raise NotFound(f"There is no model {name!r} to remove.", remedy="`kikitori models list` shows them.")
            where = spec.place if spec.remote else f"in {spec.path or 'the package of its engine'}"
            raise Conflict(f"The model {name} lies {where}, not in our folder.", remedy="Remove it there.")
        spec = _spec(target, place, removable=True)
        with self._locked(target):
            self._delete(place)
        return spec

    def default_spec(
        self,
        on_progress: OnProgress | None = None,
        on_notice: Callable[[str], None] = logger.warning,
        *,
        device: str = "cpu",
    ) -> ModelSpec:
        """The default model, downloaded if need be; ``resolve("")`` gives it from now on.

        ``auto`` takes the best Whisper model on disk, else downloads one that suits ``device``, else falls
        back to PocketSphinx and says so through ``on_notice``. Raises what ``resolve`` and ``pull`` raise.
        """
        target = self._aliases.follow("")
        if target == AUTO:
            self._chosen = self._choose(on_progress, on_notice, device)
            return self._chosen
        if hub_id(canonical_name(target)) and not self._offline:
            return self.pull(target, on_progress)
        return self.resolve("")

    def _choose(self, on_progress: OnProgress | None, on_notice: Callable[[str], None], device: str) -> ModelSpec:
        if spec := self._best_on_disk():
            return spec
        wanted = FIRST_MODEL.get(device, FIRST_MODEL["cpu"])
        try:
            return self.pull(wanted, on_progress)
        except KikitoriError as exc:  # whatever keeps the hub from giving it
            fallback = self._find(POCKETSPHINX)
            if fallback is None:
                raise
            on_notice(
                f"{exc.message} PocketSphinx is used instead: it is embedded, knows English only and makes many "
                f"mistakes. For a better model: kikitori models pull {wanted}"
            )
            return fallback

    # The disk

    def _auto(self) -> ModelSpec | None:
        return self._chosen or self._best_on_disk() or self._find(POCKETSPHINX)

    def _if_here(self, name: str) -> ModelSpec | None:
        try:
            return self.resolve(name)
        except (KikitoriError, OSError):  # absent, broken, or just being removed: whoever asks for it is told
            return None

    def _find(self, target: str) -> ModelSpec | None:
        if target == POCKETSPHINX:
            return _pocketsphinx() if available(POCKETSPHINX) else None
        if target in self._remote:
            return self._remote[target]
        if target in self._places:
            id, named = self._places[target]
            _check(id, named)
            return _spec(id, named)
        name = canonical_name(target)
        if not model_files.is_safe_name(name):
            return None
        if place := self._ours(name):
            return _spec(name, place, removable=True)
        source = hub_id(name)
        cached = model_files.cached_model(self._cache_dir, source) if source else None
        return _spec(name, cached) if cached else None

    def _ours(self, name: str) -> Path | None:
        """The model ``name`` in our own folder."""
        if not model_files.is_safe_name(name):
            return None
        for folder in dict.fromkeys((name, hub_id(name) or name)):
            place = self._models_dir / model_files.folder_name(folder)
            if model_files.problem_of(place) == "":
                return place
        return None

    def _on_disk(self) -> Iterator[ModelSpec]:
        """Every model with a place on disk, each once, in the order in which names are looked up."""
        names = [*self._places]
        names += [canonical_name(name) for name in model_files.names_in(self._models_dir)]
        names += [canonical_name(name) for name in model_files.cached_names(self._cache_dir)]
        for name in dict.fromkeys(names):
            if spec := self._if_here(name):
                yield spec

    def _best_on_disk(self) -> ModelSpec | None:
        """The best Whisper model on disk, our own folder before the cache; None when there is none."""
        whisper = [spec for spec in self._on_disk() if spec.engine == "whisper"]
        return min(whisper, key=lambda spec: (not spec.removable, rank(spec.id)), default=None)

    def _download(self, name: str, source: str, on_progress: OnProgress) -> None:
        with self._locked(name):
            if self._ours(name):  # another process has brought it while this one waited
                return
            with Hub(endpoint=self._endpoint, connect_timeout=self._connect_timeout) as hub:
                model = hub.describe(source)
                partial = self._partial_folder(model_files.folder_name(name), model.revision)
                hub.download(model, partial, on_progress)
            model_files.check(partial)
            place = self._models_dir / model_files.folder_name(name)
            if place.exists():
                self._delete(place)  # something that is no model
            partial.replace(place)

    def _partial_folder(self, name: str, revision: str) -> Path:
        """Where the files of a download gather; those of older revisions go."""
        folder = self._models_dir / PARTIAL_FOLDER
        wanted = folder / f"{name}@{revision}"
        for older in folder.glob(f"{name}@*"):
            if older != wanted:
                shutil.rmtree(older)
        wanted.mkdir(exist_ok=True)
        return wanted

    def _delete(self, place: Path) -> None:
        """Take a model out of sight at once, then delete it."""
        if place.is_symlink() or place.is_file():
            place.unlink()
            return
        aside = self._models_dir / PARTIAL_FOLDER / f"removed {place.name}"
        if aside.exists():
            shutil.rmtree(aside)
        place.rename(aside)
        shutil.rmtree(aside)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """One process at a time changes the model ``name``; the system frees the lock of one that dies."""
        folder = self._models_dir / PARTIAL_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{model_files.folder_name(name)}.lock").open("w") as lock:
            if sys.platform != "win32":
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    logger.warning("Another process is at this model.", extra={"action": "pull_waits", "model": name})
                    fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _places(names: Iterable[str]) -> dict[str, tuple[str, Path]]:
    """Id and place of the folders and files among the names an operator wrote, by that name and by the id.

    The id is the last part of the path, which tells clients nothing of the disk, unless two share it.
    """
    places: dict[str, tuple[str, Path]] = {}
    for name in names:
        if model_files.is_place(name):
            place = Path(name).expanduser().absolute()
            id = place.name if places.get(place.name, ("", place))[1] == place else str(place)
            places[name] = places[id] = (id, place)
    return places


def _check(id: str, place: Path) -> None:
    """Raise ModelLoadFailed unless ``place``, which the operator named, is a model: its clients cannot mend that."""
    try:
        model_files.check(place)
    except InvalidInput as exc:
        raise ModelLoadFailed(exc.message, remedy=exc.remedy, param="model", model=id, place=str(place)) from exc


def _remote(name: str) -> ModelSpec | None:
    """``openai:whisper-1`` is the model ``whisper-1`` of the engine ``openai``, if that is a remote one."""
    engine, colon, model = name.partition(":")
    if not (colon and model) or engine not in REMOTE_ENGINES:
        return None
    return ModelSpec(id=name, engine=engine, path=model, owned_by=engine)


def _pocketsphinx() -> ModelSpec:
    return ModelSpec(id=POCKETSPHINX, engine=POCKETSPHINX, size_bytes=POCKETSPHINX_BYTES, owned_by="cmusphinx")


def _spec(name: str, place: Path, *, removable: bool = False) -> ModelSpec:
    source = hub_id(name)
    return ModelSpec(
        id=name,
        engine="openai_whisper" if model_files.is_checkpoint(place) else "whisper",
        path=str(place),
        size_bytes=model_files.size_of(place),
        created=int(model_files.weights_of(place).stat().st_mtime),
        owned_by=source.split("/")[0] if source else "local",
        removable=removable,
    )


def _remedy(target: str) -> str:
    if target == AUTO:
        return f"Get one: kikitori models pull {FIRST_MODEL['cpu']}"
    if hub_id(canonical_name(target)):
        return f"Get it: kikitori models pull {canonical_name(target)}"
    if model_files.looks_like_path(target):
        return "Folders are named by the settings `model` and `model_aliases`."
    return "`kikitori models list` and GET /v1/models show what is here."
