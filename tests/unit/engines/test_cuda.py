import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kikitori.engines import cuda
from kikitori.engines.cuda import DRIVER_LIBRARY, NVML_LIBRARY, driver, load_libraries, wheel_folders

GIB = 2**30


class Loader:
    """Opens what ``works`` says; remembers the order."""

    def __init__(self, works: Callable[[str], bool]) -> None:
        self.works = works
        self.opened: list[str] = []

    def __call__(self, name: str) -> object:
        if not self.works(name):
            raise OSError(f"{name}: cannot open shared object file")
        self.opened.append(name)
        return object()


def wheel(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def test_the_wheels_come_before_the_system_and_in_the_order_of_need(tmp_path: Path) -> None:
    cublas = wheel(tmp_path / "cublas" / "lib", "libcublas.so.12", "libcublasLt.so.12")
    cudnn = wheel(tmp_path / "cudnn" / "lib", "libcudnn.so.9")
    loader = Loader(lambda name: True)
    libraries = load_libraries([cublas, cudnn], open_library=loader)
    assert loader.opened == [
        str(cublas / "libcublasLt.so.12"),
        str(cublas / "libcublas.so.12"),
        str(cudnn / "libcudnn.so.9"),
    ]
    assert libraries.missing == ()
    assert libraries.loaded["libcublas.so.12"] == str(cublas / "libcublas.so.12")


def test_without_wheels_the_system_is_asked(tmp_path: Path) -> None:
    libraries = load_libraries([], open_library=Loader(lambda name: "cublas" in name))
    assert libraries.loaded == {"libcublasLt.so.12": "libcublasLt.so.12", "libcublas.so.12": "libcublas.so.12"}
    assert libraries.missing == ()


def test_a_missing_library_is_named() -> None:
    libraries = load_libraries([], open_library=Loader(lambda name: "cudnn" in name))
    assert libraries.missing == ("libcublasLt.so.12", "libcublas.so.12")


def test_a_broken_wheel_is_reported_and_the_system_is_asked(tmp_path: Path) -> None:
    folder = wheel(tmp_path / "cublas" / "lib", "libcublas.so.12")
    libraries = load_libraries([folder], open_library=Loader(lambda name: "/" not in name))
    assert libraries.loaded["libcublas.so.12"] == "libcublas.so.12"
    assert any(str(folder) in error for error in libraries.errors)


def test_the_real_loader_refuses_a_file_that_is_no_library(tmp_path: Path) -> None:
    folder = wheel(tmp_path / "lib", "libcublas.so.12")
    (folder / "libcublas.so.12").write_bytes(b"not a library")
    assert any("libcublas.so.12" in error for error in load_libraries([folder]).errors)


def test_folders_of_the_wheels_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = wheel(tmp_path / "nvidia" / "cublas" / "lib", "libcublas.so.12")
    wheel(tmp_path / "nvidia" / "cublas" / "include")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nvidia", raising=False)
    assert folder in wheel_folders()


def test_no_wheels_no_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "find_spec", lambda name: None)
    assert wheel_folders() == []


class FakeDriver:
    """``libcuda``: two GPUs unless told otherwise."""

    def __init__(self, *, init: int = 0, version: int = 12_040, count: int = 2) -> None:
        self.init, self.version, self.count = init, version, count

    def cuInit(self, flags: int) -> int:
        return self.init

    def cuDriverGetVersion(self, out: Any) -> int:
        out._obj.value = self.version
        return 0

    def cuDeviceGetCount(self, out: Any) -> int:
        out._obj.value = self.count
        return 0

    def cuDeviceGet(self, out: Any, index: int) -> int:
        out._obj.value = index
        return 0

    def cuDeviceGetName(self, buffer: Any, size: int, device: ctypes.c_int) -> int:
        buffer.value = b"Fake GPU %d" % device.value
        return 0

    def cuDeviceGetPCIBusId(self, buffer: Any, size: int, device: ctypes.c_int) -> int:
        buffer.value = b"0000:%02d:00.0" % (9 - device.value)
        return 0


class FakeNvml:
    """``libnvidia-ml``: knows the GPU at bus 9, which CUDA calls 0."""

    def __init__(self, *, init: int = 0) -> None:
        self.init = init
        self.shut_down = False

    def nvmlInit_v2(self) -> int:
        return self.init

    def nvmlDeviceGetHandleByPciBusId_v2(self, bus: bytes, out: Any) -> int:
        out._obj.value = 1
        return 0 if bus == b"0000:09:00.0" else 6

    def nvmlDeviceGetMemoryInfo(self, handle: Any, out: Any) -> int:
        out._obj.total, out._obj.free = 80 * GIB, 20 * GIB
        return 0

    def nvmlShutdown(self) -> int:
        self.shut_down = True
        return 0


def opener(**libraries: object) -> Callable[[str], Any]:
    known = {DRIVER_LIBRARY: libraries.get("cuda"), NVML_LIBRARY: libraries.get("nvml")}

    def open_library(name: str) -> Any:
        if known[name] is None:
            raise OSError(name)
        return known[name]

    return open_library


def test_gpus_have_names_and_the_memory_of_their_own_bus() -> None:
    nvml = FakeNvml()
    found = driver(open_library=opener(cuda=FakeDriver(), nvml=nvml))
    assert found.problem == ""
    assert [gpu.name for gpu in found.gpus] == ["Fake GPU 0", "Fake GPU 1"]
    assert [gpu.free_bytes for gpu in found.gpus] == [20 * GIB, None]
    assert found.gpus[0].total_bytes == 80 * GIB
    assert nvml.shut_down


@pytest.mark.parametrize("nvml", [None, FakeNvml(init=1)])
def test_without_nvml_the_memory_is_not_known(nvml: FakeNvml | None) -> None:
    found = driver(open_library=opener(cuda=FakeDriver(count=1), nvml=nvml))
    assert [gpu.free_bytes for gpu in found.gpus] == [None]
    assert nvml is None or not nvml.shut_down


@pytest.mark.parametrize(
    ("fake", "problem"),
    [
        (None, "no NVIDIA driver is installed"),
        (FakeDriver(init=100), "the NVIDIA driver finds no GPU"),
        (FakeDriver(init=803), "the NVIDIA driver fails (error 803)"),
        (FakeDriver(version=11_040), "the NVIDIA driver knows CUDA 11.4 only"),
    ],
)
def test_problems_of_the_driver_have_a_remedy(fake: FakeDriver | None, problem: str) -> None:
    found = driver(open_library=opener(cuda=fake))
    assert found.problem == problem
    assert found.remedy
