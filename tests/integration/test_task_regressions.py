"""What went wrong in other servers for files and tasks must not go wrong here: the list, and who watches over it.

Seen to go wrong:

    a callback tells how the task ended, not a state before its result was stored
        tests/acceptance/test_callbacks.py::test_a_finished_task_is_told_and_told_again_on_request
        tests/integration/test_task_life.py::test_the_end_is_one_transaction
    an answer of 2xx without a body is a success: one request, no second one
        tests/integration/test_callbacks.py::test_any_2xx_is_enough
    an answer of 5xx is a failure: the callback comes again, under the same id
        tests/unit/tasks/test_callbacks.py::test_a_failed_callback_comes_again_by_the_schedule_under_the_same_id
    two nodes never run the same task
        tests/integration/test_task_regressions.py::test_two_nodes_on_one_file_run_every_task_once
        tests/integration/test_task_queue.py::test_two_nodes_never_get_the_same_task
        tests/acceptance/test_chaos.py::test_three_nodes_are_killed_and_their_database_restarts
    a look at the queue that fails does not stop a node for good
        tests/unit/tasks/test_runner.py::test_a_node_goes_on_after_whatever_went_wrong
    a node with nothing to do stops when it is told to
        tests/acceptance/test_tasks_life.py::test_a_server_that_is_told_to_stop_gives_its_tasks_back
    many tasks at once share the models without loops or threads that wait for each other
        tests/unit/inference/test_pool.py::test_a_model_is_loaded_once_for_all_who_ask_together
        tests/unit/inference/test_pool.py::test_a_failed_load_is_reported_and_tried_again
    every GPU is used, and a start with several works
        tests/unit/engines/test_devices.py::test_auto_uses_every_gpu_that_works
        tests/unit/inference/test_pool.py::test_work_spreads_over_the_replicas
    the times of a task are its own, and lists by time mean them
        tests/acceptance/test_tasks_control.py::test_times_are_those_of_each_task
    cookies of a site are sent to that site alone, whatever the link says
        tests/integration/test_sites.py::test_a_link_of_another_host_gets_no_cookies
    options are fields of the form, and those that mean nothing are refused by name
        tests/unit/web/test_task_forms.py::test_a_form_means_what_json_means
        tests/unit/web/test_task_forms.py::test_a_name_that_means_nothing_is_an_error_that_knows_the_next_best

Read in their code:

    a crash loses no task
        tests/acceptance/test_tasks_life.py::test_a_killed_server_goes_on_where_it_was
    a result that the database does not take at once is not dropped
        tests/unit/tasks/test_execution.py::test_a_database_that_is_away_for_a_moment_costs_nothing
        tests/integration/test_task_life.py::test_a_write_whose_end_nobody_saw_can_be_repeated
    one long task does not keep the places beside it empty
        tests/integration/test_task_regressions.py::test_a_long_task_does_not_hold_up_those_that_come_after_it
    tasks of one class come in their order, and low ones come at all
        tests/integration/test_task_queue.py::test_an_owners_tasks_keep_their_order
        tests/integration/test_task_queue.py::test_high_goes_first_and_waiting_makes_up_for_it
    what was uploaded to one node can be worked on by another
        tests/acceptance/test_tasks_cluster.py::test_nodes_share_the_tasks_and_one_may_die
        tests/acceptance/test_tasks_cluster.py::test_a_node_with_another_media_store_is_refused
    deleting stops the work and removes the recording
        tests/acceptance/test_tasks_control.py::test_what_is_deleted_leaves_nothing
    a result that is not there says why
        tests/acceptance/test_tasks_hostile.py::test_a_file_that_is_no_recording_says_so
    links and callbacks do not lead into the private network
        tests/acceptance/test_tasks_hostile.py::test_links_into_the_house_are_refused_without_permission
        tests/integration/test_callbacks.py::test_a_private_address_is_never_asked
    uploads and links are bounded while they come, and never read into memory as a whole
        tests/unit/web/test_uploads.py::test_too_much_is_noticed_at_once_whatever_was_announced
        tests/unit/media/test_guard.py::test_an_endless_body_is_cut_at_the_bound
    callbacks outlive a restart, and a slow receiver delays nobody
        tests/acceptance/test_callbacks.py::test_a_callback_survives_the_death_of_the_server_under_its_id
        tests/integration/test_callbacks.py::test_one_slow_receiver_beside_fifty_quick_ones
    keys of callers for language models are neither kept nor repeated
        tests/unit/web/test_llm.py::test_a_callers_key_is_nowhere_afterwards
    what callers see of a task names no place on the disk
        tests/integration/test_task_regressions.py::test_nothing_that_is_told_of_a_task_names_a_place_on_the_disk
"""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.unit.tasks.workshop import open_workshop, script

