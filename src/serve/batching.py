"""Requests that wait are answered together: a network is faster on several pictures than on one."""

from __future__ import annotations

import asyncio
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from src.predict.classifiers import Classifier
from src.predict.predictions import Prediction, predict

Pictures = list[tuple[str, bytes]]


@dataclass(frozen=True)
class _Request:
    pictures: Pictures
    answer: asyncio.Future[list[Prediction]]


class Batcher:
    """Asks a model in a thread of its own, one batch at a time.

    Args:
        classifier: the model.
        most: pictures in a batch.
    """

    def __init__(self, classifier: Classifier, most: int) -> None:
        self._classifier, self._most = classifier, most
        self._waiting: asyncio.Queue[_Request] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1)
        self._has_ended = threading.Event()

    async def ask(self, pictures: Pictures) -> list[Prediction]:
        """The predictions of some pictures, in their order."""
        request = _Request(pictures, asyncio.get_running_loop().create_future())
        await self._waiting.put(request)
        return await request.answer

    async def work(self) -> None:
        """Answer requests until this is cancelled; a batch of many pictures then ends at the next of them."""
        try:
            await self._answer()
        finally:
            self._has_ended.set()

    async def _answer(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._waiting.get()]
            while sum(len(each.pictures) for each in batch) < self._most and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            pictures = [picture for request in batch for picture in request.pictures]
            try:
                answers = iter(await loop.run_in_executor(self._thread, self._predict, pictures))
                results = [[next(answers) for _ in request.pictures] for request in batch]
                for request, result in zip(batch, results, strict=True):
                    if not request.answer.done():  # its client may be gone
                        request.answer.set_result(result)
            except Exception as error:  # a defect: the server answers 500, and goes on
                for request in batch:
                    if not request.answer.done():
                        request.answer.set_exception(error)

    def _predict(self, pictures: Pictures) -> list[Prediction]:
        wanted = itertools.takewhile(lambda _: not self._has_ended.is_set(), pictures)
        return list(predict(wanted, self._classifier))
