"""The kikitori command."""
