"""Built-in prompting: one technique per file."""
