"""The server: the page and its parts, and `POST /predict` for other programs.

Starlette does the routing, uvicorn HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from src.evaluation.examples import load_examples
from src.predict.predictions import Prediction, as_json
from src.runtime.errors import UserError, printable
from src.runtime.files import read_table
from src.runtime.paths import EXAMPLES, PREDICTIONS
from src.serve.batching import Batcher, Pictures
from src.serve.guards import HEADERS, MAX_BODY, RefusedError, read_body, refuse_foreign
from src.serve.models import ServedModel, data_url, described

FOLDER = Path(__file__).parent
PAGE = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js"}
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
# Of one request, and of those that are answered together.
MAX_PICTURES, BATCH = 256, 64

MultiPartParser.spool_max_size = MAX_BODY  # in memory: nothing is written to disk
# It would log each damaged form; the sender gets the reason as the answer.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

Endpoint = Callable[[Request], Awaitable[Response]]


class Server:
    """Answers for some models; `/predict` for the first of them.

    Args:
        models: at least one.
        bound_to: the address that it listens on.
        batch: how many pictures are answered together.
    """

    def __init__(self, models: Sequence[ServedModel], bound_to: str, batch: int = BATCH) -> None:
        self._models, self._bound_to, self._batch = models, bound_to, batch
        self._batchers: list[Batcher] = []

    def application(self) -> Starlette:
        """To be run by a server of ASGI."""
        routes = [Route(path, self._guarded(_static(name))) for path, name in PAGE.items()]
        routes += [
            Route("/healthz", self._guarded(self._health)),
            Route("/examples", self._guarded(self._examples)),
            Route("/predict", self._guarded(self._predict), methods=["POST"]),
            Route("/look", self._guarded(self._look), methods=["POST"]),
        ]
        return Starlette(routes=routes, lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._batchers = [Batcher(model.classifier, self._batch) for model in self._models]
        working = [asyncio.create_task(batcher.work()) for batcher in self._batchers]
        try:
            yield
        finally:
            for task in working:
                task.cancel()

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint, for those who may ask; a refusal is a line of JSON."""

        async def answer(request: Request) -> Response:
            try:
                refuse_foreign(request, self._bound_to)
                response = await endpoint(request)
            except RefusedError as error:
                response = JSONResponse({"error": str(error)}, error.status)
            except ClientDisconnect:
                response = Response(status_code=400)
            except asyncio.CancelledError:  # Ctrl-C, while the rest of a request was awaited
                response = Response(status_code=503)
            response.headers.update(HEADERS)
            return response

        return answer

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", "models": [model.name for model in self._models]})

    async def _examples(self, _: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(_test_examples))

    async def _predict(self, request: Request) -> Response:
        """One picture, or several as files of a form: the JSON of `src.predict --json`."""
        pictures = await _pictures(request)
        predictions = await self._batchers[0].ask(pictures)
        text = "".join(as_json(predictions, self._models[0].classifier.class_names))
        failed = all(one.problem for one in predictions)
        return Response(text, 422 if failed else 200, media_type="application/json")

    async def _look(self, request: Request) -> Response:
        """One picture: what every model says of it, or why not, what it was shown, its feature maps."""
        pictures = (await _pictures(request))[:1]
        answers = await asyncio.gather(*(batcher.ask(pictures) for batcher in self._batchers))
        found = await asyncio.to_thread(self._described, [answer[0] for answer in answers])
        return JSONResponse(found)

    def _described(self, predictions: list[Prediction]) -> list[dict[str, Any]]:
        pairs = zip(self._models, predictions, strict=True)
        return [described(model, one) for model, one in pairs]


def _static(name: str) -> Endpoint:
    content = (FOLDER / name).read_bytes()

    async def answer(_: Request) -> Response:
        return Response(content, media_type=TYPES[Path(name).suffix])

    return answer


class _Form(MultiPartParser):
    """Notes whether the closing boundary was found: without it, the parser leaves out the last file.

    Attributes:
        complete: whether it was.
    """

    complete = False

    def on_end(self) -> None:
        self.complete = True


async def _pictures(request: Request) -> Pictures:
    """The pictures of a request: its body, or the files of a form.

    Raises:
        RefusedError: there is none, or there are too many, or it is no form, or not a whole one.
    """
    body = await read_body(request)
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        if not body:
            raise RefusedError(400, "no picture; expected one as the body, or files of multipart/form-data")
        return [("picture", body)]

    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        parser = _Form(request.headers, whole(), max_files=MAX_PICTURES)
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        why = getattr(error, "message", "") or "damaged"
        raise RefusedError(400, f"not a form of files: {why}") from None
    if not parser.complete:
        raise RefusedError(400, "not a whole form; expected its closing boundary")
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not files:
        raise RefusedError(400, "no file in the form; expected pictures")
    return [(printable(file.filename or "picture"), await file.read()) for file in files]


def _test_examples() -> list[dict[str, Any]]:
    """The test images that `evaluate` chose, the most confident mistakes first; none where there are none."""
    try:
        examples = load_examples(EXAMPLES)
        rows = read_table(PREDICTIONS).set_index("index")
        return [
            {
                "index": int(index),
                "actual": rows.loc[index, "actual"],
                "wrong": bool(rows.loc[index, "actual"] != rows.loc[index, "predicted"]),
                "image": data_url(np.asarray(image)),
            }
            for index, image in zip(examples.indices, examples.images, strict=True)
        ]
    except (UserError, FileNotFoundError, KeyError, ValueError):  # damaged, or just being written
        return []
