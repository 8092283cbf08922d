"""A streamed answer of the endpoint, with nothing but an HTTP client. (`openai` and `anthropic` take its address too.)

specdec serve &
python examples/endpoint.py
"""

from __future__ import annotations

import argparse
import json

import httpx


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--prompt", default="Tell me a story about a fox.")
    args = parser.parse_args()

    body = {"messages": [{"role": "user", "content": args.prompt}], "stream": True, "temperature": 0, "max_tokens": 60}
    with httpx.stream("POST", f"{args.url}/chat/completions", json=body, timeout=60) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                for choice in json.loads(line.removeprefix("data: "))["choices"]:
                    print(choice["delta"].get("content") or "", end="", flush=True)
    print()


if __name__ == "__main__":
    main()
