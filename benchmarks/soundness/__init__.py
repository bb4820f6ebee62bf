"""Small random instances of every kind, a brute force that shares nothing with the engine's bounds, and a judge."""
