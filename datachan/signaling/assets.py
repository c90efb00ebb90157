"""Knows where the page's files are and the security headers they are served with; knows nothing of rooms or peers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web

import datachan

CONTENT_TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def page_folder() -> Path:
    """Return the folder of the page: inside the installed package, or beside it in a source tree.

    Raises:
        FileNotFoundError: The page is in neither place.
    """
    package = Path(datachan.__file__).parent
    for folder in (package / "web", package.parent / "web"):
        if (folder / "index.html").is_file():
            return folder
    raise FileNotFoundError("The page is missing from this installation of datachan. Install the package again.")


def add_page(app: web.Application, folder: Path) -> None:
    """Serve the files of the page.

    The paths are fixed when the server starts: no path that a browser requests is looked up on the disk.
    """
    for path in sorted(folder.rglob("*")):
        content_type = CONTENT_TYPES.get(path.suffix)
        if content_type is None or not path.is_file():
            continue
        handler = _file_handler(path, content_type)
        app.router.add_get(f"/{path.relative_to(folder).as_posix()}", handler)
        if path == folder / "index.html":
            app.router.add_get("/", handler)


def _file_handler(path: Path, content_type: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve_file(request: web.Request) -> web.StreamResponse:
        # The browser must revalidate: after an upgrade of the package the old scripts must not meet the new page.
        headers = {"Content-Type": f"{content_type}; charset=utf-8", "Cache-Control": "no-cache"}
        return web.FileResponse(path, headers=headers)

    return serve_file
