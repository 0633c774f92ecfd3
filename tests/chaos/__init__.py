"""Seeded faults against a whole node: `python -m tests.chaos --seed 1 --runs 5`; docs/chaos.md."""
