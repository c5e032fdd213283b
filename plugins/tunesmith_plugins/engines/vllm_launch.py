"""The command line that serves a model folder with vLLM the way the engine `vllm` expects it.

``python -m tunesmith_plugins.engines.vllm_launch FOLDER`` prints it, and with ``--env`` the
variables for ``deploy/vllm/compose.yaml``. vLLM itself is started elsewhere: it needs a GPU and an
environment of its own. Flags: https://docs.vllm.ai/en/stable/cli/serve/.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith import ModelError, TunesmithError
from tunesmith.adapted import refuse_adapted
from tunesmith.generation.drafting import check_draft
from tunesmith.models import check_model
from tunesmith_plugins.engines.vllm import served_name


@dataclass(frozen=True, slots=True)
class Launch:
    """How a folder is served. Lengths are in tokens."""

    model: Path
    host: str = "127.0.0.1"
    port: int = 8000
    context: int = 0
    """Longest sequence; 0 takes the model's own."""
    prefix_caching: bool = True
    lookup: int = 0
    """Tokens guessed from the text itself (speculation by n-grams); 0 guesses none."""
    draft: Path | None = None
    """A folder with a smaller model of the same tokenizer that guesses."""
    draft_tokens: int = 4
    tensor_parallel: int = 1
    """GPUs that share each matrix."""
    dtype: str = "auto"

    def arguments(self) -> list[str]:
        """Return what follows `vllm`; raises ModelError for a folder that vLLM could not serve."""
        facts = check_model(self.model)
        refuse_adapted(self.model, "vLLM serves plain models")
        if self.lookup and self.draft:
            raise ModelError("Guesses come from the text (lookup) or from a draft model, not both.")
        return [
            "serve", str(self.model.resolve()),
            "--served-model-name", served_name(self.model),
            "--host", self.host, "--port", str(self.port),
            *self._flags(facts.context),
        ]  # fmt: skip

    def _flags(self, longest: int | None) -> list[str]:
        """Return the flags that do not depend on where the folder and the port are."""
        context = self.context or longest
        return [
            # Whatever a request leaves open must not come from the model's own generation config.
            "--generation-config", "vllm",
            *(["--max-model-len", str(context)] if context else []),
            "--dtype", self.dtype,
            "--tensor-parallel-size", str(self.tensor_parallel),
            "--enable-prefix-caching" if self.prefix_caching else "--no-enable-prefix-caching",
            *self._speculation(),
        ]  # fmt: skip

    def _speculation(self) -> list[str]:
        config: dict[str, Any] = {}
        if self.lookup:
            config = {
                "method": "ngram", "num_speculative_tokens": self.lookup, "prompt_lookup_min": 3,
                "prompt_lookup_max": 5,
            }  # fmt: skip
        elif self.draft is not None:
            check_draft(self.draft, self.model)
            config = {
                "method": "draft_model", "model": str(self.draft.resolve()),
                "num_speculative_tokens": self.draft_tokens,
            }  # fmt: skip
        return ["--speculative-config", json.dumps(config)] if config else []

    def command(self) -> str:
        """Return the line for a shell."""
        return shlex.join(["vllm", *self.arguments()])

    def environment(self) -> str:
        """Return the variables that `deploy/vllm/compose.yaml` reads, one per line.

        Raises ModelError for a draft model, whose folder the container does not see.
        """
        if self.draft is not None:
            raise ModelError("compose.yaml mounts one folder; use lookup, or the command line.")
        self.arguments()  # refuses what cannot be served
        pairs = {
            "MODEL_FOLDER": str(self.model.resolve()),
            "SERVED_MODEL_NAME": served_name(self.model),
            "VLLM_PORT": str(self.port),
            "TENSOR_PARALLEL": str(self.tensor_parallel),
            "VLLM_FLAGS": shlex.join(self._flags(check_model(self.model).context)),
        }
        return "\n".join(f"{name}={value}" for name, value in pairs.items())


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the command, or the variables; 1 with a sentence when the folder cannot be served."""
    parser = argparse.ArgumentParser(prog="vllm_launch", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path, help="a folder with safetensors weights")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--context", type=int, default=0, help="longest sequence, in tokens")
    parser.add_argument("--no-prefix-caching", action="store_true")
    parser.add_argument("--lookup", type=int, default=0, help="tokens guessed from the text")
    parser.add_argument("--draft", type=Path, help="a folder with a smaller model that guesses")
    parser.add_argument("--draft-tokens", type=int, default=4)
    parser.add_argument("--tensor-parallel", type=int, default=1)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--env", action="store_true", help="variables for compose, not a command")
    given = vars(parser.parse_args(arguments))
    as_variables = given.pop("env")
    launch = Launch(**{"prefix_caching": not given.pop("no_prefix_caching"), **given})
    try:
        said = launch.environment() if as_variables else launch.command()
    except TunesmithError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{said}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
