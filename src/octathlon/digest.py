"""Digests of code and settings: what makes Snakemake see an edit in `src/`.

Snakemake tracks rule text and parameters, not the modules that a command imports. Each rule therefore
carries, as a parameter, the digest of the syntax trees of the modules that its stage imports. Comments,
docstrings and formatting are not in it, so only an edit that can change a result reruns anything.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = "octathlon"
ROOT = Path(__file__).parent


def value_digest(value: Any) -> str:
    """A short digest of a JSON-like value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def code_digest(*modules: str) -> str:
    """A short digest of the code of `modules` (dotted names) and of all of this package that they import."""
    digest = hashlib.sha256()
    for name in sorted(import_closure(*modules)):
        digest.update(f"{name} {_tree_digest(name)}\n".encode())
    return digest.hexdigest()[:16]


def data_digest(*patterns: str) -> str:
    """A short digest of the package's data files, names and bytes, that match `patterns` ("rounds/*.yaml").

    Raises:
        FileNotFoundError: if a pattern matches no file.
    """
    digest = hashlib.sha256()
    for pattern in sorted(patterns):
        paths = sorted(ROOT.glob(pattern))
        if not paths:
            raise FileNotFoundError(f"no file {pattern} in {ROOT}")
        for path in paths:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(ROOT)} {content}\n".encode())
    return digest.hexdigest()[:16]


def import_closure(*modules: str) -> set[str]:
    """The package's modules that `modules` import, directly or not, themselves included.

    Raises:
        ModuleNotFoundError: if one of them is not a module of this package.
    """
    closure: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in closure:
            closure.add(name)
            waiting.extend(_imports(name))
    return closure


def _path(name: str) -> Path | None:
    base = ROOT.joinpath(*name.split(".")[1:])
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@cache
def _tree(name: str) -> ast.Module:
    path = _path(name)
    if path is None:
        raise ModuleNotFoundError(f"no module {name} in {ROOT}", name=name)
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _imports(name: str) -> tuple[str, ...]:
    found: set[str] = set()
    for node in _running(_tree(name)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
            found.add(node.module)
    return tuple(sorted(module for module in found if module.split(".")[0] == PACKAGE and _path(module)))


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """All statements below, but none of `if TYPE_CHECKING`: what is imported there never runs."""
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        for child in getattr(node, block, ()):
            if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
                yield child
                yield from _running(child)


@cache
def _tree_digest(name: str) -> str:
    tree = _tree(name)
    for node in (tree, *_running(tree)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_string(statement)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_string(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