from kikitori.store.task_records import TaskStatus
from kikitori.tasks.cluster import this_node
from kikitori.tasks.runner import TaskRunner
from kikitori.tasks.views import result_json, task_json
from kikitori.testing import FakeTranscriber, Hold

ROOT = Path(__file__).parents[2]


def test_every_test_that_is_named_here_exists() -> None:
    named = [line.strip() for line in (__doc__ or "").splitlines() if "::" in line]
    assert len(named) > 30
    for place in named:
        path, _, name = place.partition("::")
        tree = ast.parse((ROOT / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


async def test_two_nodes_on_one_file_run_every_task_once(tmp_path: Path) -> None:
    async with open_workshop(tmp_path) as shop:
        tasks = [await shop.upload() for _ in range(60)]
        async with AsyncExitStack() as stack:
            for host in ("here", "there"):
                node = replace(this_node(slots=4, media_url="shared"), host=host)
                runner = TaskRunner(node, shop.workplace(slots=4), shop.nodes)
                await stack.enter_async_context(runner)
            for task in tasks:
                assert (await shop.ended_task(task)).status is TaskStatus.SUCCEEDED
        assert len({(await shop.store.get(task.id, None)).node for task in tasks}) == 2
        runs = Counter(str(call.media) for call in shop.transcriber.calls)
        assert set(runs.values()) == {1}
        assert len(runs) == len(tasks)


async def test_a_long_task_does_not_hold_up_those_that_come_after_it(tmp_path: Path) -> None:
    hold = Hold()

    class FirstIsLong(FakeTranscriber):
        async def stream(self, *arguments: Any, **options: Any) -> AsyncGenerator[Any, None]:
            first = not self.calls
            async for event in super().stream(*arguments, **options):
                yield event
                if first and not hold.reached.is_set():
                    await hold.wait()

    async with open_workshop(tmp_path) as shop, shop.runner(slots=2, transcriber=FirstIsLong(script())):
        long = await shop.upload()
        await hold.reached.wait()
        for _ in range(3):
            after = [await shop.upload() for _ in range(2)]
            for task in after:
                assert (await shop.ended_task(task)).status is TaskStatus.SUCCEEDED
        assert (await shop.store.get(long.id, None)).status is TaskStatus.RUNNING
        hold.release.set()
        assert (await shop.ended_task(long)).status is TaskStatus.SUCCEEDED


async def test_nothing_that_is_told_of_a_task_names_a_place_on_the_disk(tmp_path: Path) -> None:
    async with open_workshop(tmp_path) as shop, shop.runner():
        for task in (await shop.upload(file_name="talk.wav"), await shop.link()):
            ended = await shop.ended_task(task)
            assert ended.media_key
            events = [dict(event.data) for event in await shop.store.events(task.id)]
            told = json.dumps([task_json(ended), result_json(await shop.store.result(task.id, None)), events])
            assert str(tmp_path) not in told
            assert ended.media_key not in told
            assert Path(ended.media_key).name not in told
