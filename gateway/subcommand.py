"""What a subcommand is, and its line of help, read without importing it."""

import argparse
import ast
from typing import Protocol

from gateway.plugins import source_of


class Command(Protocol):
    """One subcommand. The class is made without arguments; `help` is one line in the list of commands."""

    name: str
    help: str

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add this command's arguments to its parser."""
        ...

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it; the exit status. Raises GatewayError with a text for the person who typed it."""
        ...


def static_help(factory: str) -> str:
    """The `help` text of the class "module:Class", read from its source without importing it."""
    module, _, name = factory.partition(":")
    source = source_of(module)
    if source is None:
        return ""
    try:
        tree = ast.parse(source.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ""  # it will say what is wrong with it when it is run
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return next((text for text in map(_help_value, node.body) if text), "")
    return ""


def _help_value(node: ast.stmt) -> str:
    match node:
        case (
            ast.Assign(targets=[ast.Name(id="help")], value=ast.Constant(value=str(text)))
            | ast.AnnAssign(target=ast.Name(id="help"), value=ast.Constant(value=str(text)))
        ):
            return text
    return ""
