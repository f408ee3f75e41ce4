"""What the import contracts cannot say: names, sizes, one pen, one gate, one door, documents that keep up."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from service.config import Settings

ROOT = Path(__file__).parents[2]
CODE = sorted([*(ROOT / "service").rglob("*.py"), *(ROOT / "scheduler").rglob("*.py")])
OURS = [path for path in CODE if "versions" not in path.parts]
FILE_LINES, FUNCTION_LINES, USUAL_FUNCTION_LINES = 400, 50, 25


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of code of a function, without its docstring."""
    assert node.end_lineno
    doc = node.body[0]
    is_doc = (
        isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant) and isinstance(doc.value.value, str)
    )
    return node.end_lineno - node.lineno + 1 - ((doc.end_lineno or 0) - doc.lineno + 1 if is_doc else 0)


def test_no_drawer_for_everything() -> None:
    drawers = {"utils.py", "helpers.py", "service.py", "models.py", "common.py", "misc.py", "base.py"}
    assert [_name(path) for path in OURS if path.name in drawers] == []


def test_files_stay_readable() -> None:
    assert {_name(path): lines for path in OURS if (lines := path.read_text().count("\n")) > FILE_LINES} == {}


def test_functions_stay_readable() -> None:
    lengths = {f"{_name(path)}:{node.name}": _length(node) for path in OURS for node in _functions(path)}
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES} == {}
    ordered = sorted(lengths.values())
    assert ordered[len(ordered) * 9 // 10] <= USUAL_FUNCTION_LINES


def test_every_module_says_what_it_is_for() -> None:
    assert [
        _name(path)
        for path in OURS
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ] == []


def test_dialects_are_known_in_db_only() -> None:
    knows = re.compile(r"sqlalchemy\.dialects|dialect\.name|is_sqlite|get_backend_name|sqlite3")
    allowed = {
        "service/db/bulk.py",
        "service/db/engine.py",
        "service/db/locks.py",
        "service/db/migrate.py",
        "service/db/migrations/guards.py",
    }
    allowed |= {"service/ops/backup.py"}  # copies a whole database, each kind in its own way
    allowed |= {"service/ops/health.py"}  # says which kind it is
    found = {_name(path) for path in OURS if knows.search(path.read_text())} - allowed
    assert {name for name in found if not _only_where(name)} == set()


def _only_where(name: str) -> bool:
    """Index conditions are given per dialect by the table itself; that is not knowing which one runs."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if "sqlite" in line or "dialect" in line]
    return all("sqlite_where" in line for line in lines)


def test_only_the_pen_writes_the_ledger() -> None:
    writes = re.compile(
        r"insert\(\s*LedgerEntry|insert_rows\(\s*\w+,\s*LedgerEntry|add\(\s*LedgerEntry|add_all\([^)]*LedgerEntry"
        r"|INTO ledger_entry",
        re.IGNORECASE,
    )
    assert [_name(path) for path in OURS if writes.search(path.read_text())] == [
        "service/domain/ledger/actions.py"
    ]


def test_an_audience_by_topic_comes_through_the_gate() -> None:
    """Rows of `audience` are made in two places: a single system mail, and the freeze, from `preferences.queries.eligible`."""
    makes = re.compile(
        r"insert\(\s*Audience|insert_rows\(\s*\w+,\s*Audience|add\(\s*Audience|\bAudience\(\s*mailing_id",
        re.IGNORECASE,
    )
    found = {_name(path) for path in OURS if makes.search(path.read_text())}
    single = {"service/domain/mailings/actions.py", "service/domain/announcements/compose.py"}
    [freeze] = found - single
    assert freeze.startswith("service/domain/deliveries/")
    tree = ast.parse((ROOT / freeze).read_text())
    calls = {
        node.name: ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and makes.search(ast.unparse(node))
    }
    assert calls
    assert all("preferences.eligible(" in text for text in calls.values())


def test_both_halves_of_the_gate_are_used_twice() -> None:
    """At the freeze and at the claim: the SQL twin stands in both statements."""
    text = "\n".join(path.read_text() for path in (ROOT / "service/domain/deliveries").glob("*.py"))
    assert "preferences.eligible(" in text
    assert "preferences.refusal(" in text


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    assert "BIDDEN_" in page
    assert [name for name in Settings.model_fields if f"| `{name.upper()}` |" not in page] == []


def test_no_foreign_origin_and_no_script_in_pages() -> None:
    pages = list((ROOT / "templates/web").rglob("*.html"))
    assert pages
    reaching = re.compile(r"""(?:src|href|action)=["']https?://(?!\{\{)""")
    assert [_name(page) for page in pages if reaching.search(page.read_text())] == []
    public = [page for page in pages if "public" in page.parts]
    assert [
        _name(page) for page in public if "<script" in page.read_text() or "style=" in page.read_text()
    ] == []


def test_a_table_is_never_an_answer_of_the_api() -> None:
    tables = {
        node.name
        for path in (ROOT / "service/domain").rglob("tables.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    for path in (ROOT / "service/api/v1").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "response_model":
                assert (
                    not {name.id for name in ast.walk(node.value) if isinstance(name, ast.Name)} & tables
                ), _name(path)


@pytest.mark.parametrize("folder", ["kit", "mail", "domain"])
def test_tests_stand_where_one_looks_for_them(folder: str) -> None:
    """Every test of these folders lies in the folder of what it tests."""
    known = {
        str(path.relative_to(ROOT / "service").parent) for path in (ROOT / "service" / folder).rglob("*.py")
    }
    lying = {
        str(path.relative_to(ROOT / "tests").parent) for path in (ROOT / "tests" / folder).rglob("test_*.py")
    }
    assert lying <= known


def test_the_readme_shows_the_two_commands() -> None:
    page = (ROOT / "README.md").read_text()
    assert "make demo" in page
    assert "make test" in page
    assert [
        link for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page) if not (ROOT / link).exists()
    ] == []


def test_no_two_test_files_have_one_name() -> None:
    """pytest, as it is set here, takes the second for the first: a run of them all ends before its first test."""
    names = sorted(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [one for one, other in pairwise(names) if one == other] == []
