"""What local servers have been attacked with, sent for real: refused within two seconds, and the server lives on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import pytest

from specdec_server import Settings
from tests.fakes import ScriptedEngine
from tests.specdec_server.client import CHAT, JSON, error_of
from tests.specdec_server.live import LiveServer, live, read_all, request, wait_until

PATH = "/v1/chat/completions"
SECONDS = 2.0
"""Of processor time, which a busy machine hardly changes."""
HANGING = 30.0


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with live(ScriptedEngine()) as server:
        yield server


@pytest.fixture(autouse=True)
def lives_on(server: LiveServer) -> Iterator[None]:
    """Each attack is over in time, and the next request is answered."""
    begun, busy = time.monotonic(), time.process_time()
    yield
    assert time.process_time() - busy < SECONDS
    assert time.monotonic() - begun < HANGING
    answer = server.post(PATH, CHAT)
    assert answer.status_code == 200 and answer.json()["choices"][0]["finish_reason"] == "stop"
    assert server.app.state.pool.default.runs.answers == 0


def status(server: LiveServer, raw: bytes) -> int:
    """Of the answer to these bytes, after which the connection is closed."""
    with server.send(raw) as connection:
        answer = connection.recv(65536)
    assert b"Traceback" not in answer
    return int(answer.split()[1])


def requests_seen(server: LiveServer) -> int:
    return len(server.app.state.pool.default.runs.engine.requests)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example:8", "[::2]", "", "0.0.0.0"],
)
def test_dns_rebinding(server: LiveServer, host: str) -> None:
    seen = requests_seen(server)
    assert status(server, request(PATH, CHAT, host)) == 403
    assert requests_seen(server) == seen


def test_two_hosts(server: LiveServer) -> None:
    raw = request(PATH, CHAT).replace(b"Host: 127.0.0.1\r\n", b"Host: 127.0.0.1\r\nHost: evil.example\r\n")
    assert status(server, raw) in (400, 403)


def test_no_host(server: LiveServer) -> None:
    assert status(server, request(PATH, CHAT).replace(b"Host: 127.0.0.1\r\n", b"")) in (400, 403)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "file://"])
def test_foreign_page(server: LiveServer, origin: str) -> None:
    seen = requests_seen(server)
    assert status(server, request(PATH, CHAT, Origin=origin)) == 403
    assert requests_seen(server) == seen


def test_foreign_preflight_gets_no_permission(server: LiveServer) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = server.client.options(PATH, headers=headers)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_no_answer_is_readable_across_origins(server: LiveServer) -> None:
    answer = server.client.get("/v1/models")
    assert "access-control-allow-origin" not in answer.headers


def test_foreign_image(server: LiveServer) -> None:
    """A page's <img> or <script> has no Origin; browsers say so in another header."""
    assert server.client.get("/v1/models", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_form_of_a_page(server: LiveServer, kind: str) -> None:
    """What pages may send without asking is not taken for JSON."""
    answer = server.client.post(PATH, content=json.dumps(CHAT), headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert error_of(answer)["message"] == f"the Content-Type header is '{kind}'; expected application/json"


def test_no_content_type(server: LiveServer) -> None:
    answer = server.client.post(PATH, content=json.dumps(CHAT))
    assert answer.status_code == 400
    assert error_of(answer)["message"] == "the Content-Type header is missing; expected application/json"


@pytest.mark.parametrize("n", [129, 10**6, 10**30, -1, 0, 1.5, True, "8"])
def test_choices(server: LiveServer, n: object) -> None:
    assert server.post(PATH, CHAT | {"n": n}).status_code == 400


@pytest.mark.parametrize(
    "field",
    ["temperature", "top_p", "top_k", "min_p", "max_tokens", "seed", "presence_penalty", "min_tokens"],
)
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e308", "9" * 400, "9" * 5000, '"1"'])
def test_numbers(server: LiveServer, field: str, number: str) -> None:
    body = f'{{"messages": [{{"role": "user", "content": "x"}}], "{field}": {number}}}'
    answer = server.client.post(PATH, content=body, headers={"Content-Type": "application/json"})
    # a seed of any size is a seed
    assert answer.status_code == 400 or (field == "seed" and answer.status_code == 200), answer.text


def test_token_ids_of_any_size(server: LiveServer) -> None:
    assert server.post(PATH, CHAT | {"logit_bias": {"9" * 30: 1}}).status_code == 400
    assert server.post(PATH, CHAT | {"logit_bias": {"²": 1}}).status_code == 400
    assert server.post("/v1/completions", {"prompt": [-1]}).status_code in (200, 400)


def test_huge_headers(server: LiveServer) -> None:
    raw = request(PATH, CHAT, X_Long="a" * 200_000)
    assert status(server, raw) in (400, 431)


def test_endless_headers(server: LiveServer) -> None:
    raw = b"GET /health HTTP/1.1\r\n" + b"".join(b"X-%d: a\r\n" % i for i in range(20_000))
    assert status(server, raw) in (400, 431)


def test_huge_body(server: LiveServer) -> None:
    answer = server.client.post(PATH, content=b"a" * 5_000_000, headers={"Content-Type": "application/json"})
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (413, "body_too_large")
    assert error["message"] == "the body is 5000000 bytes long; expected at most 4194304"
    assert server.client.request("GET", "/health", content=b"a" * 5_000_000).status_code == 413


def test_the_longest_body_is_read(server: LiveServer) -> None:
    body = json.dumps(CHAT).encode()
    body += b" " * (Settings().body - len(body))
    answer = server.client.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200


def test_huge_body_of_unsaid_length(server: LiveServer) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(80):
            yield b"a" * 65536

    answer = server.client.post(PATH, content=parts(), headers={"Content-Type": "application/json"})
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (413, "body_too_large")
    assert error["message"] == "the body is more than 4194304 bytes long; expected at most 4194304"


def test_body_shorter_than_said(server: LiveServer) -> None:
    with server.send(request(PATH, CHAT).replace(b"Content-Length: ", b"Content-Length: 9")) as connection:
        connection.shutdown(1)
        assert b"200 OK" not in read_all(connection)


@pytest.mark.parametrize("depth", [500, 100_000])
@pytest.mark.parametrize("form", ["[", '{"a":'])
def test_deep_json(server: LiveServer, form: str, depth: int) -> None:
    answer = server.client.post(PATH, content=form * depth, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"null", b"[]", b"1", b'{"messages": 1}', b'"a"'])
def test_no_request_at_all(server: LiveServer, body: bytes) -> None:
    answer = server.client.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and "error" in answer.json()


def test_unpaired_surrogates(server: LiveServer) -> None:
    tool = '{"type": "function", "function": {"name": "f", "parameters": {"\\ud800": 1}}}'
    for text in (
        '{"messages": [{"role": "user", "content": "\\ud800"}]}',
        '{"messages": [{"role": "user", "content": "x"}], "tools": [' + tool + "]}",
    ):
        answer = server.client.post(PATH, content=text, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"chat_template": "{{ ''.__class__.__mro__[1].__subclasses__() }}"},
        {"chat_template_kwargs": {"chat_template": "{% for i in range(10**9) %}{% endfor %}"}},
        {"documents": [{}]},
        {"extra_body": {"chat_template": "x"}},
    ],
)
def test_templates_of_clients(server: LiveServer, fields: JSON) -> None:
    assert server.post(PATH, CHAT | fields).status_code == 400


