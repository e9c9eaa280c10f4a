"""Where models run: the choice between GPU and CPU, with its reason, and a report for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from kikitori.engines.cuda import INSTALL_LIBRARIES, CudaLibraries, Driver, driver, preload_cuda_libraries
from kikitori.errors import InvalidOption, Unavailable

DeviceSetting = Literal["auto", "cpu", "cuda"]

COMPUTE_TYPES = (
    "default",
    "auto",
    "int8",
    "int8_float16",
    "int8_bfloat16",
    "int8_float32",
    "int16",
    "float16",
    "bfloat16",
    "float32",
)
ALWAYS_SUPPORTED = frozenset({"default", "auto"})
"""CTranslate2 chooses: the type of the saved model or the fastest one, as far as the device can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChoice:
    """Where models go; ``reason`` is one sentence for people."""

    device: str
    indexes: tuple[int, ...] = (0,)
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of ``kikitori doctor``."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaStatus:
    """Whether CTranslate2 can use a GPU here."""

    driver: Driver
    libraries: CudaLibraries
    device_count: int
    """GPUs that CTranslate2 sees."""

    @property
    def problem(self) -> str:
        """Why not; "" when it works."""
        if self.driver.problem:
            return self.driver.problem
        if self.libraries.missing:
            return f"{' and '.join(self.libraries.missing)} cannot be loaded"
        return "" if self.device_count else "CTranslate2 sees no GPU"

    @property
    def remedy(self) -> str:
        if self.driver.problem:
            return self.driver.remedy
        if self.libraries.missing:
            return INSTALL_LIBRARIES
        return "" if self.device_count else "Is CUDA_VISIBLE_DEVICES empty? Is this CTranslate2 built with CUDA?"


def cuda_status() -> CudaStatus:
    """Ask the driver, load the libraries, count the GPUs."""
    state = driver()
    if state.problem:
        return CudaStatus(driver=state, libraries=CudaLibraries(loaded={}, missing=()), device_count=0)
    libraries = preload_cuda_libraries()
    import ctranslate2  # after the libraries, and not at all where there is no GPU

    return CudaStatus(driver=state, libraries=libraries, device_count=ctranslate2.get_cuda_device_count())


def choose_device(
    setting: DeviceSetting, indexes: Sequence[int] = (), *, status: Callable[[], CudaStatus] = cuda_status
) -> DeviceChoice:
    """Where models go. ``auto``: a GPU when one works, else the CPU; ``indexes`` empty: all GPUs.

    Raises Unavailable when ``cuda`` is asked for and does not work, InvalidOption for a GPU that is not there.
    """
    if setting == "cpu":
        return DeviceChoice(device="cpu", reason="CPU, because the setting `device` says so.")
    cuda = status()
    if cuda.problem:
        if setting == "cuda":
            raise Unavailable(f"The GPU cannot be used: {cuda.problem}.", remedy=cuda.remedy, param="device")
        help_wanted = f" {cuda.remedy}" if not cuda.driver.problem else ""  # there is a GPU, and it lies idle
        return DeviceChoice(device="cpu", reason=f"CPU, because {cuda.problem}.{help_wanted}")
    chosen = tuple(dict.fromkeys(indexes)) or tuple(range(cuda.device_count))
    for index in chosen:
        if not 0 <= index < cuda.device_count:
            raise InvalidOption("device_index", index, f"GPUs 0 to {cuda.device_count - 1}")
    works = "it works" if len(chosen) == 1 else "they work"
    return DeviceChoice(device="cuda", indexes=chosen, reason=f"{_named(cuda, chosen)}, because {works}.")


def supported_compute_types(device: str) -> frozenset[str]:
    """What CTranslate2 computes well on ``device`` (``cpu``, ``cuda``), with ``default`` and ``auto``."""
    import ctranslate2

    return ALWAYS_SUPPORTED.union(ctranslate2.get_supported_compute_types(device))


