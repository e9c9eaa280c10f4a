from prometheus_client.parser import text_string_to_metric_families

from kikitori.metrics import Metrics


def values(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    body, _ = metrics.render()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_everything_of_ours_has_our_prefix() -> None:
    metrics = Metrics()
    metrics.watch_pool(dict, dict)
    names = {name for name, _ in values(metrics)}
    assert all(name.startswith("kikitori_") for name in names)


def test_requests_are_counted_by_route_and_status() -> None:
    metrics = Metrics()
    metrics.request_began()
    metrics.request_began()
    metrics.request_ended("/v1/models/{model}", 404, 0.2)
    found = values(metrics)
    assert found["kikitori_requests_total", (("route", "/v1/models/{model}"), ("status", "404"))] == 1
    assert found["kikitori_request_seconds_sum", (("route", "/v1/models/{model}"),)] == 0.2
    assert found["kikitori_requests_running", ()] == 1


def test_batches_and_waits() -> None:
    metrics = Metrics()
    metrics.batch_ran("generate", 8, 0.3)
    metrics.batch_ran("generate", 1, 0.1)
    metrics.call_waited("normal", 0.02)
    found = values(metrics)
    assert found["kikitori_batch_size_bucket", (("kind", "generate"), ("le", "1.0"))] == 1
    assert found["kikitori_batch_size_bucket", (("kind", "generate"), ("le", "8.0"))] == 2
    assert found["kikitori_batch_size_sum", (("kind", "generate"),)] == 9
    assert found["kikitori_queue_wait_seconds_count", (("priority", "normal"),)] == 1


def test_real_time_factor_and_audio_seconds() -> None:
    metrics = Metrics()
    metrics.transcribed(60.0, 6.0, "small")
    metrics.transcribed(0.0, 0.1, "small")
    found = values(metrics)
    assert found["kikitori_audio_seconds_total", (("model", "small"),)] == 60
    assert found["kikitori_real_time_factor_sum", (("model", "small"),)] == 0.1
    assert found["kikitori_real_time_factor_count", (("model", "small"),)] == 1


def test_attempts_of_callbacks_are_counted_by_outcome() -> None:
    metrics = Metrics()
    for outcome in ("pending", "delivered", "delivered"):
        metrics.callback_tried(outcome)
    assert values(metrics)["kikitori_callback_attempts_total", (("outcome", "delivered"),)] == 2


def test_replies_are_counted_by_outcome() -> None:
    metrics = Metrics()
    for outcome in ("done", "stopped", "done"):
        metrics.replied(outcome)
    metrics.reply_sounded(0.3)
    found = values(metrics)
    assert found["kikitori_replies_total", (("outcome", "done"),)] == 2
    assert found["kikitori_reply_first_sound_seconds_sum", ()] == 0.3


def test_the_pool_is_asked_at_every_scrape() -> None:
    metrics = Metrics()
    waiting, models = {"low": 2}, {"small": 500}
    metrics.watch_pool(lambda: waiting, lambda: models)
    assert values(metrics)["kikitori_queue_depth", (("priority", "low"),)] == 2
    assert values(metrics)["kikitori_loaded_models", ()] == 1
    waiting["low"] = 0
    models.clear()
    found = values(metrics)
    assert found["kikitori_queue_depth", (("priority", "low"),)] == 0
    assert found["kikitori_loaded_models", ()] == 0
    assert ("kikitori_model_memory_bytes", (("model", "small"),)) not in found


def test_two_servers_in_one_process_do_not_share_counts() -> None:
    one, other = Metrics(), Metrics()
    one.transcribed(1.0, 1.0, "small")
    assert ("kikitori_audio_seconds_total", (("model", "small"),)) not in values(other)


def test_watching_a_pool_does_not_ask_it_yet() -> None:
    def not_yet() -> dict[str, int]:
        raise AssertionError("asked before the first scrape")

    Metrics().watch_pool(not_yet, not_yet)
