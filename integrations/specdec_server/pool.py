"""The models that the server answers with, by name. Each is an engine of its own, loaded when somebody asks for it.

A model that nobody asks leaves the memory after a while (`Settings.idle_unload`), or when another one needs its place.
One that still answers is left to finish; who asks for it meanwhile waits until it is loaded again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from specdec.engine import Engine, Progress
from specdec.errors import EngineClosed, InvalidRequest, NotEnoughMemory, SpecDecError
from specdec.types import EngineStats, Request
from specdec_server.errors import Refusal, shutting_down, unavailable
from specdec_server.logs import line, log
from specdec_server.metrics import ServerMetrics
from specdec_server.runs import Run, Runs
from specdec_server.settings import Settings

ModelState = Literal["ready", "loading", "unloaded", "failed"]


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model as an operator names it."""

    name: str
    load: Callable[[Progress], Engine]
    """Makes its engine, in a thread. What it raises from its progress ends the loading."""
    aliases: tuple[str, ...] = ()


class HostedModel:
    """One model: its names, and its answers while it is loaded."""

    def __init__(self, named: NamedModel) -> None:
        self.name, self.aliases, self.load = named.name, named.aliases, named.load
        self.runs: Runs | None = None
        self.loading: asyncio.Task[Runs] | None = None
        self.waiting = 0
        """Requests that wait until it is loaded."""
        self.begun = asyncio.Event()
        """Set while no request waits."""
        self.failed = False
        self.too_large = False
        """It did not fit beside nothing else."""

    @property
    def state(self) -> ModelState:
        if self.runs:
            return "failed" if self.runs.engine.down else "ready"
        if self.loading:
            return "loading"
        return "failed" if self.failed else "unloaded"


