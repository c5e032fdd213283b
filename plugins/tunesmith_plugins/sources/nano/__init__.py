"""The nano world: five families of synthetic tasks small enough for a tiny language model."""
