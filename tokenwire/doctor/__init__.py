"""`tokenwire doctor`: sends streams through the real way and says what on it holds them up, and what to set."""
