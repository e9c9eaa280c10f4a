from typing import Any

import ctranslate2
import pytest

from kikitori.engines.cuda import CudaLibraries, Driver, Gpu
from kikitori.engines.devices import (
    CudaStatus,
    check_compute_type,
    choose_device,
    cuda_status,
    device_report,
    supported_compute_types,
)
from kikitori.errors import InvalidOption, Unavailable

GPUS = (
    Gpu(index=0, name="Fake GPU", free_bytes=10 * 2**30, total_bytes=16 * 2**30),
    Gpu(index=1, name="Fake GPU", free_bytes=None, total_bytes=None),
)
LOADED = CudaLibraries(loaded={"libcublas.so.12": "/lib/libcublas.so.12"}, missing=())


def status(**changes: Any) -> CudaStatus:
    given: dict[str, Any] = {"driver": Driver(gpus=GPUS, cuda_version=12_040), "libraries": LOADED, "device_count": 2}
    return CudaStatus(**(given | changes))


WORKING = status()
NO_DRIVER = status(driver=Driver(problem="no NVIDIA driver is installed", remedy="Install it."), device_count=0)
NO_LIBRARIES = status(libraries=CudaLibraries(loaded={}, missing=("libcublas.so.12",), errors=("bad file",)))
NOT_SEEN = status(device_count=0)


def test_auto_uses_every_gpu_that_works() -> None:
    choice = choose_device("auto", status=lambda: WORKING)
    assert (choice.device, choice.indexes) == ("cuda", (0, 1))
    assert choice.reason == "GPU 0 (Fake GPU) and GPU 1 (Fake GPU), because they work."


def test_chosen_gpus_only() -> None:
    assert choose_device("auto", [1, 1], status=lambda: WORKING).indexes == (1,)


@pytest.mark.parametrize(
    ("cuda", "reason"),
    [
        (NO_DRIVER, "CPU, because no NVIDIA driver is installed."),
        (
            NO_LIBRARIES,
            "CPU, because libcublas.so.12 cannot be loaded. Install them: pip install 'kikitori[cuda]'",
        ),
        (NOT_SEEN, "CPU, because CTranslate2 sees no GPU."),
    ],
)
def test_auto_says_why_no_gpu(cuda: CudaStatus, reason: str) -> None:
    choice = choose_device("auto", status=lambda: cuda)
    assert choice.device == "cpu"
    assert choice.reason.startswith(reason)


@pytest.mark.parametrize("cuda", [NO_DRIVER, NO_LIBRARIES, NOT_SEEN])
def test_a_gpu_that_was_asked_for_and_does_not_work_is_an_error_with_a_remedy(cuda: CudaStatus) -> None:
    with pytest.raises(Unavailable) as caught:
        choose_device("cuda", status=lambda: cuda)
    assert cuda.problem in caught.value.message
    assert caught.value.remedy


def test_cpu_asks_nobody() -> None:
    def never() -> CudaStatus:
        raise AssertionError("the GPU was asked")

    assert choose_device("cpu", status=never).device == "cpu"


@pytest.mark.parametrize("index", [2, -1])
def test_a_gpu_that_is_not_there(index: int) -> None:
    with pytest.raises(InvalidOption, match=r"device_index is .*GPUs 0 to 1"):
        choose_device("auto", [index], status=lambda: WORKING)


def test_compute_types_of_this_cpu() -> None:
    types = supported_compute_types("cpu")
    assert {"default", "auto", "int8", "float32"} <= types
    for name in types:
        check_compute_type(name, "cpu")


def test_a_compute_type_the_device_does_not_have() -> None:
    with pytest.raises(InvalidOption, match="on this CPU: default, auto, int8"):
        check_compute_type("float16", "cpu", supported=lambda device: frozenset({"default", "auto", "int8"}))


def test_a_compute_type_that_does_not_exist() -> None:
    with pytest.raises(InvalidOption, match="int4") as caught:
        check_compute_type("int4", "cpu")
    assert caught.value.field == "compute_type"


def report(cuda: CudaStatus, setting: Any = "auto", *arguments: Any) -> dict[str, tuple[bool, str, str]]:
    checks = device_report(
        setting, *arguments, status=lambda: cuda, supported=lambda device: frozenset({"default", "auto", "float16"})
    )
    return {check.name: (check.ok, check.detail, check.remedy) for check in checks}


def test_the_report_of_a_working_gpu() -> None:
    lines = report(WORKING)
    assert lines["NVIDIA driver"] == (True, "CUDA 12.4", "")
    assert lines["GPU 0"][1] == "Fake GPU, 10.0 of 16.0 GiB free"
    assert lines["GPU 1"][1] == "Fake GPU, memory not known"
    assert all(ok for ok, _, _ in lines.values())


def test_no_gpu_is_no_failure_unless_it_was_asked_for() -> None:
    assert all(ok for ok, _, _ in report(NO_DRIVER).values())
    failing = report(NO_DRIVER, "cuda")
    assert not failing["NVIDIA driver"][0] and not failing["device"][0]
    assert failing["device"][2] == "Install it."


def test_missing_libraries_are_a_failure_with_the_command() -> None:
    ok, detail, remedy = report(NO_LIBRARIES)["CUDA libraries"]
    assert not ok
    assert "libcublas.so.12 cannot be loaded. bad file" in detail
    assert "pip install" in remedy


def test_wrong_settings_are_failing_lines() -> None:
    assert not report(WORKING, "auto", [7])["device"][0]
    assert not report(WORKING, "auto", [], "int3")["compute type"][0]


def test_on_this_machine_the_status_agrees_with_ctranslate2() -> None:
    found = cuda_status()
    assert found.device_count == ctranslate2.get_cuda_device_count()
    assert bool(found.problem) == (found.device_count == 0 or bool(found.libraries.missing))
    assert choose_device("auto").device == ("cpu" if found.problem else "cuda")
