"""``tunesmith serve``: models behind an OpenAI-compatible HTTP interface on this machine.

A request passes through the files in this order: ``app`` (HTTP), ``requests`` (what may be asked),
``worker`` (one thread per model), ``speaking`` (engine, style and sampler), ``speech`` (tokens to
text), ``shapes`` (OpenAI's JSON). ``named_models`` says what the command line means.
"""
