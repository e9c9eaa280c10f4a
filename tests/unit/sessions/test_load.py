"""What sessions are told when the machine is busy."""

from __future__ import annotations

from kikitori.sessions.load import LONGEST_STRETCH, PATIENCE_LOOKS, Load, LoadControl


def looked(control: LoadControl, times: int, *, interim_steps: float = 0.0, final_seconds: float = 0.0) -> list[Load]:
    return [control.look(interim_steps=interim_steps, final_seconds=final_seconds) for _ in range(times)]


def test_all_is_well_while_nobody_waits_long() -> None:
    assert set(looked(LoadControl(), 100, interim_steps=0.4)) == {Load()}


def test_steps_get_longer_before_interims_stop_and_sessions_are_refused_last() -> None:
    seen = looked(LoadControl(), 100, interim_steps=5.0, final_seconds=3.0)
    levels = [load.level for load in seen]
    assert levels == sorted(levels)
    assert set(levels) == {0, 1, 2}
    first_full = next(at for at, load in enumerate(seen) if load.full)
    assert levels[first_full] == 2
    assert levels.index(2) < first_full
    assert seen[-1].stretch == LONGEST_STRETCH


def test_finals_in_time_refuse_nobody() -> None:
    seen = looked(LoadControl(), 100, interim_steps=5.0)
    assert seen[-1].level == 2
    assert not any(load.full for load in seen)


def test_it_comes_back_slowly() -> None:
    control = LoadControl()
    looked(control, 50, interim_steps=5.0, final_seconds=3.0)
    seen = looked(control, 200)
    assert seen[PATIENCE_LOOKS - 2].level == 2
    assert seen[-1] == Load()
    levels = [load.level for load in seen]
    assert levels == sorted(levels, reverse=True)


def test_whoever_left_is_forgotten_at_once() -> None:
    control = LoadControl()
    assert looked(control, 50, interim_steps=5.0, final_seconds=3.0)[-1].full
    control.forget()
    assert control.load == Load()
    assert set(looked(control, 5, interim_steps=0.4)) == {Load()}


def test_one_slow_final_changes_little() -> None:
    control = LoadControl()
    control.final_took(2.0)
    assert {load.level for load in looked(control, 20)} == {0}
