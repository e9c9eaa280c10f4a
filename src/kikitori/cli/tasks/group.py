"""``kikitori tasks``: durable tasks of a running server."""

from __future__ import annotations

from kikitori.cli.apps import App
from kikitori.cli.tasks import control, listing, result, submit, watch

app = App(
    help="Send recordings and links to a running server, watch them and get their texts.",
    epilog="The server is that of --url or KIKITORI_URL; its key is that of --api-key or KIKITORI_API_KEY.",
    no_args_is_help=True,
)
submit.register(app)
listing.register(app)
watch.register(app)
result.register(app)
control.register(app)
