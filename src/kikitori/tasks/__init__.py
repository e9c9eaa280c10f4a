"""Durable tasks: what is asked for now and done later, whatever happens in between."""
