"""Several prompts at once: LangChain's own `generate` takes one after the other, and its `batch` as many as it has
threads for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ContextThreadPoolExecutor

_MOST = 64
"""Threads."""


def generated_at_once(
    generate: Callable[..., LLMResult], prompts: Sequence[Any], *args: Any, **kwargs: Any
) -> LLMResult:
    """`generate` for each prompt in a thread of its own, and the results as one."""
    if len(prompts) < 2:
        return generate(prompts, *args, **kwargs)
    run_id = kwargs.pop("run_id", None)
    with ContextThreadPoolExecutor(min(len(prompts), _MOST)) as pool:
        jobs = [
            pool.submit(generate, [prompt], *args, run_id=run_id if i == 0 else None, **kwargs)
            for i, prompt in enumerate(prompts)
        ]
        results = [job.result() for job in jobs]
    return LLMResult(
        generations=[result.generations[0] for result in results],
        llm_output=results[0].llm_output,
        run=[run for result in results for run in result.run or ()],
    )


def at_once(config: RunnableConfig | list[RunnableConfig] | None, count: int) -> RunnableConfig | list[RunnableConfig]:
    """The same config, with room for `count` inputs unless it says how many may run."""
    room = RunnableConfig(max_concurrency=min(max(count, 1), _MOST))
    if isinstance(config, list):
        return [{**room, **each} for each in config]
    return {**room, **(config or {})}