def test_too_many_of_everything(server: LiveServer) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    for fields in (
        {"messages": [{"role": "user", "content": "x"}] * 5000},
        {"stop": ["x"] * 17},
        {"stop": ["x" * 1001]},
        {"logprobs": True, "top_logprobs": 21},
        {"logit_bias": {str(i): 1 for i in range(1025)}},
        {"tools": [tool] * 129},
        {"max_tokens": 2**40},
    ):
        assert server.post(PATH, CHAT | fields).status_code == 400, fields


@pytest.mark.parametrize("kind", ["a\r\nX-Evil: 1", "é", "a" * 10_000, "a,b", ""])
def test_what_is_ignored_forges_no_header(server: LiveServer, kind: str) -> None:
    answer = server.post(PATH, CHAT | {"tools": [{"type": kind}]})
    assert answer.status_code == 200 and answer.headers["x-specdec-ignored"] == "tools.other"
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize(
    "junk", [None, 1, "x", [], {}, [1], ["x"], [[]], [{}], {"type": 1}, {"type": {}}, [{"type": []}]]
)
@pytest.mark.parametrize("path", [PATH, "/v1/responses", "/v1/messages"])
def test_any_value_anywhere(server: LiveServer, path: str, junk: object) -> None:
    """What is mapped is yet unchecked."""
    message = {
        "role": "assistant",
        "content": junk,
        "tool_calls": junk,
        "reasoning_details": junk,
        "tool_call_id": junk,
    }
    chat = "messages input tools tool_choice response_format chat_template_kwargs max_tokens top_k reasoning thinking"
    for name in [*chat.split(), "metadata", "output_config", "system", "text"]:
        assert server.post(path, CHAT | {"input": "a", name: junk}).status_code in (200, 400)
    for messages in ([message, message], [message | {"role": "tool"}], [message | {"role": junk}]):
        assert server.post(path, {"messages": messages, "input": messages}).status_code in (200, 400)


def test_schema_bombs(server: LiveServer) -> None:
    """Depth is refused here; what compiles too long the engine refuses, which its own tests hold."""
    schema: JSON = {"type": "integer"}
    for _ in range(150):
        schema = {"type": "object", "properties": {"a": schema}}
    wide = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(8000)}}
    for bomb in (schema, wide):
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": bomb}}
        assert server.post(PATH, CHAT | {"response_format": wanted}).status_code == 400


def test_paths(server: LiveServer) -> None:
    for path in (
        "/v1/models/../../etc/passwd",
        "/v1/models/%2e%2e%2f%2e%2e%2fetc/passwd",
        "//evil",
        "/v1/models/%00",
        "/static/x",
    ):
        assert server.client.get(path).status_code == 404
    assert status(server, b"GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n") == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "TRACE", "PATCH"])