def check_compute_type(
    compute_type: str, device: str, *, supported: Callable[[str], frozenset[str]] = supported_compute_types
) -> None:
    """Raise InvalidOption for a type that does not exist, or that the device does not have."""
    if compute_type not in COMPUTE_TYPES:
        raise InvalidOption("compute_type", compute_type, ", ".join(COMPUTE_TYPES))
    if compute_type in ALWAYS_SUPPORTED:
        return
    allowed = supported(device)
    if compute_type not in allowed:
        shown = ", ".join(name for name in COMPUTE_TYPES if name in allowed)
        raise InvalidOption("compute_type", compute_type, f"on this {_noun(device)}: {shown}")


def device_report(
    setting: DeviceSetting = "auto",
    indexes: Sequence[int] = (),
    compute_type: str = "default",
    *,
    status: Callable[[], CudaStatus] = cuda_status,
    supported: Callable[[str], frozenset[str]] = supported_compute_types,
) -> list[Check]:
    """What ``kikitori doctor`` says of devices. Never raises; a GPU nobody asked for is no failure."""
    cuda = status()
    checks = [_driver_check(cuda, wanted=setting == "cuda")]
    if not cuda.driver.problem:
        checks.append(_libraries_check(cuda, wanted=setting != "cpu"))
        checks += [_gpu_check(cuda, index) for index in range(len(cuda.driver.gpus))]
    try:
        choice = choose_device(setting, indexes, status=lambda: cuda)
        checks.append(Check(name="device", ok=True, detail=choice.reason))
        check_compute_type(compute_type, choice.device, supported=supported)
        types = ", ".join(name for name in COMPUTE_TYPES if name in supported(choice.device))
        checks.append(Check(name="compute type", ok=True, detail=f"{compute_type} (possible: {types})"))
    except Unavailable as exc:
        checks.append(Check(name="device", ok=False, detail=exc.message, remedy=exc.remedy))
    except InvalidOption as exc:
        name = "device" if exc.field == "device_index" else "compute type"
        checks.append(Check(name=name, ok=False, detail=exc.message, remedy=exc.remedy))
    return checks


def _driver_check(cuda: CudaStatus, *, wanted: bool) -> Check:
    if cuda.driver.problem:
        detail = cuda.driver.problem[0].upper() + cuda.driver.problem[1:] + "."
        return Check(name="NVIDIA driver", ok=not wanted, detail=detail, remedy=cuda.driver.remedy if wanted else "")
    version = cuda.driver.cuda_version
    return Check(name="NVIDIA driver", ok=True, detail=f"CUDA {version // 1_000}.{version % 1_000 // 10}")


def _libraries_check(cuda: CudaStatus, *, wanted: bool) -> Check:
    missing = cuda.libraries.missing
    if missing:
        detail = f"{' and '.join(missing)} cannot be loaded." + "".join(f" {error}" for error in cuda.libraries.errors)
        return Check(name="CUDA libraries", ok=not wanted, detail=detail, remedy=INSTALL_LIBRARIES if wanted else "")
    return Check(name="CUDA libraries", ok=True, detail=", ".join(cuda.libraries.loaded))


def _gpu_check(cuda: CudaStatus, index: int) -> Check:
    gpu = cuda.driver.gpus[index]
    memory = "memory not known"
    if gpu.free_bytes is not None and gpu.total_bytes is not None:
        memory = f"{gpu.free_bytes / 2**30:.1f} of {gpu.total_bytes / 2**30:.1f} GiB free"
    return Check(name=f"GPU {index}", ok=True, detail=f"{gpu.name}, {memory}")


def _named(cuda: CudaStatus, indexes: Sequence[int]) -> str:
    names = {gpu.index: gpu.name for gpu in cuda.driver.gpus}
    return " and ".join(f"GPU {index} ({names[index]})" if index in names else f"GPU {index}" for index in indexes)


def _noun(device: str) -> str:
    return "CPU" if device == "cpu" else "GPU"
