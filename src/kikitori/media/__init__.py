"""Recordings from outside: guarded links, video sites, and the store where media lies."""
