"""Where locks live."""
