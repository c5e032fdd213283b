"""``tunesmith serve``: models behind an OpenAI-compatible HTTP interface on this machine.

A request passes through the files in this order: ``app`` (HTTP), ``requests`` (what may be asked),
``answering`` and ``worker`` (one thread per model), ``speaking`` (engine, style and sampler),
``speech`` (tokens to text), ``shapes`` (OpenAI's JSON), ``delivering`` (whole, or as a stream).
``named_models`` says what the command line means.
"""
