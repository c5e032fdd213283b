"""Prefect flows: one stage per file, in the order they run."""
