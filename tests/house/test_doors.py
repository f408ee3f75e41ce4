"""Every door that can write closes its transaction through the fence: pages, API and commands, listed from the code."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
METHODS = {"post", "put", "patch", "delete"}

# What may open a transaction without the fence, and why.
WITHOUT = {
    "service/ops/house.py": "makes the database and its seeds before any door is open",
    "service/ops/captured.py": "the captured inbox writes no ledger entry at all",
    "service/ops/restored.py": "a restored database has sending off, and nobody sends on it",
    "service/ops/demo.py": "makes the first staff member; all else goes through the API",
    "service/cli/up.py": "the supervisor ends the leases of senders it has reaped, which frees the fence",
    "service/cli/processes.py": "runs the processes",
    "service/api/deps.py": "notes when a key was last used; everything else there goes through the fence",
    "service/fence.py": "is the fence",
    "scheduler/jobs.py": "the clock answers nobody",
    "scheduler/clock.py": "the clock answers nobody",
    "scheduler/database.py": "the sender's transactions, and the sender is what the fence waits for",
}
# POSTs that change nothing the ledger knows: the composer's live figures, a look at the network, a cookie thrown away,
# the practice inbox.
READ_ONLY = {"examine", "live_count", "live_checks", "live_preview", "verify", "sign_out", "empty"}


def _files() -> list[Path]:
    found = [*(ROOT / "service").rglob("*.py"), *(ROOT / "scheduler").rglob("*.py")]
    return [path for path in found if "domain" not in path.parts and "db" not in path.parts]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def opens_a_transaction(source: str) -> bool:
    """Whether a file calls `transaction(…)`."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return any(
        isinstance(call.func, ast.Name | ast.Attribute)
        and ast.unparse(call.func).split(".")[-1] == "transaction"
        for call in calls
    )


def test_only_the_fence_opens_a_transaction_at_a_door() -> None:
    openers = {_name(path) for path in _files() if opens_a_transaction(path.read_text())}
    assert openers <= set(WITHOUT), openers - set(WITHOUT)


def _writing_routes(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            marks = [
                mark.func.attr
                for mark in node.decorator_list
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute)
            ]
            if METHODS & set(marks):
                yield node


def reaches_the_fence(function: ast.AST, tree: ast.AST) -> bool:
    """Whether a route calls the fence, itself or through functions of its own module."""
    local = {
        node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    seen: set[str] = set()
    waiting: list[ast.AST] = [function]
    while waiting:
        for node in ast.walk(waiting.pop()):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).split(".")[-1]
                if name in FENCED:
                    return True
                if name in local and name not in seen:
                    seen.add(name)
                    waiting.append(local[name])
    return False


# `perform` itself, and the doors' shared functions that end in it (their own modules are looked at below).
FENCED = {"perform", "perform_now", "change", "write", "act", "show_noted"}


def test_every_writing_route_answers_through_the_fence() -> None:
    missing = []
    routes = 0
    for path in [*(ROOT / "service/web").rglob("*.py"), *(ROOT / "service/api").rglob("*.py")]:
        tree = ast.parse(path.read_text())
        for route in _writing_routes(path):
            routes += 1
            if not reaches_the_fence(route, tree) and route.name not in READ_ONLY:
                missing.append(f"{_name(path)}:{route.name}")
    assert routes > 30
    assert missing == []


def test_the_shared_functions_end_in_the_fence() -> None:
    """Every function of the doors that bears one of those names calls `perform`, directly or through another of them."""
    for folder in ("web", "api", "cli"):
        for path in (ROOT / "service" / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            for node in tree.body:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in FENCED:
                    assert reaches_the_fence(ast.Module(node.body, []), tree), f"{_name(path)}:{node.name}"
