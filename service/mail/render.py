"""Jinja for people we do not know: compile a template once, render it for each person.

What may be written is an allow-list: names, filters, tests and kinds of node. Everything else is refused
when the template is saved, so that nothing is left for the moment of sending but a missing value. What a
template may cost (loops, repetition, size) is bounded as well. Values are data and never become template
source. Called by `letters.py`, and by whoever previews one field.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from jinja2 import Template, TemplateSyntaxError, Undefined, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from markupsafe import Markup, escape

from service.kit.errors import Invalid
from service.mail.grammar import check_grammar
from service.mail.masks import TemplateSyntax

LARGEST = 1 << 20  # octets of output, and of any text on the way to it
MOST_ROUNDS = 100_000  # rounds of all loops of one render together
MOST_SECONDS = 1.0
STANDARD_FIELDS = ("first_name", "last_name", "company")


class TemplateTooCostly(Invalid):
    """The template would take too long or grow too large."""

    fix_hint = "Take out the long loop or the repetition."


class RenderError(Invalid):
    """This mail cannot be written for this person."""


class Missing(Undefined):
    """A value a person does not have. To print it or walk through it is an error; to ask whether it is
    there, or whether it equals something, is not."""

    __slots__ = ()

    def __str__(self) -> str:
        self._fail_with_undefined_error()

    def __iter__(self) -> Iterator[Any]:
        self._fail_with_undefined_error()

    def __len__(self) -> int:
        self._fail_with_undefined_error()


class _Budget:
    """What is left of one render's rounds and time."""

    __slots__ = ("deadline", "rounds")

    def __init__(self) -> None:
        self.rounds = MOST_ROUNDS
        self.deadline = time.monotonic() + MOST_SECONDS

    def spend(self) -> None:
        self.rounds -= 1
        if self.rounds < 0 or (self.rounds % 256 == 0 and time.monotonic() > self.deadline):
            raise TemplateTooCostly


_budget: ContextVar[_Budget] = ContextVar("budget")


def _counted(items: Iterable[object]) -> Iterator[object]:
    """Every loop runs through this; it is put around the loop's source when the template is compiled."""
    budget = _budget.get()
    for item in items:
        budget.spend()
        yield item


def _range(*arguments: int) -> range:
    try:
        return safe_range(*arguments)
    except OverflowError as error:
        raise TemplateTooCostly from error


def _lines(value: object) -> Markup:
    """Text with line breaks as HTML: an empty line begins a paragraph."""
    paragraphs = str(escape(value)).replace("\r\n", "\n").split("\n\n")
    joined = "</p><p>".join("<br>".join(paragraph.split("\n")) for paragraph in paragraphs)
    return Markup(joined)  # noqa: S704  (escaped two lines above)


def _quoted(value: object) -> str:
    """Text inside a quotation of the text part, whose first line has its mark already."""
    return "\n".join(f"| {line}".rstrip() for line in str(value).splitlines()).removeprefix("| ")


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, and bounds on what arithmetic may cost, which it does not have."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Multiply or take the rest of small numbers only; never repeat a text."""
        if not all(isinstance(side, (int, float)) and abs(side) < 1_000_000_000 for side in (left, right)):
            raise TemplateTooCostly("A text cannot be multiplied.")
        if operator == "**" and (abs(right) > 16 or abs(left) > 1000):
            raise TemplateTooCostly("That power is too large.")
        return super().call_binop(context, operator, left, right)


def _environment(*, html: bool) -> Sandbox:
    environment = Sandbox(
        autoescape=html,
        undefined=Missing,
        keep_trailing_newline=True,
        auto_reload=False,
        cache_size=0,
    )
    environment.globals = {"range": _range}
    environment.filters["_counted"] = _counted
    environment.filters["lines"] = _lines if html else str
    environment.filters["quoted"] = _lines if html else _quoted
    return environment


_TEXT = _environment(html=False)
_HTML = _environment(html=True)


