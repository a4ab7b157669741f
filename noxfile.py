"""Every check on environments of its own: nox -s oldest newest numeric lint docs slow."""

import tomllib
from itertools import chain
from pathlib import Path

import nox

nox.options.sessions = ["oldest", "newest", "lint", "docs"]


def lowest():
    """Return every lower bound of pyproject.toml as a pin."""
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    bounds = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    return [bound.replace(">=", "==") for bound in bounds if ">=" in bound]


@nox.session(python="3.11")
def oldest(session):
    """Run the tests on the oldest versions that pyproject.toml allows."""
    pins = Path(session.create_tmp()) / "lowest.txt"
    pins.write_text("\n".join(lowest()), "utf-8")
    session.install("-e", ".[test]", "--constraint", str(pins))
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session
def newest(session):
    """Run the tests on the newest versions there are."""
    session.install("--upgrade", "--upgrade-strategy", "eager", "-e", ".[test]")
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session
def slow(session):
    """Run the tests that take minutes."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n", "2", "-m", "slow", *session.posargs)


@nox.session
def numeric(session):
    """Run the tests of numbers on every code path of this machine."""
    session.install("-e", ".[test]")
    session.run("python", "benchmarks/code_paths.py", *session.posargs)


@nox.session
def lint(session):
    """Check the format, the style, the types and the layers."""
    session.install("-e", ".[dev]")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
    session.run("lint-imports", "--no-cache")


@nox.session
def docs(session):
    """Build the documentation."""
    session.install("-e", ".[docs]")
    session.run(
        "sphinx-build", "-q", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html"
    )
