"""Embedders: an encoder in this process, in one of its own, at a server."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from specdec.embeddings import shared_embedder
from specdec.embeddings.process import ProcessEmbedder
from specdec.embeddings.remote import RemoteEmbedder
from specdec.errors import CheckpointCorrupt, CheckpointNotFound, EngineClosed, EngineFailed, InvalidRequest
from tests.embeddings.encoders import CountingEmbedder, save_encoder
from tests.fakes import ScriptedEngine
from tests.specdec_server.live import LiveServer, live, wait_until

TEXTS = ["the fox leaves the den", "when does the ferry leave", "the fox"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.mark.slow  # sentence-transformers alone takes seconds to import
def test_an_encoder_here_and_in_a_process_of_its_own(encoder: Path) -> None:
    local, apart = shared_embedder(str(encoder), device="cpu"), ProcessEmbedder(str(encoder), "cpu")
    here = local.embed(TEXTS)
    assert here.tokens == 5 + 5 + 2
    assert len(here.vectors) == 3 and all(len(vector) == 16 for vector in here.vectors)
    assert all(math.isclose(math.hypot(*vector), 1, rel_tol=1e-6) for vector in here.vectors)
    for text, vector in zip(TEXTS, here.vectors, strict=True):
        assert local.embed([text]).vectors[0] == pytest.approx(vector, abs=1e-5), "whatever stands beside it"
    short = local.embed(TEXTS[:1], dimensions=4).vectors[0]
    scale = math.hypot(*here.vectors[0][:4])
    assert short == pytest.approx([x / scale for x in here.vectors[0][:4]], abs=1e-6)
    with pytest.raises(InvalidRequest, match="dimensions is 17; expected a whole number from 1 to 16"):
        local.embed(TEXTS, dimensions=17)
    assert local.embed(["the fox " * 50]).tokens == 8, "as much as it reads"
    try:
        assert apart.embed(TEXTS).vectors == here.vectors
        assert apart._process is not None
        (pid,) = apart._process._processes
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not apart._process or apart._process._broken)
        with pytest.raises(EngineFailed):
            apart.embed(TEXTS[:1])
        assert apart.embed(TEXTS[:1]).vectors[0] == pytest.approx(here.vectors[0], abs=1e-5)
    finally:
        apart.close()
    with pytest.raises(EngineClosed):
        apart.embed(TEXTS)


@pytest.mark.slow
def test_what_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound, match="none is no folder"):
        shared_embedder(str(tmp_path / "none"), device="cpu")
    with pytest.raises(CheckpointCorrupt, match="cannot be loaded as an encoder"):
        shared_embedder(str(tmp_path), device="cpu")


@pytest.fixture(scope="module")
def counting() -> CountingEmbedder:
    return CountingEmbedder()


@pytest.fixture(scope="module")
def server(counting: CountingEmbedder) -> Iterator[LiveServer]:
    with live(ScriptedEngine(), embedder=counting) as server:
        yield server


def test_a_servers(server: LiveServer, counting: CountingEmbedder) -> None:
    url = f"http://127.0.0.1:{server.port}/v1"
    remote, other = RemoteEmbedder(url, "counting", ""), RemoteEmbedder(url, "other", "")
    assert remote.embed(TEXTS) == counting.embed(TEXTS)
    assert remote.embed(TEXTS[:1], "query", 4) == counting.embed(TEXTS[:1], "query", 4)
    assert counting.seen[-2] == counting.seen[-1] == ((TEXTS[0],), "query")
    with pytest.raises(EngineFailed, match=r"400: .*from 1 to 14"):
        remote.embed(TEXTS, dimensions=15)
    with pytest.raises(EngineFailed, match=r"404: .*'counting'"):
        other.embed(TEXTS)
    remote.close()
    other.close()


def test_no_server() -> None:
    with pytest.raises(EngineFailed, match="gives no vectors"):
        RemoteEmbedder("http://127.0.0.1:9", "x", "").embed(TEXTS)


def test_one_for_all_who_name_the_same() -> None:
    one = shared_embedder("counting", "http://127.0.0.1:9/v1")
    assert shared_embedder("counting", "http://127.0.0.1:9/v1") is one
    assert shared_embedder("counting", "http://127.0.0.1:9/v1", "key") is not one