def given(values: Mapping[str, object]) -> dict[str, object]:
    """The values a template may see: None and "" count as missing."""
    return {name: value for name, value in values.items() if value is not None and value != ""}


class Compiled:
    """A template ready to be rendered. `names` are the variables it uses, `constants` the texts it yields unchanged."""

    __slots__ = ("_chunks", "_environment", "constants", "loops", "names")

    def __init__(self, template: Template, names: frozenset[str], *, loops: bool) -> None:
        self._environment = template.environment
        self._chunks: Callable[[Context], Iterator[str]] = template.root_render_func
        self.names = names
        self.constants = frozenset(
            said for said in template.root_render_func.__code__.co_consts if isinstance(said, str)
        )
        self.loops = loops

    def render(self, values: Mapping[str, object]) -> str:
        """The text for these values; None and "" count as missing.

        Raises RenderError, with the name as its field, when a value that is printed is missing and has no
        fallback; TemplateTooCostly when the output passes 1 MiB, the loops 100,000 rounds or 1 s.
        """
        return "".join(self.pieces(given(values)))

    def pieces(self, present: dict[str, object]) -> list[str]:
        """The same text in the pieces it is made of, for values of which none is missing (`given`)."""
        if self.loops:
            _budget.set(_Budget())
        try:
            return self._gather(
                Context(self._environment, {**self._environment.globals, **present}, None, {})
            )
        except UndefinedError as error:
            name = next((name for name in sorted(self.names) if f"'{name}'" in str(error)), None)
            raise RenderError(f"There is no value for {name or 'a field'}.", field=name) from error
        except (SecurityError, TypeError, ValueError, ArithmeticError) as error:
            raise RenderError("The template does not fit this person's values.") from error

    def _gather(self, context: Context) -> list[str]:
        parts: list[str] = []
        size = 0
        for part in self._chunks(context):
            size += len(part)
            if size > LARGEST:
                raise TemplateTooCostly("The result would be larger than 1 MiB.")
            parts.append(part)
        return parts


def compile_text(source: str, fields: Iterable[str], *, field: str = "body") -> Compiled:
    """Compile plain text (text part, subject, preheader); nothing is escaped.

    `fields` are the names that may be used; `field` is where the source stands, for the error. Raises the
    errors of `grammar.check_grammar`, TemplateSyntax, and TemplateTooCostly when a trial with sample values
    already is.
    """
    return _compile(_TEXT, source, frozenset(fields), field)


def compile_html(source: str, fields: Iterable[str], *, field: str = "body") -> Compiled:
    """As `compile_text`, for HTML: every value is escaped."""
    return _compile(_HTML, source, frozenset(fields), field)


def _compile(environment: Sandbox, source: str, fields: frozenset[str], field: str) -> Compiled:
    if len(source) > LARGEST:
        raise TemplateTooCostly(field=field)
    try:
        tree = environment.parse(source)
        names = check_grammar(tree, fields, field=field)
        loops = _count_loops(tree)
        template = environment.from_string(tree)
    except TemplateSyntaxError as error:
        raise TemplateSyntax(f"Line {error.lineno}: {error.message}", field=field) from error
    except (RecursionError, MemoryError, OverflowError) as error:
        raise TemplateTooCostly(field=field) from error
    compiled = Compiled(template, names, loops=loops)
    _try_out(compiled, field)
    return compiled


def _count_loops(tree: nodes.Template) -> bool:
    loops = list(tree.find_all(nodes.For))
    for loop in loops:
        loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None, lineno=loop.lineno)
    return bool(loops)


def _try_out(compiled: Compiled, field: str) -> None:
    """Render once with every value there and once with none, so that cost is found when saving, not when
    sending."""
    for values in (dict.fromkeys(compiled.names, "Sample"), {}):
        try:
            compiled.render(values)
        except TemplateTooCostly as error:
            raise TemplateTooCostly(error.detail, field=field) from error
        except RenderError:
            continue
