"""Built-in methods: one technique per file."""
