"""The one place that builds everything from Settings, and closes it in order."""
