"""Several servers behind one address, by routers that exist: their command line or their configuration.

- vllm-router: affinity to the server that has a prompt's prefix in its cache, until that has many more requests than
  another.
- HAProxy: affinity by how a chat begins, bounded: a server with more than its share gives way to the next.
- nginx: least loaded, nothing more; it does not look into requests.

None of them sends a request again once a server has got it, and none holds back the events of a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import Template
from typing import Literal, get_args

import httpx

from specdec.cluster.vllm import shell
from specdec.errors import InvalidRequest

Router = Literal["vllm-router", "haproxy", "nginx"]
_MOST_AHEAD = 8
"""Requests that vllm-router's busiest server may have more than the idlest. Its own default, 64, suits
servers that run hundreds at once; others would see one of them get nearly everything."""
_NGINX = Template("""\
worker_processes auto;
events { worker_connections 8192; }
http {
    upstream engines {
        least_conn;
$servers
        keepalive 64;
    }
    server {
        listen $host:$port;
        client_max_body_size 64m;
        location / {
            proxy_pass http://engines;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $$host;
            proxy_buffering off;  # events go on as they come
            proxy_next_upstream error timeout;  # a POST that was sent is never sent again
            proxy_connect_timeout 5s;
            proxy_read_timeout 600s;  # between two bytes of an answer: long prompts and queues
        }
    }
}
""")
_HAPROXY = Template("""\
global
    maxconn 8192
    tune.bufsize 1048576  # the beginning of a chat must fit

defaults
    mode http
    timeout connect 5s
    timeout client 600s  # between two bytes of an answer: long prompts and queues
    timeout server 600s
    option http-server-close

frontend specdec
    bind $host:$port
    default_backend engines

backend engines
    option http-buffer-request
    option httpchk GET /health
    # how a chat or a text begins: the same for all turns of one conversation
    http-request set-var(txn.first) req.body,json_query('$$.messages[0].content')
    http-request set-var(txn.second) req.body,json_query('$$.messages[1].content')
    http-request set-var(txn.text) req.body,json_query('$$.prompt'),bytes(0,256)
    http-request set-header X-Prefix %[var(txn.first),sha1,hex]%[var(txn.second),sha1,hex]%[var(txn.text),sha1,hex]
    balance hdr(X-Prefix)
    hash-type consistent sdbm avalanche
    hash-balance-factor 125  # percent of the mean load up to which a server keeps its prefixes
    option redispatch
    retries 1
    retry-on conn-failure  # never what a server has got
$servers
""")


def router(kind: Router, servers: Sequence[str], port: int, host: str) -> str:
    """What to run, or to write into the router's configuration file."""
    if kind not in get_args(Router):
        raise InvalidRequest("router", kind, "one of " + ", ".join(get_args(Router)))
    if not servers:
        raise InvalidRequest("server", list(servers), "at least one, such as http://node-1:8000")
    addresses = []
    for url in servers:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise InvalidRequest("server", url, f"a URL such as http://node-1:8000 ({error})") from None
        if parsed.scheme != "http" or not parsed.host or parsed.path not in ("/", "/v1", "/v1/"):
            raise InvalidRequest("server", url, "http, a host and a port, such as http://node-1:8000")
        addresses.append(f"{parsed.host}:{parsed.port or 80}")
    if kind == "vllm-router":
        words = ["vllm-router", "--policy", "cache_aware", "--balance-abs-threshold", str(_MOST_AHEAD)]
        words += ["--host", host, "--port", str(port), "--worker-urls", *(f"http://{each}" for each in addresses)]
        return f"{shell(words)}\n"
    if kind == "nginx":
        lines = [f"        server {each} max_fails=1 fail_timeout=5s;" for each in addresses]
        return _NGINX.substitute(host=host, port=port, servers="\n".join(lines))
    lines = [f"    server engine{i} {each} check" for i, each in enumerate(addresses)]
    return _HAPROXY.substitute(host=host, port=port, servers="\n".join(lines))
