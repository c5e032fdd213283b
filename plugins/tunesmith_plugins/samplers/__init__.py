"""Built-in samplers: one technique per file."""
