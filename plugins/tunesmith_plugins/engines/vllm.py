"""vLLM: a client of its OpenAI-compatible server, by token ids both ways.

vLLM (Kwon et al., "Efficient Memory Management for Large Language Model Serving with
PagedAttention", SOSP 2023) runs in an environment of its own, on a GPU; `vllm_launch` prints the
command line for a model folder. Its server is started by whoever runs it, so what it serves is made
sure of by name: unless told otherwise, the name is made from the folder's weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from tunesmith import Completion, Engine, Generation, ModelError, OpenEngine, hookimpl
from tunesmith.adapted import refuse_adapted, weight_files
from tunesmith.endpoints import Endpoint
from tunesmith.generation.batching import check_request
from tunesmith.generation.reference import Decode, completion, decoder
from tunesmith.models import inspect_model, load_tokenizer, weights_digest
from tunesmith.openai_api import Client, NoSuchModelError, connected

_NEUTRAL: dict[str, Any] = {
    "n": 1,
    "temperature": 1.0,
    "top_k": -1,
    "top_p": 1.0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "min_tokens": 0,
    "ignore_eos": False,
    "echo": False,
}
"""vLLM's sampler, switched off: what a request leaves out comes from generation_config.json."""
_IDS: dict[str, dict[str, Any]] = {
    "list": {"return_token_ids": True},
    "names": {"return_tokens_as_token_ids": True, "logprobs": 1},
    "verbose": {"return_tokens": True, "verbose": True},
}
"""How to be told token ids, in the words of a request: vLLM's own list of them; before vLLM 0.10.2
the names of the tokens whose probabilities are told; and llama.cpp's server's way."""


class Vllm(Endpoint, Engine):
    """Ask a vLLM server that is running somewhere; by token ids, with its own defaults off."""

    name = "vllm"
    needs: ClassVar[tuple[str, ...]] = ("httpx",)

    served_model: str | None = None
    """What the server calls the model; null: the name made from the folder's weights, so that an
    answer cannot come from other ones."""
    token_ids: Literal["required", "reencode"] = "required"
    """`required`: refuse a server that gives no token ids. `reencode`: tokenise its text again,
    which may give other tokens than it wrote; never where they are compared."""

    def asked_model(self) -> str | None:
        """Return the name that the config gives the model, if any."""
        return self.served_model

    @contextmanager
    def open(self, model: Path) -> Iterator[OpenEngine]:
        """Connect to the server, and make sure that it serves this model and tells token ids.

        Raises EndpointError when it is not there, and ModelError when it serves other models or
        tells no token ids.
        """
        refuse_adapted(model, "vllm serves plain models")
        name = self.served_model or served_name(model)
        facts, tokenizer = inspect_model(model), load_tokenizer(model)
        with connected(self) as client:
            card = _card(client, name, model)
            limits = [facts.context, card.get("max_model_len")]
            context = min((int(one) for one in limits if one), default=None)
            opened = OpenVllm(
                self, client, name, decoder(tokenizer), partial(_encode, tokenizer), context,
                facts.vocab or None,
            )  # fmt: skip
            opened.find_ids()
            yield opened

    def reads(self, model: Path) -> bool:
        """Say whether the folder holds a config and safetensors weights, as vLLM loads them."""
        return (model / "config.json").is_file() and bool(weight_files(model))


def served_name(model: Path) -> str:
    """Return the name under which a server should serve a folder: a hash of its weights."""
    return f"tunesmith-{weights_digest(model)[:16]}"


def _card(client: Client, name: str, model: Path) -> dict[str, Any]:
    try:
        return client.require_model(name)
    except NoSuchModelError as error:
        raise ModelError(
            f"{error} Start one for this model: `python -m tunesmith_plugins.engines.vllm_launch"
            f" {model}` prints the command. Or say `served_model`, if you know that it is the same."
        ) from error


