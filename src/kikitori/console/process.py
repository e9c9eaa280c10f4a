"""``python -m kikitori.console.process``: Streamlit with our script, for as long as the one who started it lives."""

from __future__ import annotations

import os
import signal
import sys
import threading

from kikitori.console.launch import APP


def main() -> None:
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    import streamlit.net_util
    from streamlit.web import cli

    # Asked when the origin of a request is not known: it would ask a server on the internet what our address is.
    streamlit.net_util.get_external_ip = lambda: None
    cli.main(["run", str(APP), *sys.argv[1:]])


def _end_with_parent() -> None:
    """Whoever started us holds the other end of stdin, and says nothing."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
