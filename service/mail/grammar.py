"""What a mail template may say: an allow-list over Jinja's syntax tree. Called by `render.py` when
compiling."""

import re
from typing import NoReturn

from jinja2 import nodes

from service.kit.errors import Invalid

_FILTERS_WORDS = (
    "_counted abs capitalize d default e escape first float int last length count lines lower quoted round "
    "string title trim truncate upper urlencode"
)
FILTERS = frozenset(_FILTERS_WORDS.split())
_TESTS_WORDS = "defined undefined none odd even number string in eq ne lt le gt ge divisibleby"
TESTS = frozenset(_TESTS_WORDS.split())
_REACHING = frozenset(
    {"attr", "map", "selectattr", "rejectattr", "select", "reject", "groupby", "format", "xmlattr"}
)
_LOOP = frozenset({"index", "index0", "first", "last", "length", "revindex", "revindex0"})
_INCLUDES = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)
_ALLOWED_WORDS = (
    "Template Output TemplateData Name Const Filter Test If For CondExpr Compare Operand And Or Not "
    "Concat Add Sub Mul Div FloorDiv Mod Pow Neg Pos Getattr Getitem Call List Tuple Keyword"
)
_ALLOWED = tuple(getattr(nodes, name) for name in _ALLOWED_WORDS.split())
_FOREIGN = re.compile(r"(?<![\w%/=])%[A-Za-z]+(?:_[A-Za-z]+)+%(?!\w)|(?<!\w)\*\|[A-Z_]+\|\*")


class TemplateUnknownName(Invalid):
    """The template uses a name that does not exist here."""

    fix_hint = "Choose a field from the list beside the text."


class TemplateForbiddenAttribute(Invalid):
    """The template reaches into something it may only print."""

    fix_hint = "Use the plain field, such as {{ first_name }}."


class TemplateNoIncludes(Invalid):
    """A template cannot take in another file."""


class TemplateNotAllowed(Invalid):
    """The template uses a part of Jinja that mails do not have."""


def _refuse(kind: type[Invalid], what: str, node: nodes.Node, field: str) -> NoReturn:
    raise kind(f"Line {node.lineno}: {what}", field=field)


def check_grammar(tree: nodes.Template, fields: frozenset[str], *, field: str) -> frozenset[str]:
    """The names of `fields` the template uses.

    Raises TemplateUnknownName, TemplateForbiddenAttribute, TemplateNoIncludes or TemplateNotAllowed, with
    the line.
    """
    bound = {target.name for loop in tree.find_all(nodes.For) for target in loop.target.find_all(nodes.Name)}
    bound |= {loop.target.name for loop in tree.find_all(nodes.For) if isinstance(loop.target, nodes.Name)}
    used: set[str] = set()
    for node in _all_nodes(tree):
        if isinstance(node, nodes.Name) and node.ctx == "load":
            if node.name in fields:
                used.add(node.name)
            elif node.name not in bound | ({"loop"} if bound else set()) | {"range"}:
                _refuse(TemplateUnknownName, f"there is no field “{node.name}”.", node, field)
        _check_node(node, field)
    return frozenset(used)


def _all_nodes(tree: nodes.Template) -> list[nodes.Node]:
    """Every node, names before all others, so that an unknown name is reported as such."""
    found: list[nodes.Node] = list(tree.find_all(nodes.Node))
    return sorted(found, key=lambda node: (not isinstance(node, nodes.Name), node.lineno))


def _check_node(node: nodes.Node, field: str) -> None:
    if isinstance(node, _INCLUDES):
        _refuse(TemplateNoIncludes, "a mail cannot include, import or extend anything.", node, field)
    if not isinstance(node, _ALLOWED):
        _refuse(TemplateNotAllowed, f"“{type(node).__name__.lower()}” cannot be used in a mail.", node, field)
    if isinstance(node, nodes.For) and node.recursive:
        _refuse(TemplateNotAllowed, "a loop cannot call itself.", node, field)
    if isinstance(node, nodes.Getattr):
        loop = isinstance(node.node, nodes.Name) and node.node.name == "loop"
        if not loop or node.attr not in _LOOP:
            _refuse(TemplateForbiddenAttribute, f"“.{node.attr}” cannot be used.", node, field)
    if isinstance(node, nodes.Getitem) and not (
        isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, int)
    ):
        _refuse(TemplateForbiddenAttribute, "only a number may stand in [ ].", node, field)
    if isinstance(node, nodes.Call) and not (isinstance(node.node, nodes.Name) and node.node.name == "range"):
        _refuse(TemplateForbiddenAttribute, "nothing can be called.", node, field)
    if isinstance(node, nodes.Filter) and node.name not in FILTERS:
        kind = TemplateForbiddenAttribute if node.name in _REACHING else TemplateUnknownName
        _refuse(kind, f"there is no filter “{node.name}”.", node, field)
    if isinstance(node, nodes.Test) and node.name not in TESTS:
        _refuse(TemplateUnknownName, f"there is no test “{node.name}”.", node, field)


def refuse_foreign(source: str, *, field: str) -> None:
    """Raise TemplateUnknownName for a placeholder of another program, which would reach readers as it
    stands."""
    if found := _FOREIGN.search(source):
        raise TemplateUnknownName(f"“{found.group()}” is a placeholder of another program.", field=field)
