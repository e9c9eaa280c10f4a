"""``kikitori bench``: measure a server from outside."""
