"""The page on which raters label pictures: plain HTML from a local server that answers no other site."""

import base64
import hashlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from itertools import chain, repeat
from urllib.parse import parse_qsl, quote, urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from pipelines.config import UserError, one_line
from tuning.sage.people.labelling import NOTHING, OTHER, Labelling, known_rater
from tuning.sage.people.markup import TEMPLATES, png, render

KEYS = "1234567890qwertyuiopasdfghjklzxcvbnm"
"""Of the classes, in their order; those after the last have a button only."""
APART = {OTHER: ",", NOTHING: "."}
LARGEST_FORM = 4096
"""Bytes."""


class LabelPages:
    """The pages of one run, for any number of raters."""

    def __init__(self, labelling: Labelling, rater: str | None = None) -> None:
        self.labelling, self.rater = labelling, rater

    def start(self, request: Request) -> Response:
        """Send the rater to his pictures, or ask who he is."""
        if (rater := request.query_params.get("rater", self.rater)) is None:
            return HTMLResponse(render("label.html", rater=None))
        return self._pictures_of(rater)

    def question(self, request: Request) -> Response:
        """Show the next picture of a rater, or say that there is none."""
        labelling, rater = self.labelling, request.path_params["rater"]
        left, total = labelling.left(rater), len(labelling.pictures)
        keys = chain(KEYS, repeat(""))
        classes = [(key, one) for key, one in zip(keys, labelling.choices, strict=False) if one not in APART]
        page = render(
            "label.html",
            rater=rater,
            action=_path(rater),
            done=total - len(left),
            total=total,
            picture=left[0] if left else None,
            classes=classes,
            apart=[(key, one) for one, key in APART.items()],
        )
        return HTMLResponse(page)

    async def answer(self, request: Request) -> Response:
        """Keep an answer, and go on."""
        form = dict(parse_qsl((await request.body()).decode(errors="replace")))
        rater = request.path_params["rater"]
        self.labelling.answer(rater, form.get("picture", ""), form.get("answer", ""))
        return self._pictures_of(rater)

    def undo(self, request: Request) -> Response:
        """Take the last answer back, and ask again."""
        rater = request.path_params["rater"]
        self.labelling.undo(rater)
        return self._pictures_of(rater)

    def picture(self, request: Request) -> Response:
        """Return a picture."""
        picture = self.labelling.pictures.get(request.path_params["token"])
        if picture is None:
            raise HTTPException(404)
        return Response(png(picture), media_type="image/png")

    def _pictures_of(self, rater: str) -> Response:
        return RedirectResponse(_path(known_rater(rater)), status_code=303)


def application(labelling: Labelling, host: str, rater: str | None = None) -> Starlette:
    """Return the server's application; it answers requests to `host` alone, and takes answers from its pages alone."""
    pages = LabelPages(labelling, rater)
    routes = [
        Route("/", pages.start),
        Route("/rater/{rater}", pages.question),
        Route("/rater/{rater}", pages.answer, methods=["POST"]),
        Route("/rater/{rater}/undo", pages.undo, methods=["POST"]),
        Route("/picture/{token}", pages.picture),
    ]

    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if not is_own_name(request.headers.get("host", ""), host):
            return PlainTextResponse("This server answers to its own address only.", 421)
        if request.method == "POST" and not is_own_page(request):
            return PlainTextResponse("Answers are taken from this server's own pages only.", 403)
        if request.method == "POST" and not 0 <= int(request.headers.get("content-length", -1)) <= LARGEST_FORM:
            return PlainTextResponse(f"An answer has at most {LARGEST_FORM} bytes.", 413)
        response = await call_next(request)
        response.headers.update(headers())
        return response

    return Starlette(
        routes=routes,
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=guard)],
        exception_handlers={UserError: _refused(400), OSError: _refused(500)},
    )


def headers() -> dict[str, str]:
    """Return the headers of every answer: nothing is kept, framed or fetched from elsewhere, only our script runs."""
    script = (TEMPLATES / "label.js").read_text(encoding="utf-8").removesuffix("\n")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }


def is_own_name(asked: str, host: str) -> bool:
    """Return whether a Host header names this server, and not a domain that someone has pointed at it.

    A server that listens on every address is called by any of them.
    """
    try:
        name = urlsplit(f"//{asked}").hostname
    except ValueError:
        return False
    own, called = _address(host), _address(name or "")
    if name in {host.lower(), "localhost"}:
        return True
    return own is not None and called is not None and (own.is_unspecified or (own.is_loopback and called.is_loopback))


def is_own_page(request: Request) -> bool:
    """Return whether a form comes from a page of this server."""
    return urlsplit(request.headers.get("origin", "")).netloc == request.headers["host"]


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one. Raises `UserError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"label: expected to listen on {host} port {port}, found {one_line(error)}; name another --port or --host"
        ) from None


def server(app: Starlette) -> uvicorn.Server:
    """Return a server that says nothing; run it on a socket of `listening`."""
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", loop="asyncio", ws="none")
    return uvicorn.Server(config)


def _path(rater: str) -> str:
    return f"/rater/{quote(rater)}"


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _refused(status: int) -> Callable[[Request, Exception], Response]:
    return lambda _, error: PlainTextResponse(str(error), status)
