"""Built-in evaluators: one technique per file."""
