"""What a program that a model wrote may contain, and how its steps are counted.

Loaded by ``pyworker`` in a bare interpreter: the standard library only.
"""

from __future__ import annotations

import ast
from typing import Any

NODES = 4_000
TOO_MUCH = "it takes too much time or memory"
"""One reason for both, because which limit is met first depends on the machine."""

STATEMENTS = (
    *(ast.Module, ast.FunctionDef, ast.Return, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.For),
    *(ast.While, ast.If, ast.Pass, ast.Break, ast.Continue, ast.Expr, ast.Assert, ast.Delete),
    *(ast.arguments, ast.arg, ast.keyword),
)
EXPRESSIONS = (
    *(ast.BinOp, ast.BoolOp, ast.UnaryOp, ast.Compare, ast.IfExp, ast.Call, ast.Name, ast.Constant),
    *(ast.List, ast.Tuple, ast.Dict, ast.Set, ast.Subscript, ast.Slice, ast.ListComp, ast.SetComp),
    *(ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.Lambda, ast.JoinedStr, ast.Starred),
    *(ast.FormattedValue, ast.NamedExpr, ast.Attribute, ast.expr_context, ast.boolop, ast.operator),
    *(ast.unaryop, ast.cmpop),
)
_METHODS = """
    append extend insert pop remove sort reverse index count copy clear keys values items get
    update add discard union intersection difference setdefault upper lower title capitalize
    swapcase strip lstrip rstrip split join replace startswith endswith find rfind isdigit isalpha
    isalnum isspace isupper islower removeprefix removesuffix
"""
METHODS = frozenset(_METHODS.split())
BUILTINS = (
    *("abs", "all", "any", "bool", "chr", "dict", "divmod", "enumerate", "filter", "float", "int"),
    *(
        "isinstance",
        "len",
        "list",
        "map",
        "max",
        "min",
        "ord",
        "reversed",
        "round",
        "set",
        "sorted",
    ),
    *("str", "tuple", "zip"),
)
GUARDED = {ast.Mult: "_mul", ast.Pow: "_pow", ast.LShift: "_shift", ast.Mod: "_mod"}
"""Operators that can make much of little, and the guard each goes through."""


class RefusedError(Exception):
    """Raised when a program uses something outside the allow-list, or grows too far."""


def check(tree: ast.Module) -> None:
    """Raise RefusedError at the first node that is not on the allow-list."""
    for count, node in enumerate(ast.walk(tree)):
        if count > NODES:
            raise RefusedError("the program is too long")
        if not isinstance(node, STATEMENTS + EXPRESSIONS):
            raise RefusedError(f"{type(node).__name__} is not allowed")
        _check_names(node)
    _check_calls(tree)


def _check_names(node: ast.AST) -> None:
    for name in (getattr(node, key, None) for key in ("id", "name", "arg", "attr")):
        if isinstance(name, str) and name.startswith("_") and name != "_":
            raise RefusedError(f"the name {name} is not allowed")
    if isinstance(node, ast.FunctionDef) and node.decorator_list:
        raise RefusedError("decorators are not allowed")
    if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
        raise RefusedError("format specifications are not allowed")
    if isinstance(node, ast.Constant) and isinstance(node.value, bytes | complex):
        raise RefusedError(f"{type(node.value).__name__} is not allowed")


def _check_calls(tree: ast.Module) -> None:
    called = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not (node.attr in METHODS and id(node) in called):
            raise RefusedError(f"the attribute .{node.attr} is not allowed")


class Instrument(ast.NodeTransformer):
    """Makes loops and calls count their steps, and growth by operators go through guards."""

    def visit_For(self, node: ast.For) -> ast.AST:
        """Count every turn."""
        return self._ticking(node)

    def visit_While(self, node: ast.While) -> ast.AST:
        """Count every turn."""
        return self._ticking(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Count every call."""
        return self._ticking(node)

    def _ticking(self, node: Any) -> ast.AST:
        self.generic_visit(node)
        node.body.insert(0, ast.Expr(_call("_tick")))
        return node  # type: ignore[no-any-return]

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        """Count every call."""
        self.generic_visit(node)
        node.body = ast.IfExp(_call("_tick"), node.body, ast.Constant(None))
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        """Count every turn."""
        self.generic_visit(node)
        node.ifs.insert(0, _call("_tick"))
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """Guard the operators that can make much of little."""
        self.generic_visit(node)
        guard = GUARDED.get(type(node.op))
        return _call(guard, node.left, node.right) if guard else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """Guard ``x *= y`` as ``x = x * y``."""
        if type(node.op) not in GUARDED:
            return self.generic_visit(node)
        source: Any = ast.parse(ast.unparse(node.target), mode="eval").body
        return self.visit(ast.Assign([node.target], ast.BinOp(source, node.op, node.value)))  # type: ignore[no-any-return]


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])
