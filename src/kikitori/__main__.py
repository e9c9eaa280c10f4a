"""``python -m kikitori`` is the command ``kikitori``."""

from kikitori.cli import main

if __name__ == "__main__":
    main()