class ModelPool:
    """All models of one server; the first is the one of requests that name none. Lives in one event loop."""

    def __init__(self, models: Sequence[NamedModel], settings: Settings | None = None) -> None:
        self.settings, self.metrics = settings or Settings(), ServerMetrics()
        self.models = [HostedModel(model) for model in models]
        self.default = self.models[0]
        self._names: dict[str, HostedModel] = {}
        for model in self.models:
            for name in (model.name, *model.aliases):
                if self._names.setdefault(name, model) is not model:
                    raise InvalidRequest("model", name, "a name that no other model has")
        self.draining = False
        self._changing = asyncio.Lock()
        """Held while a model is loaded or unloaded: two at once would each count on the same memory."""
        self._leaving: Runs | None = None
        """The last answers of a model that is being unloaded."""
        self._unloading: set[asyncio.Task[None]] = set()

    @classmethod
    def of(cls, engine: Engine, settings: Settings | None = None) -> ModelPool:
        """One model, which is loaded already and stays its owner's."""
        settings = settings or Settings()
        target = engine.info.target  # a folder goes by its last name alone: where it lies is nobody's business
        name = settings.model or (Path(target).resolve().name if Path(target).exists() else target)
        pool = cls([NamedModel(name, lambda _: engine)], settings)
        pool.default.runs = Runs(engine, settings, pool.metrics)
        return pool

    @property
    def names(self) -> list[str]:
        return list(self._names)

    def find(self, asked: str | None) -> HostedModel:
        """The model that a client asks for. Raises Refusal."""
        model = self.default if asked is None else self._names.get(asked)
        if model is None and self.settings.any_name:
            return self.default
        if model is None:
            message = f"there is no such model; this server has {', '.join(map(repr, self._names))}"
            raise Refusal(404, message, code="model_not_found", param="model")
        return model

    async def start(self, model: HostedModel, run: Run) -> None:
        """As Runs.start, of a model that may have to be loaded first. Raises Refusal where it cannot be."""
        await (await self._runs(model)).start(run)

    async def tokenize(self, model: HostedModel, request: Request) -> tuple[int, ...]:
        """The tokens of a prompt, its tools included."""
        return await (await self._runs(model)).tokenize(request)

    def loaded(self) -> Iterator[Runs]:
        """Of the models that are in memory."""
        yield from (model.runs for model in self.models if model.runs)
        if self._leaving:
            yield self._leaving

    def stats(self) -> tuple[EngineStats, int]:
        """What runs and waits, and the slots, of all models that are loaded."""
        loaded = list(self.loaded())
        each = [runs.engine.stats() for runs in loaded]
        active, queued = (sum(getattr(stats, name) for stats in each) for name in ("active", "queued"))
        return EngineStats(active=active, queued=queued), sum(runs.engine.info.slots for runs in loaded)

    def check_ready(self) -> None:
        """Raises Refusal while the server shuts down, and EngineClosed if no model could answer now."""
        if self.draining:
            raise shutting_down()
        errors: list[EngineClosed] = []
        for runs in self.loaded():
            try:
                runs.check_ready()
            except EngineClosed as error:
                errors.append(error)
        if errors and len(errors) == len(self.models):
            raise errors[0]

    def drain(self, grace: float) -> None:
        """Take no more requests; what still runs after `grace` seconds is ended."""
        self.draining = True
        for runs in self.loaded():
            runs.drain(grace)

    def close(self) -> None:
        """End the engines that the pool loaded itself."""
        for runs in self.loaded():
            runs.engine.close()

    async def _runs(self, model: HostedModel) -> Runs:
        if self.draining:
            raise shutting_down()
        if model.runs:
            return model.runs
        if model.loading is None:
            model.loading = asyncio.create_task(self._load(model))
            model.loading.add_done_callback(lambda task: task.exception())  # whoever asked may have left
        model.waiting += 1
        model.begun.clear()
        try:
            async with asyncio.timeout(self.settings.request_seconds):
                return await asyncio.shield(model.loading)
        except TimeoutError:
            message = f"{model.name} was not loaded within {self.settings.request_seconds:g} s"
            raise Refusal(504, message, code="timeout", headers={"x-should-retry": "false"}) from None
        finally:
            model.waiting -= 1
            if not model.waiting:
                model.begun.set()

    async def _load(self, model: HostedModel) -> Runs:
        try:
            async with self._changing:
                model.failed = True  # until it is loaded
                model.runs = Runs(await self._engine(model), self.settings, self.metrics)
                model.failed = False
        finally:
            model.loading = None
        if self.draining:
            model.runs.drain(self.settings.grace)
        log.info(line("model_loaded", {"model": model.name}))
        if seconds := self.settings.idle_unload:
            asyncio.get_running_loop().call_later(seconds, self._leave_if_idle, model, model.runs, seconds)
        return model.runs

    async def _engine(self, model: HostedModel) -> Engine:
        """Its engine, for which others leave as need be. Raises Refusal."""

        def progress(_stage: str, _fraction: float) -> None:
            if self.draining:
                raise shutting_down()

        while True:
            others = [other for other in self.models if other.runs]
            if len(others) >= self.settings.max_loaded:
                await self._unload(_first_to_go(others))
                continue
            try:
                if model.too_large:
                    raise NotEnoughMemory(f"{model.name} does not fit, even alone")
                return await asyncio.to_thread(model.load, progress)
            except Refusal:
                raise
            except SpecDecError as error:
                small = isinstance(error, NotEnoughMemory)
                if small and others and not model.too_large:
                    await self._unload(_first_to_go(others))
                    continue
                model.too_large = small
                log.error(line("model_failed", {"model": model.name, "why": error}))
                message = f"{model.name} could not be loaded; the server's log says why"
                raise unavailable(message, "model_failed") from error

    async def _unload(self, model: HostedModel) -> None:
        """Under the lock. Its last answers are waited for; new requests find it unloaded, and wait for the lock."""
        if model.runs is None:
            return
        if model.waiting:
            await model.begun.wait()  # whoever waited for it has its turn before it leaves
        self._leaving, model.runs = model.runs, None
        await self._leaving.finished()
        await asyncio.to_thread(self._leaving.engine.close)
        self._leaving = None
        log.info(line("model_unloaded", {"model": model.name}))

    def _leave_if_idle(self, model: HostedModel, runs: Runs, seconds: float) -> None:
        """Unload a model that nobody has used for `seconds`; else look again when that may be so."""
        if model.runs is not runs or self.draining:
            return
        if (left := seconds - runs.idle_seconds) > 0:
            asyncio.get_running_loop().call_later(left, self._leave_if_idle, model, runs, seconds)
            return

        async def leave() -> None:
            async with self._changing:
                if model.runs is runs and runs.idle_seconds >= seconds:
                    await self._unload(model)

        task = asyncio.create_task(leave())
        self._unloading.add(task)
        task.add_done_callback(self._unloading.discard)


def _first_to_go(models: Sequence[HostedModel]) -> HostedModel:
    """The one that has been idle for longest; 0 seconds are those that answer."""
    return max(models, key=lambda model: model.runs.idle_seconds if model.runs else 0.0)
