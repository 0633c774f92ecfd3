"""The HTTP service, a process of its own; what it does, other modules do (decision 0011)."""