@dataclass(slots=True)
class OpenVllm:
    """A vLLM server ready to continue prompts."""

    engine: Vllm
    client: Client
    name: str
    decode: Decode
    encode: Callable[[str], list[int]]
    context: int | None
    vocabulary: int | None
    how_ids: str = "list"
    """How the server tells token ids: a key of ``_IDS``, or ``reencode``."""
    counts: Counter[str] = field(default_factory=Counter)
    """Tokens ``written`` so far."""

    def find_ids(self) -> None:
        """Ask for one token, in each way there is, until the server says which one it wrote."""
        request = {**_NEUTRAL, "model": self.name, "prompt": [0], "max_tokens": 1, "seed": 0}
        for way, words in _IDS.items():
            (answer,) = self.client.complete([{**request, **words}])
            if written_ids(answer) is not None:
                self.how_ids = way
                return
        if self.engine.token_ids == "required":
            raise ModelError(
                f"{self.engine.base_url} says what it wrote as text only, and text that is"
                " tokenised again may be other tokens. Use vLLM 0.10.2 or newer, or set"
                " `token_ids: reencode` where that does not matter."
            )
        self.how_ids = "reencode"

    def generate(self, prompts: Sequence[list[int]], how: Generation) -> list[Completion]:
        """Continue each prompt (token ids); one completion per prompt, in order.

        A row's draws depend on its own seed. Raises ModelError for a sampler that vLLM cannot
        express, and EndpointError for a server that fails.
        """
        options = request_options(how)
        check_request(prompts, how, self.context, self.vocabulary)
        written: list[list[int]] = [[] for _ in prompts]
        open_rows = list(range(len(prompts)))
        while open_rows:
            requests = [self._request(prompts[at], written[at], how.seeds[at], how, options)
                        for at in open_rows]  # fmt: skip
            answers = self.client.complete(requests)
            for at, answer in zip(open_rows, answers, strict=True):
                written[at] += self._ids(answer, how)
            open_rows = [at for at in open_rows if not _ended(written[at], how)]
        return [completion(_cut(ids, how), how, self.decode) for ids in written]

    def _request(
        self,
        prompt: list[int],
        so_far: list[int],
        seed: int,
        how: Generation,
        options: Mapping[str, Any],
    ) -> dict[str, Any]:
        return {
            **options, **_IDS.get(self.how_ids, {}), "model": self.name,
            "prompt": [*prompt, *so_far], "max_tokens": how.max_new_tokens - len(so_far),
            # What is drawn after a stop that is not ours must not repeat what was drawn before it.
            "seed": (seed + len(so_far)) % 2**31,
        }  # fmt: skip

    def _ids(self, answer: Mapping[str, Any], how: Generation) -> list[int]:
        """Return what was written, with the token it stopped at."""
        if self.how_ids == "reencode":
            ids = self._read_again(answer["choices"][0], how)
        else:
            ids = written_ids(answer) or []
            told = (answer.get("usage") or {}).get("completion_tokens", len(ids))
            if len(ids) != told:
                raise ModelError(
                    f"{self.engine.base_url} says that it wrote {told} tokens and tells"
                    f" {len(ids)} of them; its answers cannot be used."
                )
        if not ids:
            raise ModelError(f"{self.engine.base_url} wrote no token; is its context too small?")
        self.counts["written"] += len(ids)
        return ids

    def _read_again(self, choice: Mapping[str, Any], how: Generation) -> list[int]:
        """Return the tokens of a text, and the stop token where it ended by itself."""
        ids = self.encode(str(choice.get("text") or ""))
        if choice.get("finish_reason") != "stop":
            return ids
        if len(how.stop_ids) != 1:
            raise ModelError(
                f"{self.engine.base_url} does not tell which of {len(how.stop_ids)} tokens ended an"
                " answer. A server that tells token ids does (vLLM 0.10.2 or newer)."
            )
        return [*ids, how.stop_ids[0]]


def request_options(how: Generation) -> dict[str, Any]:
    """Return a request's sampler in vLLM's words, everything else switched off."""
    said = None if how.sampler.searches else how.sampler.engine_options("vllm")
    if said is None:
        raise ModelError(
            f"vLLM cannot express the sampler {how.sampler.name!r};"
            " use the engine 'transformers', which runs every sampler."
        )
    return {**_NEUTRAL, **said, "stop_token_ids": list(how.stop_ids)}


def written_ids(answer: Mapping[str, Any]) -> list[int] | None:
    """Return the ids of the tokens of an answer, None where the server does not tell them.

    Read from vLLM's ``token_ids``, its token names (``token_id:17``), or llama.cpp's ``__verbose``;
    llama.cpp's probabilities are no source: they leave out tokens that are parts of a letter.
    """
    choice = answer["choices"][0]
    if isinstance(choice.get("token_ids"), list):
        return [int(one) for one in choice["token_ids"]]
    names = (choice.get("logprobs") or {}).get("tokens")
    if isinstance(names, list) and all(str(one).startswith("token_id:") for one in names):
        return [int(str(one).removeprefix("token_id:")) for one in names]
    tokens = (answer.get("__verbose") or {}).get("tokens")
    return [int(one) for one in tokens] if isinstance(tokens, list) and tokens else None


def _encode(tokenizer: Any, text: str) -> list[int]:
    return [int(one) for one in tokenizer.encode(text, add_special_tokens=False)]


def _cut(ids: list[int], how: Generation) -> list[int]:
    """Return the tokens up to one of our stop tokens, that token included, or up to the limit."""
    ids = ids[: how.max_new_tokens]  # a text that is tokenised again may have more of them
    ends = [at for at, token in enumerate(ids) if token in how.stop_ids]
    return ids[: ends[0] + 1] if ends else ids


def _ended(ids: list[int], how: Generation) -> bool:
    """Say whether a row is done; a server may have stopped at a token that ends no answer here."""
    return len(ids) >= how.max_new_tokens or any(token in how.stop_ids for token in ids)


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Offer the technique."""
    return [Vllm]