def test_methods(server: LiveServer, method: str) -> None:
    assert server.client.request(method, PATH).status_code == 405


def test_no_http(server: LiveServer) -> None:
    assert status(server, b"\x16\x03\x01\x02\x00\x01\x00" + b"\x00" * 600 + b"\r\n\r\n") == 400
    with server.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") as connection:
        assert b"200" not in connection.recv(1000)


def test_smuggling(server: LiveServer) -> None:
    raw = request(PATH, CHAT, Transfer_Encoding="chunked")
    seen = requests_seen(server)
    assert status(server, raw) == 400
    assert requests_seen(server) == seen


def test_upgrade_to_a_websocket(server: LiveServer) -> None:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "x",
    }
    assert server.client.get("/v1/models", headers=headers).status_code == 200


def test_forged_log_lines(server: LiveServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "specdec.server"):
        assert server.client.get("/x%0Arequest%20id=forged%20status=200").status_code == 404
        wait_until(lambda: any("forged" in r.getMessage() for r in caplog.records))  # it comes behind the answer
    (line,) = [r.getMessage() for r in caplog.records if "forged" in r.getMessage()]
    assert "\n" not in line and 'path="/x\\nrequest id=forged status=200"' in line


@pytest.fixture(scope="module")
def closed() -> Iterator[LiveServer]:
    with live(ScriptedEngine(), Settings(keys={"ann": "s3cret", "bob": "0ther"}, grace=0.2)) as server:
        yield server


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "Bearer",
        "Bearer s3cre",
        "Bearer s3crets",
        "Basic s3cret",
        "s3cret",
        "Bearer \xe9",
    ],
)
def test_wrong_key(closed: LiveServer, value: str | None) -> None:
    headers = {} if value is None else {b"Authorization": value.encode("latin-1")}
    seen = requests_seen(closed)
    answer = closed.client.post(PATH, json=CHAT, headers=httpx.Headers(headers))
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert "s3cret" not in answer.text
    assert requests_seen(closed) == seen


def test_right_key(closed: LiveServer) -> None:
    for path in ("/v1/models", "/metrics"):
        assert closed.client.get(path).status_code == 401
        for headers in ({"Authorization": "Bearer s3cret"}, {"api-key": "0ther"}, {"x-api-key": "s3cret"}):
            assert closed.client.get(path, headers=headers).status_code == 200


def test_keys_have_names(closed: LiveServer, caplog: pytest.LogCaptureFixture) -> None:
    """In the log, and among those who wait for a slot."""
    with caplog.at_level("INFO", "specdec.server"):
        assert closed.client.post(PATH, json=CHAT, headers={"api-key": "0ther"}).status_code == 200
        wait_until(lambda: " key=bob " in caplog.text)
    assert "0ther" not in caplog.text
    assert closed.app.state.pool.default.runs.engine.requests[-1].client == "bob"


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_the_key_as_anthropics_clients_send_it(closed: LiveServer, path: str) -> None:
    for headers in ({}, {"x-api-key": "s3cre"}, {"x-api-key": "s3crets"}, {"Authorization": "Bearer x"}):
        refused = closed.client.post(path, json=CHAT, headers=headers)
        assert refused.status_code == 401 and "s3cret" not in refused.text
        assert refused.json()["error"]["type"] == "authentication_error"
    for right in ({"x-api-key": "s3cret"}, {"Authorization": "Bearer s3cret", "x-api-key": "x"}):
        assert closed.client.post(path, json=CHAT, headers=right).status_code == 200


def test_supervisors_need_no_key(closed: LiveServer) -> None:
    assert closed.client.get("/health").status_code == closed.client.get("/ready").status_code == 200


def test_key_is_compared_in_constant_time(closed: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by measuring, which no test can rely on: the comparison is the one that is made for it."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return False

    monkeypatch.setattr("specdec_server.guard.hmac.compare_digest", compare)
    closed.client.get("/v1/models", headers={"Authorization": "Bearer x"})
    assert compared == [(b"x", b"s3cret"), (b"x", b"0ther")]


PAGE = "https://app.example"


@pytest.fixture(scope="module")
def open_to_page() -> Iterator[LiveServer]:
    with live(ScriptedEngine(), Settings(origins=(PAGE,), keys={"ann": "k"}, grace=0.2)) as server:
        yield server


def test_named_page(open_to_page: LiveServer) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    preflight = open_to_page.client.options(PATH, headers=asked | {"Origin": PAGE})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == PAGE
    headers = {"Origin": PAGE, "Authorization": "Bearer k"}
    answer = open_to_page.client.post(PATH, json=CHAT, headers=headers)
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == PAGE


def test_page_with_a_name_like_it(open_to_page: LiveServer) -> None:
    headers = {"Origin": "https://app.example.evil", "Authorization": "Bearer k"}
    assert open_to_page.client.post(PATH, json=CHAT, headers=headers).status_code == 403
