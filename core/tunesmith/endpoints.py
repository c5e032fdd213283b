"""Where a technique finds the server that it asks, and whether that server is there."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Self
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tunesmith.errors import EndpointError

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PATIENCE = 5.0
"""Seconds that preflight waits for a server."""


def _has_port(parts: SplitResult) -> bool:
    """Say whether the port, if any, is a number."""
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False


class Endpoint(BaseModel):
    """Options of every technique that asks an OpenAI-compatible server; inherit from it."""

    # An input shown in an error might be a key in the wrong place.
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )

    base_url: str = "http://127.0.0.1:8000/v1"
    """Where the server's interface begins, usually ending in /v1."""
    api_key_env: str | None = None
    """The environment variable that holds the server's key; null: it wants none. The key itself
    belongs into no file."""
    timeout: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    """Seconds to wait for one answer."""
    retries: int = Field(default=5, ge=0, le=20)
    """How often a request is sent again after 429, 5xx, a timeout or a lost connection; pauses
    double from half a second, or last as long as the server's Retry-After asks."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """Requests under way at once."""

    @model_validator(mode="after")
    def _in_its_place(self) -> Self:
        # After the fields: an error of a field would repeat its value.
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not _has_port(parts):
            raise ValueError("base_url must be like http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "base_url must hold no user, key or query; put the key into an environment variable"
                " and name it in api_key_env"
            )
        if self.base_url.endswith("/"):
            raise ValueError("base_url must not end in a slash")
        if self.api_key_env is not None and not _VARIABLE.fullmatch(self.api_key_env):
            raise ValueError(
                "api_key_env must be the name of an environment variable, such as OPENAI_API_KEY;"
                " what stands there is not shown, for it may be a key. Take it out of the file"
            )
        return self

    def is_local(self) -> bool:
        """Say whether the server is on this machine."""
        host = urlsplit(self.base_url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def asked_model(self) -> str | None:
        """Return the name of the model that will be asked for, where it is known beforehand."""
        return None

    def endpoint_problems(self) -> list[str]:
        """Return why the server cannot be asked now; a few seconds, for preflight.

        A missing variable, nobody there, a key that is wanted or wrong, a model it does not have.
        """
        from tunesmith.openai_api import connected

        once = self.model_copy(update={"retries": 0, "timeout": min(self.timeout, PATIENCE)})
        try:
            with connected(once) as client:
                model = self.asked_model()
                _ = client.models() if model is None else client.require_model(model)
        except EndpointError as error:
            return [str(error)]
        return []


def read_key(name: str | None) -> str | None:
    """Return the key that an environment variable holds, None where none is named."""
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise EndpointError(
            f"The environment variable {name} (`api_key_env`) is not set. Put the server's key"
            f" into it: `export {name}=...`; it is never written anywhere."
        )
    if not (key.isascii() and key.isprintable()):
        raise EndpointError(
            f"The environment variable {name} (`api_key_env`) holds signs that no header may have,"
            " so it is no key; a copied line break, perhaps."
        )
    return key
