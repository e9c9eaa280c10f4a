"""The command ``kikitori``. Nothing heavy is imported until a command runs."""

from __future__ import annotations


def main() -> None:
    """Run the command line of this process and exit."""
    from kikitori.cli.root import app

    app(prog_name="kikitori")
