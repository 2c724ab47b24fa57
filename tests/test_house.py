"""The rules of the house that no other tool checks; each is proven able to fail by a planted line.

A failure names the place and the rule. Why each rule stands: CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = ROOT / "src" / "linocut"
MAX_FILE: Final = 400
MAX_FUNCTION: Final = 60
REFUSED_WORDS: Final = ("Manager", "Factory", "Helper", "Util", "Utils", "Handler", "Base")
EDGE: Final = ("src/linocut/cli/", "src/linocut/__main__.py")
CATCH_ALL: Final = {
    "src/linocut/prompt/tokenizer.py": "tokenizers raises bare Exception on a damaged file",
    "src/linocut/safety/plugged.py": "a check that somebody else wrote may raise anything",
    "src/linocut/images/threads.py": "what a call in a thread raises is for who waits for it",
}
UNMIRRORED: Final = {
    "__init__.py": "tests/test_public.py",
    "__main__.py": "tests/test_public.py",
}


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file: its path from the root, its text, its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    @classmethod
    def of(cls, path: str, text: str) -> Source:
        """Parsed."""
        return cls(path, text, ast.parse(text))

    def nodes(self, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        """All nodes of these kinds."""
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))


Finding = tuple[int, str]
Rule = Callable[[Source], Iterator[Finding]]


def files_are_read_in_one_sitting(source: Source) -> Iterator[Finding]:
    count = len(source.text.splitlines())
    if count > MAX_FILE:
        yield count, f"the file has {count} lines, at most {MAX_FILE}"


def functions_fit_on_a_page(source: Source) -> Iterator[Finding]:
    for node in source.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        count = (node.end_lineno or node.lineno) - node.lineno + 1
        if count > MAX_FUNCTION:
            yield node.lineno, f"{node.name} has {count} lines, at most {MAX_FUNCTION}"


def classes_are_named_by_what_they_are(source: Source) -> Iterator[Finding]:
    for node in source.nodes(ast.ClassDef):
        assert isinstance(node, ast.ClassDef)
        words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", node.name)
        for word in set(words) & set(REFUSED_WORDS):
            yield node.lineno, f"name what {node.name} is: the word {word!r} says nothing"


def the_edge_alone_touches_the_process(source: Source) -> Iterator[Finding]:
    if not source.path.startswith("src/linocut/") or source.path.startswith(EDGE):
        return
    for node in ast.walk(source.tree):
        touched = _touched(node)
        if touched:
            line = getattr(node, "lineno", 1)
            yield line, f"{touched} belongs to the edge (cli); hand the value down"


def _touched(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        name = f"{node.value.id}.{node.attr}"
        return name if name in {"os.environ", "os.getenv", "sys.exit", "os._exit"} else ""
    if isinstance(node, ast.ImportFrom) and node.module in {"os", "sys"}:
        names = {alias.name for alias in node.names} & {"environ", "getenv", "exit"}
        return ", ".join(f"{node.module}.{name}" for name in sorted(names))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id if node.func.id in {"print", "exit", "quit", "SystemExit"} else ""
    return ""


def weights_load_exactly_or_not_at_all(source: Source) -> Iterator[Finding]:
    for node in source.nodes(ast.Call):
        assert isinstance(node, ast.Call)
        if getattr(node.func, "attr", "") != "load_state_dict":
            continue
        given = [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "strict")]
        if any(not isinstance(value, ast.Constant) or value.value is False for value in given):
            yield node.lineno, "load_state_dict must not be told strict=False"


def errors_are_caught_by_name(source: Source) -> Iterator[Finding]:
    for node in source.nodes(ast.ExceptHandler):
        assert isinstance(node, ast.ExceptHandler)
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        names = {getattr(kind, "id", "") for kind in kinds}
        if source.path in CATCH_ALL and names == {"Exception"}:
            continue
        if node.type is None or names & {"Exception", "BaseException"}:
            yield node.lineno, "catch the errors that are meant, by name"


def what_is_public_says_what_it_is(source: Source) -> Iterator[Finding]:
    if source.text.strip() and not ast.get_docstring(source.tree):
        yield 1, "the file needs a docstring"
    holders: list[ast.Module | ast.ClassDef] = [source.tree]
    while holders:
        for node in holders.pop().body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                holders.append(node)
            elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            # A module's `forward` is what its class says it is.
            if node.name.startswith("_") or node.name == "forward" or _is_overload(node):
                continue
            if not ast.get_docstring(node):
                yield node.lineno, f"{node.name} is public and needs a docstring"


def _is_overload(node: ast.AST) -> bool:
    marks = getattr(node, "decorator_list", [])
    return any(getattr(mark, "id", getattr(mark, "attr", "")) == "overload" for mark in marks)


def nothing_is_left_for_later(source: Source) -> Iterator[Finding]:
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        found = re.search(r"\b(TODO|FIXME|XXX|HACK)\b", token.string)
        if token.type == tokenize.COMMENT and found:
            yield token.start[0], f"{found[1]}: do it, or open an issue"


RULES: Final[tuple[Rule, ...]] = (
    files_are_read_in_one_sitting,
    functions_fit_on_a_page,
    classes_are_named_by_what_they_are,
    the_edge_alone_touches_the_process,
    weights_load_exactly_or_not_at_all,
    errors_are_caught_by_name,
    what_is_public_says_what_it_is,
    nothing_is_left_for_later,
)
SIZE_RULES: Final = RULES[:2]

DOC: Final = '"""A file."""\n'
LONG: Final = DOC + 'def long():\n    """Long."""\n' + "    x = 1\n" * 59
PLANTS: Final[tuple[tuple[Rule, str], ...]] = (
    (files_are_read_in_one_sitting, DOC + "x = 1\n" * 400),
    (functions_fit_on_a_page, LONG),
    (functions_fit_on_a_page, LONG.replace("def", "async def")),
    *(
        (classes_are_named_by_what_they_are, f'{DOC}class {name}:\n    """One."""\n')
        for name in ("WeightManager", "ModelFactory", "PathHelper", "Util", "StringUtils")
    ),
    (classes_are_named_by_what_they_are, DOC + 'class ErrorHandler:\n    """One."""\n'),
    (classes_are_named_by_what_they_are, DOC + 'class BaseModel:\n    """One."""\n'),
    (the_edge_alone_touches_the_process, DOC + "import os\nx = os.environ['X']\n"),
    (the_edge_alone_touches_the_process, DOC + "import os\nx = os.getenv('X')\n"),
    (the_edge_alone_touches_the_process, DOC + "from os import environ\n"),
    (the_edge_alone_touches_the_process, DOC + "print('drawn')\n"),
    (the_edge_alone_touches_the_process, DOC + "import sys\nsys.exit(1)\n"),
    (the_edge_alone_touches_the_process, DOC + "raise SystemExit(1)\n"),
    (weights_load_exactly_or_not_at_all, DOC + "model.load_state_dict(x, strict=False)\n"),
    (weights_load_exactly_or_not_at_all, DOC + "model.load_state_dict(x, False)\n"),
    *(
        (errors_are_caught_by_name, f"{DOC}try:\n    x = 1\nexcept{kind}:\n    x = 2\n")
        for kind in ("", " Exception", " BaseException", " (OSError, Exception)")
    ),
    (what_is_public_says_what_it_is, "x = 1\n"),
    (what_is_public_says_what_it_is, DOC + "def draw():\n    return 1\n"),
    (what_is_public_says_what_it_is, DOC + "class Picture:\n    width = 1\n"),
    (
        what_is_public_says_what_it_is,
        DOC + 'class Picture:\n    """One."""\n    def area(self):\n        return 1\n',
    ),
    (nothing_is_left_for_later, DOC + "x = 1  # TODO: two\n"),
    (nothing_is_left_for_later, DOC + "# FIXME\n"),
)
INNOCENT: Final = DOC + (
    'class Database:\n    """Not a Base."""\n    def forward(self):\n        return 1\n'
    "def _own():\n    return 1\n"
    "try:\n    x = 1\nexcept (OSError, ValueError):\n    x = 2\n"
    "model.load_state_dict(x, assign=True)\n"
)


@pytest.mark.parametrize("path", CATCH_ALL)
def test_who_may_catch_everything_does_so_once(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8").count("except Exception") == 1


def python_files(*folders: str) -> list[Path]:
    """Python sources below these folders of the repository."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def findings(path: Path, rules: tuple[Rule, ...]) -> list[str]:
    """Every finding of these rules in a file, as `place: rule`."""
    source = Source.of(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    return [f"{source.path}:{line}: {text}" for rule in rules for line, text in rule(source)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_sources_keep_the_rule(rule: Rule) -> None:
    files = python_files("src", "training/src", "checkpoints")
    assert files
    found = [line for path in files for line in findings(path, (rule,))]
    assert not found, "\n".join(found)


def test_tests_and_tools_are_readable_too() -> None:
    rules = (*SIZE_RULES, errors_are_caught_by_name, nothing_is_left_for_later)
    files = [*python_files("tests", "training/tests", "benchmarks"), *ROOT.glob("*.py")]
    found = [line for path in files for line in findings(path, rules)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("rule", "text"), PLANTS)
def test_a_rule_finds_what_was_planted(rule: Rule, text: str) -> None:
    found = list(rule(Source.of("src/linocut/engine/planted.py", text)))
    assert len(found) == 1
    line, sentence = found[0]
    assert 1 <= line <= len(text.splitlines())
    assert sentence


def test_every_rule_has_a_plant() -> None:
    assert {rule for rule, _ in PLANTS} == set(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_leaves_innocent_code_alone(rule: Rule) -> None:
    assert not list(rule(Source.of("src/linocut/engine/innocent.py", INNOCENT)))


def test_the_edge_may_touch_the_process() -> None:
    text = DOC + "import sys\nprint('drawn')\nsys.exit(1)\n"
    source = Source.of("src/linocut/cli/main.py", text)
    assert not list(the_edge_alone_touches_the_process(source))


def modules() -> set[str]:
    """The package's modules, as paths from its folder; a folder's `__init__` is none."""
    names = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    return {name for name in names if not name.endswith("/__init__.py")}


def missing_tests(names: set[str]) -> list[str]:
    """What has no test file of its own: `model/ops.py` wants `tests/model/test_ops.py`."""
    wanted = {
        name: ROOT / UNMIRRORED.get(name, f"tests/{Path(name).parent}/test_{Path(name).name}")
        for name in names
    }
    return [
        f"src/linocut/{name}: its tests belong into {path.relative_to(ROOT)}"
        for name, path in sorted(wanted.items())
        if not path.is_file()
    ]


def test_every_module_has_its_tests() -> None:
    missing = missing_tests(modules())
    assert not missing, "\n".join(missing)


def test_a_module_without_tests_is_found() -> None:
    assert missing_tests({"engine/planted.py"}) == [
        "src/linocut/engine/planted.py: its tests belong into tests/engine/test_planted.py"
    ]


def test_architecture_names_every_module_and_no_other() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    part = text.split("\n## The modules\n")[1].split("\n## ")[0]
    named = re.findall(r"`((?:\w+/)*\w+\.py)`", part)
    assert sorted(modules() - set(named)) == [], "modules that ARCHITECTURE.md does not name"
    assert sorted(set(named) - modules()) == [], "named in ARCHITECTURE.md, but not there"
    assert len(named) == len(set(named)), "named twice in ARCHITECTURE.md"


PRIVATE: Final = re.compile(
    r"(?<![\w.])/(?:work|root|opt)/\w"
    r"|\b(?:pypi|python[h]osted|npmjs|yarnpkg)\.(?:org|com)|\bdeb\.debia[n]\.org"
)


def private_lines(text: str) -> list[str]:
    """Lines that name a path of one machine, or the host of a package registry."""
    return [line.strip() for line in text.splitlines() if PRIVATE.search(line)]


@pytest.mark.parametrize(
    "line", ["see /ro" + "ot/x", '"/wo' + 'rk/main"', "https://py" + "pi.org/simple"]
)
def test_a_line_of_one_machine_is_found(line: str) -> None:
    assert private_lines(line) == [line]


def test_no_file_names_one_machine_or_a_registry() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    found = []
    for path in paths:
        raw = path.read_bytes() if path.is_file() else b""
        if b"\0" not in raw[:8192]:
            found += [
                f"{path.relative_to(ROOT)}: {x}"
                for x in private_lines(raw.decode(errors="replace"))
            ]
    assert paths
    assert not found, "\n".join(found)
