"""`specdec cluster`: a vLLM over several GPUs and hosts, in our words."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from specdec.cli import options as o
from specdec.cli.jsonable import print_json
from specdec.cli.screen import facts_table, stderr, stdout, working
from specdec.cluster.spec import Cluster
from specdec.errors import InvalidRequest

Action = Literal["show", "compose", "kubernetes", "plan", "launch"]
_spread = partial(typer.Option, rich_help_panel="How it is spread")
_network = partial(typer.Option, rich_help_panel="Network")
_launching = partial(typer.Option, rich_help_panel="launch")


@o.command
def cluster(
    ctx: typer.Context,
    action: Annotated[
        Action,
        typer.Argument(help="show the command lines; write compose or kubernetes files; plan; launch on this host."),
    ],
    target: Annotated[str, typer.Option(help=o.LOADING["target"])],
    draft: Annotated[
        str, typer.Option(help="What drafts: none, lookup, a folder or a hub id (EAGLE heads too).")
    ] = "none",
    k: Annotated[int, typer.Option("--k", help="Drafted tokens a round.")] = 4,
    context: Annotated[int | None, typer.Option(help=o.LOADING["context"])] = None,
    dtype: Annotated[str, typer.Option(help=o.LOADING["dtype"])] = "auto",
    tools: Annotated[str | None, typer.Option(help="Parser of tool calls: hermes, llama3_json, mistral, ...")] = None,
    reasoning: Annotated[str | None, typer.Option(help="Parser of reasoning: qwen3, deepseek_r1, ...")] = None,
    tensor: Annotated[int, _spread(help="GPUs that share each layer.")] = 1,
    pipeline: Annotated[int, _spread(help="Groups of GPUs that share the layers.")] = 1,
    data: Annotated[int, _spread(help="Whole copies.")] = 1,
    nodes: Annotated[int, _spread(help="Hosts, each with as many GPUs.")] = 1,
    head: Annotated[str, _network(help="The first host, as the others reach it.")] = "127.0.0.1",
    host: Annotated[str, _network(help="Where the first host listens; 0.0.0.0 is everywhere.")] = "127.0.0.1",
    port: Annotated[int, _network(help="HTTP port of the first host.")] = 8000,
    master_port: Annotated[int, _network(help="Where the hosts find one another.")] = 29501,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the files; none prints them.", rich_help_panel="compose, kubernetes"),
    ] = None,
    gpu: Annotated[str, typer.Option(help="h100, l4, ...", rich_help_panel="plan")] = "h100",
    json: o.Json = False,
    rank: Annotated[int | None, _launching(help="Start this node alone; none starts all of them here.")] = None,
    vllm: Annotated[str, _launching(help="How vLLM is called here.")] = "vllm",
    patience: Annotated[float, _launching(help="Seconds until it must answer.")] = 1800.0,
) -> None:
    """Put a target and its draft on vLLM, over GPUs and hosts. Options behind -- go to vLLM as they are."""
    spread, network = (tensor, pipeline, data, nodes), (head, host, port, master_port)
    wanted = Cluster(target, draft, k, *spread, *network, context, dtype, tools, reasoning, tuple(ctx.args))
    if action == "plan":
        _plan(wanted, gpu, json=json)
    elif action == "launch":
        _launch(wanted, rank, shlex.split(vllm), patience)
    else:
        _write(wanted, action, output)


@o.command
def router(
    kind: Annotated[
        Literal["vllm-router", "haproxy", "nginx"],
        typer.Argument(help="vllm-router: a command line; the others: a configuration file."),
    ],
    servers: Annotated[list[str], typer.Argument(help="http://node-1:8000 http://node-2:8000 ...")],
    port: Annotated[int, typer.Option(help="Where the router listens.")] = 8080,
    host: Annotated[str, typer.Option(help="Address that it listens on; 0.0.0.0 is everywhere.")] = "127.0.0.1",
) -> None:
    """Put several servers behind one address, by a router that exists."""
    from specdec.cluster.router import router as written

    typer.echo(written(kind, servers, port, host), nl=False)


def _write(wanted: Cluster, action: Action, folder: Path | None) -> None:
    """The files of `action` into the folder, or onto the screen."""
    nodes = range(wanted.nodes)
    if wanted.nodes > 1 and wanted.loopback and action != "kubernetes":
        expected = "the first host's address as the others reach it, for nodes is more than 1"
        raise InvalidRequest("head", wanted.head, expected)
    if action == "kubernetes":
        from specdec.cluster.kubernetes import kubernetes

        files = {"kubernetes.yaml": kubernetes(wanted)}
    elif action == "compose":
        from specdec.cluster.compose import compose

        files = {f"node{rank}/compose.yaml": compose(wanted, rank) for rank in nodes}
    else:
        from specdec.cluster.vllm import arguments, shell

        files = {f"node{rank}.sh": shell(["vllm", "serve", *arguments(wanted, rank)]) + "\n" for rank in nodes}
    for name, text in files.items():
        if folder is None:
            typer.echo(f"# {name}\n{text}" if len(files) > 1 else text, nl=False)
            continue
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InvalidRequest("output", str(folder), f"a folder that can be written ({error.strerror})") from None
        stderr().print(f"wrote {path}", style="dim")


def _launch(wanted: Cluster, rank: int | None, program: list[str], patience: float) -> None:
    from specdec.cluster.launch import running, url, wait_ready, watch
    from specdec.loading import load

    if rank is not None and not 0 <= rank < wanted.nodes:
        raise InvalidRequest(
            "rank", rank, f"a whole number from 0 to {wanted.nodes - 1}, since nodes is {wanted.nodes}"
        )
    if rank is None and not wanted.loopback:
        raise InvalidRequest("rank", rank, f"the number of this host, since head is {wanted.head}")
    with running(wanted, range(wanted.nodes) if rank is None else [rank], program) as nodes:
        if nodes[0].rank == 0:
            with working("waiting for vLLM"):
                wait_ready(wanted, nodes, seconds=patience)
                with load(url(wanted)) as engine:  # what happens only the first time happens now
                    engine.generate("Warm up.", max_tokens=2, temperature=0.0)
            stderr().print(f"ready: {url(wanted)} · Ctrl-C stops it", style="green")
        watch(nodes)


def _plan(wanted: Cluster, gpu: str, *, json: bool) -> None:
    from specdec.cluster.gpus import GIB
    from specdec.cluster.gpus import gpu as known
    from specdec.cluster.plan import plan
    from specdec.cluster.shape import shape

    target = shape(wanted.folder("target"), wanted.dtype)
    draft = None if wanted.draft in ("none", "lookup") else shape(wanted.folder("draft"), wanted.dtype)
    result = plan(wanted, target, draft, known(gpu))
    fits = f"{'yes' if result.fits else 'no'}: {result.cached_tokens} tokens a copy, {result.requests:.1f} contexts of "
    fits = f"{fits}{result.context}" if result.free > 0 else "no: the weights alone need more GPUs, or larger ones"
    hosts = f"{wanted.nodes} hosts of {wanted.gpus_per_node}" if wanted.nodes > 1 else "one host"
    left = max(result.free, 0.0) / GIB
    facts = {
        "GPUs": f"{wanted.gpus} x {result.gpu.name} ({result.gpu.memory / GIB:.0f} GiB), {hosts}",
        "weights": f"{result.target_weights / GIB:.1f} GiB a GPU, draft {result.draft_weights / GIB:.1f} GiB",
        "cache": f"{result.kv_per_token / 1024:.1f} KiB a token and GPU, {left:.1f} GiB left for it",
        "fits": fits,
        "plain, one request": f"at most {1 / result.round_seconds:.0f} tokens/s",
    }
    if wanted.speculates:
        facts["speculation pays"] = f"above an acceptance length of {result.pays_from:.2f} at k={wanted.k}"
        facts["up to about"] = f"{result.free_rows} requests at once a copy; with more, verifying costs more"
    if json:
        derived = ("fits", "cached_tokens", "requests")
        print_json(asdict(result) | {name: getattr(result, name) for name in derived})
    else:
        stdout().print(facts_table(facts))
    if not result.fits:
        raise typer.Exit(1)
