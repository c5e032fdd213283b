"""Built-in accelerators: one technique per file."""
