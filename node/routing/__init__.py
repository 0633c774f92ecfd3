"""Rules, series choice and dispatch."""
