"""Digests of code and settings: what makes Snakemake see an edit in `src/`.

Snakemake tracks rule text and parameters, not the modules that a command imports. Each rule therefore
carries, as a parameter, the digest of the syntax trees of the modules that its stage imports. Comments,
docstrings and formatting are not in it, so only an edit that can change a result reruns anything.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = "octathlon"
ROOT = Path(__file__).parent
KEPT = ROOT / "__pycache__" / f"digests.{sys.implementation.cache_tag}.json"


def value_digest(value: Any) -> str:
    """A short digest of a JSON-like value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def code_digest(*modules: str) -> str:
    """A short digest of the code of `modules` (dotted names) and of all of this package that they import."""
    digest = hashlib.sha256()
    for name in sorted(import_closure(*modules)):
        digest.update(f"{name} {_module(name).tree}\n".encode())
    _keep()
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


@cache
def _path(name: str) -> Path | None:
    base = ROOT.joinpath(*name.split(".")[1:])
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@cache
def _imports(name: str) -> list[str]:
    """The package's modules among all that a module may import."""
    return [each for each in _module(name).mentioned if _path(each)]


class _Module(NamedTuple):
    """What is wanted of a module's syntax tree. Trees are not kept: each costs the garbage collector time."""

    source: str
    """The digest of the bytes that this was found in, and of this file, which found it."""
    mentioned: list[str]
    """Whatever of this package its imports name: modules and what is in them."""
    tree: str
    """The digest of the syntax tree."""


@cache
def _module(name: str) -> _Module:
    path = _path(name)
    if path is None:
        raise ModuleNotFoundError(f"no module {name} in {ROOT}", name=name)
    text = path.read_bytes()
    source = hashlib.sha256(Path(__file__).read_bytes() + text).hexdigest()
    kept = _kept().get(name)
    if kept is None or kept.source != source:
        tree = ast.parse(text)
        kept = _kept()[name] = _Module(source, _mentioned(tree), _tree_digest(tree))
        _unwritten.add(name)
    return kept


_unwritten: set[str] = set()
"""Modules that the file of those kept does not have, or not as they are."""


@cache
def _kept() -> dict[str, _Module]:
    """What this or another process found before: parsing all modules takes half as long as the rest of a plan."""
    with suppress(OSError, ValueError, TypeError, AttributeError):  # whatever it holds
        return {name: _Module(*found) for name, found in json.loads(KEPT.read_text(encoding="utf-8")).items()}
    return {}


def _keep() -> None:
    """Write what was found for the next process, where Python, too, may leave what it compiled."""
    if _unwritten and not sys.dont_write_bytecode:
        with suppress(OSError):
            KEPT.parent.mkdir(exist_ok=True)
            temporary = KEPT.with_name(f"{KEPT.name}.{os.getpid()}")
            temporary.write_text(json.dumps(_kept()), encoding="utf-8")
            temporary.replace(KEPT)
    _unwritten.clear()


def _mentioned(tree: ast.Module) -> list[str]:
    found: set[str] = set()
    for node in _running(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
            found.add(node.module)
    return sorted(module for module in found if module.split(".")[0] == PACKAGE)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """All statements below, but none of `if TYPE_CHECKING`: what is imported there never runs."""
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        for child in getattr(node, block, ()):
            if not (isinstance(child, ast.If) and _is_for_type_checkers(child.test)):
                yield child
                yield from _running(child)


def _is_for_type_checkers(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _tree_digest(tree: ast.Module) -> str:
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
