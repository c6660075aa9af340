"""README and docs: links, tables of results, commands and code agree with the tree."""

from __future__ import annotations

import ast
import code
import inspect
import re
import shlex
from configparser import ConfigParser
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Any

import jsonargparse
import pytest

import dfplan
from dfplan import cli

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}

EXCERPT = re.compile(r"<!-- from (\S+) -->\n(.*?)<!-- end -->", re.DOTALL)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
EXTRA = re.compile(r"'\.\[([\w,]+)\]'|the extras? `(\w+)`")


def fenced(language: str) -> list[Any]:
    """Each block of a language in README and docs."""
    return [
        pytest.param(body, id=f"{page.name}-{text[: found.start()].count(chr(10)) + 1}")
        for page, text in TEXTS.items()
        for found in FENCE.finditer(text)
        for kind, body in [found.groups()]
        if kind == language
    ]


def shell_lines() -> list[tuple[str, ...]]:
    """The words of each command line in README and docs."""
    bodies = [parameter.values[0] for parameter in fenced("sh")]
    lines = [shlex.split(line, comments=True) for body in bodies for line in body.splitlines()]
    return sorted({tuple(takewhile(lambda word: word != ">", words)) for words in lines if words})


def is_command(words: tuple[str, ...]) -> bool:
    """Whether words begin with a command, or are the name of a group of commands."""
    names = {name for name, _ in cli.commands()}
    groups = {name[:count] for name in names for count in range(len(name))}
    return words in groups or any(words[:count] in names for count in range(1, len(words) + 1))


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    lines = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    kept = [re.sub(r"[^\w\- ]", "", line.lower()) for line in lines]
    return {line.replace(" ", "-") for line in kept}


def test_readme_is_short() -> None:
    assert len(TEXTS[README]) <= 12_000
    assert max(map(len, TEXTS[README].splitlines())) <= 400


def test_readme_links_to_every_page() -> None:
    links = {link.partition("#")[0] for link in LINK.findall(TEXTS[README])}
    assert {f"docs/{page.name}" for page in PAGES[1:]} <= links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_link_targets_exist(page: Path) -> None:
    for link in LINK.findall(TEXTS[page]):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_excerpts_equal_the_reports(page: Path) -> None:
    excerpts = EXCERPT.findall(TEXTS[page])
    assert len(excerpts) == TEXTS[page].count("<!-- from ")
    for name, text in excerpts:
        report = (ROOT / name).read_text(encoding="utf-8").splitlines()
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert len(rows) > 3, name
        missing = [row for row in rows if row not in report]
        assert not missing, f"{name} does not contain {missing[0]}"


@pytest.mark.parametrize("words", shell_lines(), ids=" ".join)
def test_command_lines_are_valid(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if words[0] == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in targets
    elif words[0] == "python":
        assert (ROOT / words[1]).exists()
    elif words[0] != "pip":
        assert words[0] == "dfplan"
        monkeypatch.chdir(tmp_path)
        (tmp_path / "run.yaml").write_text("resume: false\n")
        for word in words:
            if word.endswith((".hdf5", ".npz")):
                (tmp_path / word).touch()

        def parse(commands: Any, args: list[str], **options: Any) -> None:
            jsonargparse.auto_parser(commands, **options).parse_args(args)

        monkeypatch.setattr("dfplan.cli.parser.auto_cli", parse)
        assert cli.main(words[1:]) == 0


@pytest.mark.parametrize("text", [pytest.param(TEXTS[page], id=page.name) for page in PAGES])
def test_names_in_the_text_exist(text: str) -> None:
    for name in INLINE.findall(FENCE.sub("", text)):
        if re.fullmatch(r"dfplan(\.\w+)+(\(.*\))?", name):
            resolve(name.partition("(")[0])
        elif re.fullmatch(r"(dfplan|tests|benchmarks|examples)/[\w./-]+(?<!-v1)", name):
            assert (ROOT / name).exists(), name
        elif name.startswith("python "):
            assert (ROOT / name.split()[1]).exists(), name
        elif name.startswith("dfplan "):
            words = takewhile(re.compile(r"[a-z][\w-]*$").match, name.split()[1:])
            assert is_command(tuple(words)), name


def test_extras_exist() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    found = {extra for text in TEXTS.values() for pair in EXTRA.findall(text) for extra in pair}
    extras = {extra for names in found for extra in names.split(",") if extra}
    assert extras and extras <= set(setup["options.extras_require"])


def resolve(name: str) -> Any:
    """The module or object of a dotted name."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise AssertionError(f"there is no {name}")


class Uses(ast.NodeVisitor):
    """Resolves every name of dfplan that code uses, and checks the keywords of its calls."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {"dfplan": dfplan}

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name.startswith("dfplan."):
                import_module(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if (node.module or "").partition(".")[0] == "dfplan":
            for alias in node.names:
                found = resolve(f"{node.module}.{alias.name}")
                self.objects[alias.asname or alias.name] = found

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.object(node)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = self.object(node.func)
        keywords = {keyword.arg for keyword in node.keywords if keyword.arg}
        if callable(called):
            parameters = inspect.signature(called).parameters
            assert keywords <= set(parameters), ast.unparse(node)
        self.generic_visit(node)

    def object(self, node: ast.AST) -> Any:
        """The object that an expression names; None if it is not of dfplan."""
        if isinstance(node, ast.Name):
            return self.objects.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self.object(node.value)
            return None if owner is None else getattr(owner, node.attr)
        return None


@pytest.mark.parametrize("body", fenced("python"))
def test_code_uses_existing_names(body: str) -> None:
    tree = ast.parse(body)
    compile(tree, "<docs>", "exec")
    Uses().visit(tree)


def test_readme_example_runs_when_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = [body for kind, body in FENCE.findall(TEXTS[README]) if kind == "python"]
    console = code.InteractiveConsole()
    for line in [*example.splitlines(), ""]:
        console.push(line)
    said = capsys.readouterr()
    assert "Error" not in said.err
    assert "steps to the goal" in said.out and (tmp_path / "plan.png").exists()
