"""Live sessions on this machine: the shell around ``live`` that owns clocks, threads and models."""
