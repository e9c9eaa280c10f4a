"""The pages: a module each, with ``render()``."""
