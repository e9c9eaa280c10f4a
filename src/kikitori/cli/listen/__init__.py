"""``kikitori listen``: live captions in the terminal."""
