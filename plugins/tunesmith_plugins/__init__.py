"""Every built-in technique: a folder per family, a file per technique."""
