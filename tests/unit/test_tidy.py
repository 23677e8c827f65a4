"""House rules that no linter knows. Each failure says what to do instead."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APPS = ("relay", "signals", "shards", "accounts", "execution", "tradeplane")
LINES_MAX = 500
#: Pure code gets its clock, randomness and input as arguments.
IMPURE_MODULES = {
    "asyncio", "logging", "random", "secrets", "socket", "subprocess", "threading", "time", "uuid",
}  # fmt: skip
IMPURE_CALLS = {"now", "utcnow", "today", "uuid4", "uuid1", "urandom", "token_hex"}
#: Where money is computed or stored; a float there is a bug that waits.
MONEY = ("accounts", "execution/brokers", "execution/domain/orders.py")
#: The one named function that may make a float of a price, for a wire that wants a JSON number.
TO_FLOAT = "_number"
#: Hands the environment on to children; settings.py alone reads it for us.
ENVIRONMENT = {"tradeplane/settings.py", "tradeplane/runtime/environment.py"}
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|tmp|root)/\w|/home/\w+/")
INDEX_URL = re.compile(r"--(extra-)?index-url|\bpypi[.-]|artifactory|://[^/\s]*@", re.IGNORECASE)


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        place = ROOT / folder
        found = [place] if place.suffix == ".py" else sorted(place.rglob("*.py"))
        yield from (path for path in found if "migrations" not in path.parts and path.is_file())


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def pure_modules() -> list[Path]:
    """The modules of the import contract "the pure middle" in pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    names = next(c for c in contracts if c["name"].startswith("The pure middle"))["source_modules"]
    places = [name.replace(".", "/") for name in names]
    return [
        path
        for place in places
        for path in sources(place if (ROOT / place).is_dir() else f"{place}.py")
    ]


def test_modules_stay_short() -> None:
    long = {
        name_of(path): lines
        for path in sources(*APPS)
        if (lines := len(path.read_text().splitlines())) > LINES_MAX
    }

    assert not long, f"split these by what they know, not by length: {long}"


def test_pure_modules_take_clock_and_randomness_as_arguments() -> None:
    found = []
    for path in pure_modules():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {(node.module or "").split(".")[0]}
            else:
                continue
            if bad := names & IMPURE_MODULES:
                found.append(f"{name_of(path)}:{node.lineno} imports {', '.join(sorted(bad))}")

    assert not found, f"pass it in as an argument: {found}"


def test_pure_modules_never_ask_for_the_time() -> None:
    found = [
        f"{name_of(path)}:{node.lineno} calls {node.func.attr}()"
        for path in pure_modules()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in IMPURE_CALLS
    ]

    assert not found, f"time is an argument (`now_ns`): {found}"


def test_only_commands_and_the_terminal_print() -> None:
    allowed = {"tradeplane/runtime/up.py"}
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in sources(*APPS)
        if "commands" not in path.parts and name_of(path) not in allowed
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]

    assert not found, f"use a logger, or return the text: {found}"


def test_the_environment_is_read_in_settings_only() -> None:
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in sources(*APPS)
        if name_of(path) not in ENVIRONMENT
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        and node.attr in {"environ", "getenv"}
        and not _only_names_the_settings(path, node.lineno)
    ]

    assert not found, f"read it in tradeplane/settings.py and use django.conf.settings: {found}"


def _only_names_the_settings(path: Path, line: int) -> bool:
    return 'setdefault("DJANGO_SETTINGS_MODULE"' in path.read_text().splitlines()[line - 1]


def test_every_variable_of_the_settings_is_in_the_example() -> None:
    asked = set(re.findall(r'env\.\w+\(\s*"(\w+)"', (ROOT / "tradeplane/settings.py").read_text()))
    shown = set(re.findall(r"^#?\s?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert asked - shown == set(), "add them to .env.example with one line each"


def test_no_float_touches_money() -> None:
    found = []
    for path in sources(*MONEY):
        tree = tree_of(path)
        named = {
            call
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef) and function.name == TO_FLOAT
            for call in ast.walk(function)
        }
        found += [
            f"{name_of(path)}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "float"
            and node not in named
        ]

    assert not found, f"money is Decimal from strings; to a wire only by {TO_FLOAT}(): {found}"


def test_no_machine_path_in_what_we_publish() -> None:
    found = [
        f"{name_of(path)}:{number}"
        for path in tracked("*.md", "*.toml", "*.in", "*.txt", "script", ".ci", "docs", "*.html")
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if MACHINE_PATH.search(line)
    ]

    assert not found, f"use a relative path or a variable: {found}"


def test_no_package_index_in_what_we_publish() -> None:
    found = [
        f"{name_of(path)}:{number}"
        for path in tracked("requirements*", "pyproject.toml", "script", ".ci")
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if INDEX_URL.search(line) and "--no-emit-index-url" not in line
    ]

    assert not found, f"the machine's own configuration names the index: {found}"


def test_pages_carry_no_inline_script_or_style() -> None:
    found = [
        name_of(path)
        for path in sorted((ROOT / "templates").rglob("*.html"))
        if re.search(r"\sstyle=|\son\w+=|<style|<script>|javascript:", path.read_text())
    ]

    assert not found, f"the policy forbids it; use static/: {found}"


def test_colors_live_in_the_tokens_only() -> None:
    found = re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(", (ROOT / "static/app.css").read_text())

    assert not found, f"add a token: {found}"
