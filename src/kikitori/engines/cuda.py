"""NVIDIA GPUs without tears: find the CUDA libraries, ask the driver, say what is missing.

CTranslate2 opens ``libcublas.so.12`` when the first GPU model is loaded. The wheels of our extra
``cuda`` put it where no loader looks, so it is loaded here by its full path first: a library that
is already in the process is found by its name. Nothing here needs torch or a CUDA toolkit.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

REQUIRED_LIBRARIES = ("libcublasLt.so.12", "libcublas.so.12")
"""In this order: the second needs the first."""
OPTIONAL_LIBRARIES = ("libcudnn.so.9",)
"""Builds of CTranslate2 up to 4.6 need it for Whisper; later ones do not."""
DRIVER_LIBRARY = "libcuda.so.1"
NVML_LIBRARY = "libnvidia-ml.so.1"
OLDEST_CUDA = 12_000
"""As the driver writes versions: 1000 × major + 10 × minor."""
NO_DEVICE = 100
"""CUDA_ERROR_NO_DEVICE."""

INSTALL_LIBRARIES = "Install them: pip install 'kikitori[cuda]'"
UPDATE_DRIVER = "Install NVIDIA driver 525 or later."

OpenLibrary = Callable[[str], Any]
"""Opens a shared library by path or name; raises OSError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaLibraries:
    """What was found: name → path (or the name itself, when the system's loader found it)."""

    loaded: dict[str, str]
    missing: tuple[str, ...]
    """Required ones that could not be loaded."""
    errors: tuple[str, ...] = ()
    """What the loader said about files that are there and do not load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as CUDA numbers them."""

    index: int
    name: str
    free_bytes: int | None
    """None: not known."""
    total_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """What the NVIDIA driver says; ``problem`` is "" when it works."""

    gpus: tuple[Gpu, ...] = ()
    cuda_version: int = 0
    problem: str = ""
    remedy: str = ""


def open_globally(name: str) -> Any:
    """Load a library so that others find its symbols."""
    return ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)


@cache
def preload_cuda_libraries() -> CudaLibraries:
    """Load the CUDA libraries, once per process. Call it before a model goes to a GPU."""
    return load_libraries(wheel_folders())


def wheel_folders() -> list[Path]:
    """Where the ``nvidia-*-cu12`` wheels put their libraries: ``site-packages/nvidia/*/lib``."""
    spec = find_spec("nvidia")
    roots = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    return sorted(folder for root in roots for folder in Path(root).glob("*/lib") if folder.is_dir())


def load_libraries(folders: Sequence[Path], *, open_library: OpenLibrary = open_globally) -> CudaLibraries:
    """Load each library from ``folders``, else from wherever the system's loader finds it."""
    loaded: dict[str, str] = {}
    errors: list[str] = []
    for name in (*REQUIRED_LIBRARIES, *OPTIONAL_LIBRARIES):
        for path in [*(str(folder / name) for folder in folders if (folder / name).exists()), name]:
            try:
                open_library(path)
            except OSError as exc:
                if path != name:
                    errors.append(str(exc))
            else:
                loaded[name] = path
                break
    missing = tuple(name for name in REQUIRED_LIBRARIES if name not in loaded)
    return CudaLibraries(loaded=loaded, missing=missing, errors=tuple(errors))


def driver(*, open_library: OpenLibrary = ctypes.CDLL) -> Driver:
    """Ask the NVIDIA driver for its version and its GPUs. Makes no CUDA context: takes no GPU memory."""
    try:
        cuda = open_library(DRIVER_LIBRARY)
    except OSError:
        return Driver(problem="no NVIDIA driver is installed", remedy=UPDATE_DRIVER)
    if error := cuda.cuInit(0):
        problem = "the NVIDIA driver finds no GPU" if error == NO_DEVICE else f"the NVIDIA driver fails (error {error})"
        return Driver(problem=problem, remedy="`nvidia-smi` must list the GPU.")
    version = ctypes.c_int(0)
    cuda.cuDriverGetVersion(ctypes.byref(version))
    if version.value < OLDEST_CUDA:
        shown = f"{version.value // 1_000}.{version.value % 1_000 // 10}"
        return Driver(
            cuda_version=version.value, problem=f"the NVIDIA driver knows CUDA {shown} only", remedy=UPDATE_DRIVER
        )
    count = ctypes.c_int(0)
    cuda.cuDeviceGetCount(ctypes.byref(count))
    with _nvml(open_library) as nvml:
        gpus = tuple(_gpu(cuda, nvml, index) for index in range(count.value))
    return Driver(gpus=gpus, cuda_version=version.value)


class _Memory(ctypes.Structure):
    """``nvmlMemory_t``."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def _gpu(cuda: Any, nvml: Any, index: int) -> Gpu:
    device = ctypes.c_int(0)
    cuda.cuDeviceGet(ctypes.byref(device), index)
    name, bus = ctypes.create_string_buffer(256), ctypes.create_string_buffer(64)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceGetPCIBusId(bus, len(bus), device)
    # CUDA and NVML number GPUs differently, so that the bus address says which one is meant.
    memory = _memory(nvml, bus.value) if nvml else None
    return Gpu(
        index=index,
        name=name.value.decode(errors="replace"),
        free_bytes=memory.free if memory else None,
        total_bytes=memory.total if memory else None,
    )


def _memory(nvml: Any, bus: bytes) -> _Memory | None:
    handle, memory = ctypes.c_void_p(), _Memory()
    if nvml.nvmlDeviceGetHandleByPciBusId_v2(bus, ctypes.byref(handle)):
        return None
    return None if nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) else memory


@contextmanager
def _nvml(open_library: OpenLibrary) -> Iterator[Any]:
    """NVIDIA's management library, or None where there is none."""
    try:
        nvml = open_library(NVML_LIBRARY)
    except OSError:
        yield None
        return
    if nvml.nvmlInit_v2():
        yield None
        return
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()
