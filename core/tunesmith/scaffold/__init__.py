"""A new plugin, ready to install: one working technique per family to begin from."""

from tunesmith.scaffold.writing import Made, write

__all__ = ["Made", "write"]
