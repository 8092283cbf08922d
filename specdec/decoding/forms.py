"""What a request's answer may look like, and how it is read: its grammar and its parser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from specdec.errors import InvalidRequest
from specdec.grammars.check import TOO_COMPLEX
from specdec.grammars.compiler import GrammarCompiler, loosened
from specdec.grammars.matcher import Matcher
from specdec.grammars.slow_tools import SlowTools, Tool, form_of
from specdec.grammars.tools import answer_grammar
from specdec.text.schemas import parameters
from specdec.text.tools.formats import AnswerFormat, Thought
from specdec.text.tools.harmony import HarmonyParser
from specdec.text.tools.parser import AnswerParser, Parser
from specdec.text.tools.template import TemplateParser
from specdec.types import Grammar, Request


@dataclass(slots=True)
class AnswerForms:
    """The forms that one checkpoint's answers can have."""

    grammars: GrammarCompiler
    answer_format: AnswerFormat
    _slow: SlowTools = field(default_factory=SlowTools)

    def check(self, request: Request) -> None:
        """Refuse tools where the model was never told how to call one, and what no grammar here can hold."""
        if not request.tools or self.answer_format.tools is not None:
            return
        functions = [tool["function"] for tool in request.tools]
        if self.answer_format.template is None:
            expected = "none: this checkpoint's chat template has no tool calls in a known format"
            raise InvalidRequest("tools", [function["name"] for function in functions], expected)
        why = "this checkpoint's calls are read by its response template, and no grammar can hold them"
        if request.tool_choice not in ("auto", "none"):
            raise InvalidRequest("tool_choice", request.tool_choice, f"auto or none: {why}")
        if strict := [function["name"] for function in functions if function.get("strict")]:
            raise InvalidRequest("tools", strict, f"none that is strict: {why}")
        if request.sampling.grammar and request.tool_choice == "auto":
            raise InvalidRequest("grammar", request.sampling.grammar.kind, f"none beside tools: {why}")

    def thought(self, request: Request, prompt: str | None) -> Thought:
        """`prompt` is a chat as its template writes it; behind any other a form holds from the first token on."""
        thought = self.answer_format.thought_behind(prompt or "")
        formed = request.sampling.grammar is not None
        if formed and thought == "possible" and (prompt is None or request.reasoning == "off"):
            return "none"
        return thought

    def parser(self, request: Request, thought: Thought, chat: str | None) -> Parser:
        """For an answer that starts like this, behind a `chat` or anything else."""
        calls = bool(request.tools) and request.tool_choice != "none"
        thoughts = thought != "none" or request.sampling.grammar is None
        schemas = {tool["function"]["name"]: parameters(tool["function"]) for tool in request.tools}
        if self.answer_format.template and chat is not None and (calls or thoughts):
            return TemplateParser(self.answer_format.template, chat, request.tools, calls=calls)
        if self.answer_format.channels is not None:
            return HarmonyParser(self.answer_format.ids, calls=calls)
        return AnswerParser(
            self.answer_format, calls=calls, thoughts=thoughts, opened=thought == "open", schemas=schemas
        )

    def matcher(self, request: Request, thought: Thought) -> Matcher | None:
        """At the start of the answer's grammar; None where it may be any text."""
        params, most = request.sampling, request.max_reasoning_tokens
        tools = request.tools if self.answer_format.tools else ()
        end = self.answer_format.thought[1] if self.answer_format.thought else ""
        if most is not None and thought != "none" and end not in self.answer_format.ids:
            expected = f"None: the end of this model's thoughts, {end}, is no token"
            raise InvalidRequest("max_reasoning_tokens", most, expected)
        bare = thought == "none" or (params.grammar is None and most is None)
        if not tools and bare:
            return self.grammars.matcher(params.grammar, ignore_eos=params.ignore_eos) if params.grammar else None
        for i, tool in enumerate(tools):
            if tool["function"].get("strict"):  # a text of its own may hold less than the schema, and is not checked
                self._check_alone(i, tool)
        try:
            text = params.grammar and loosened(params.grammar)
            return self._within_time(request, tools, thought, text)
        except InvalidRequest as error:
            if error.field == "grammar" and params.grammar is not None:
                self.grammars.matcher(params.grammar, ignore_eos=params.ignore_eos)
            raise (self._blame(request, error) if request.tools else error) from error

    def _within_time(self, request: Request, tools: Sequence[Tool], thought: Thought, text: Grammar | None) -> Matcher:
        """With the schemas of all tools, else with those left open that are slow."""
        refused: InvalidRequest | None = None
        for held in self._slow.ways(tools):
            try:
                grammar = answer_grammar(
                    self.answer_format,
                    held,
                    request.tool_choice,
                    parallel=request.parallel_tool_calls,
                    text=text,
                    thought=thought,
                    most=request.max_reasoning_tokens,
                )
                return self.grammars.matcher(grammar, ignore_eos=request.sampling.ignore_eos)
            except InvalidRequest as error:
                refused = error
                if TOO_COMPLEX not in error.expected:
                    break
        assert refused is not None
        raise refused

    def _check_alone(self, i: int, tool: Tool) -> None:
        try:
            self.grammars.matcher(form_of(tool), ignore_eos=False)
        except InvalidRequest as own:
            raise InvalidRequest(f"tools[{i}].function.parameters", own.value, own.expected) from own

    def _blame(self, request: Request, error: InvalidRequest) -> InvalidRequest:
        """Which tool it is, if one alone is refused too; where time ran out there is none left to find out."""
        for i, tool in enumerate(request.tools if TOO_COMPLEX not in error.expected else ()):
            try:
                self._check_alone(i, tool)
            except InvalidRequest as own:
                return own
        names = [tool["function"]["name"] for tool in request.tools]
        return InvalidRequest("tools", names, error.expected.replace("a Lark grammar", "schemas that can be enforced"))
