"""One small working technique per family, and its test: what `tunesmith plugins new` copies."""
