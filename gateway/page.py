"""The built page and the headers that protect it."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from shared.observe import Log
from shared.settings import SettingsError

_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")

_NOT_BUILT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Tokenwire</title>
<h1>The page was not built</h1>
<p>The gateway works, but there is no page in its folder. Run <code>make setup</code>, or set
<code>PAGE_DIR</code> to a folder that holds the built page. The API is at <code>/v1</code>.</p>
</html>
"""


class Page:
    """Serves a folder of static files, the page's built form."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = StaticFiles(directory=folder, html=True, check_dir=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        policy = content_security_policy(Headers(scope=scope).get("host", ""))

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = policy
                headers["Cache-Control"] = _caching(scope["path"])
            await send(message)

        if (self._folder / "index.html").is_file():
            await self._files(scope, receive, send_guarded)
        else:
            await HTMLResponse(_NOT_BUILT, 503)(scope, receive, send_guarded)


def check_page(folder: Path, log: Log, *, named: bool) -> None:
    """Say that there is no page in its folder.  Raises SettingsError if somebody has named that one."""
    if (folder / "index.html").is_file():
        return
    if named:
        sentence = (
            f"PAGE_DIR is {folder}, which holds no index.html: name a built page's folder, or leave it unset."
        )
        raise SettingsError([sentence])
    log.warning(
        "page_missing", folder=folder, problem="The page was not built: run make setup, or set PAGE_DIR."
    )


def content_security_policy(host: str) -> str:
    """Allow the page its own files and its own socket, nothing else.

    Not every browser takes 'self' to mean the socket of the same host, so it is named.
    """
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    return (
        f"default-src 'self'; connect-src 'self'{sockets}; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _caching(path: str) -> str:
    """Keep what is named by its content for ever, and ask again for the rest."""
    return "public, max-age=31536000, immutable" if path.startswith("/assets/") else "no-cache"
