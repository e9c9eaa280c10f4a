"""``kikitori talk``: a spoken conversation in the terminal, by push-to-talk."""
