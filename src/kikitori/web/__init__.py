"""HTTP: routes, errors, keys, limits."""
