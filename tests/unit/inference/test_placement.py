import pytest

from kikitori.engines.registry import engine_info
from kikitori.inference.models import ModelSpec
from kikitori.inference.placement import Hardware, configs, share_cores


@pytest.mark.parametrize(
    ("cores", "shares"), [(1, (1, 1)), (2, (1, 2)), (4, (2, 2)), (8, (2, 4)), (16, (4, 4)), (64, (8, 8))]
)
def test_threads_and_workers_both_grow_with_the_cores(cores: int, shares: tuple[int, int]) -> None:
    assert share_cores(cores) == shares


def test_what_the_operator_says_is_done() -> None:
    assert share_cores(8, threads=8) == (8, 1)
    assert share_cores(8, workers=8) == (1, 8)
    assert share_cores(8, threads=3, workers=5) == (3, 5)


def test_a_gpu_and_an_engine_that_cannot_merge_have_one_worker() -> None:
    whisper, pocketsphinx = ModelSpec(id="w", engine="whisper"), ModelSpec(id="p", engine="pocketsphinx")
    on_gpu = configs(whisper, engine_info("whisper"), Hardware(device="cuda", cpu_workers=4))
    serial = configs(pocketsphinx, engine_info("pocketsphinx"), Hardware(cpu_workers=4))
    assert {config.workers for config in [*on_gpu, *serial]} == {1}
    (merged,) = configs(whisper, engine_info("whisper"), Hardware(cpu_workers=4, cpu_threads=2))
    assert (merged.workers, merged.cpu_threads) == (4, 2)
