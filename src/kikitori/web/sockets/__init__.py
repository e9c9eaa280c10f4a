"""WebSockets: one pump for every protocol of ``kikitori.protocols``."""
