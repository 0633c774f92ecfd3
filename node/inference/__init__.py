"""Volumes, the gate, plugins and the child process that runs them."""
