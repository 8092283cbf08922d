"""An agent with two tools: the model calls them, reads what they return, and answers.

python examples/langchain_agent.py
python examples/langchain_agent.py --target ./my-model --question "Is it warm in Lima, and what is 17 * 23?"
"""

from __future__ import annotations

import argparse
import ast
import operator
from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import tool

from langchain_specdec import ChatSpecDec

_WEATHER = {"Oslo": (3, "snowy"), "Lima": (24, "sunny"), "Paris": (14, "cloudy")}
_SIGNS: dict[type, Any] = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


@tool
def get_weather(city: str) -> dict[str, Any]:
    """Get the weather for a city"""
    degrees, condition = _WEATHER.get(city, (18, "windy"))
    return {"city": city, "temperature": degrees, "condition": condition}


@tool
def calculate(expression: str) -> dict[str, Any]:
    """Work out an arithmetic expression"""
    return {"result": _value(ast.parse(expression, mode="eval").body)}


def _value(node: ast.expr) -> int:
    if isinstance(node, ast.BinOp) and type(node.op) in _SIGNS:
        return int(_SIGNS[type(node.op)](_value(node.left), _value(node.right)))
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    raise ValueError("only whole numbers with +, - and *")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="bundled", help="a folder, a hub id or a server's URL")
    parser.add_argument("--draft", default="auto")
    parser.add_argument("--question", action="append")
    args = parser.parse_args()
    model = ChatSpecDec(model=args.target, draft=args.draft, temperature=0, max_tokens=200)
    agent = create_agent(model, [get_weather, calculate])
    for question in args.question or ["What is the weather in Oslo?", "What is 17 * 23?"]:
        for message in agent.invoke({"messages": [("user", question)]})["messages"]:
            calls = ", ".join(f"{c['name']}({c['args']})" for c in getattr(message, "tool_calls", ()))
            print(f"{message.type}: {calls or message.text}")


if __name__ == "__main__":
    main()
