"""The Streamlit process behind ``tunesmith dashboard``; it ends when whoever started it does."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

SAFE: dict[str, str] = {
    "server.address": "127.0.0.1",
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.runOnSave": "false",
    "server.enableCORS": "true",
    "server.enableXsrfProtection": "true",
    "server.enableStaticServing": "false",
    "server.enableAgentApi": "false",
    "browser.gatherUsageStats": "false",
    "browser.serverAddress": "127.0.0.1",
    "client.toolbarMode": "minimal",
    "client.showErrorLinks": "false",
    "client.showErrorDetails": "type",
    "runner.magicEnabled": "false",
    "logger.level": "warning",
}
"""Settings that neither a config file nor the environment of the user can weaken."""
HOSTS = ("127.0.0.1", "localhost")
"""Names under which a browser may ask; any other is DNS rebinding (a page that reaches us)."""


def main(port: str) -> None:
    """Run the app on a port of this machine."""
    threading.Thread(target=_die_with_owner, daemon=True).start()
    from streamlit.web import cli

    app = Path(__file__).with_name("app.py")
    flags = [f"--{name}={value}" for name, value in (SAFE | {"server.port": port}).items()]
    flags += [f"--server.allowedHosts={host}" for host in HOSTS]
    cli.main(["run", str(app), *flags], prog_name="streamlit")


def _die_with_owner() -> None:
    """Wait for the end of a pipe that the owner never writes to, then end without ado."""
    # Not through sys.stdin: its lock would be held while the interpreter shuts down.
    while os.read(0, 1):
        pass
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
