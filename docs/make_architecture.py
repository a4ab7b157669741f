"""Draw the packages, and the rooms of the two large ones, into docs/images/architecture.svg.

python docs/make_architecture.py

Floors are those of the contracts in pyproject.toml; arrows are imports, without those that follow
from others.
"""

import ast
import tomllib
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "whitebox_loc"
WIDTH, HEIGHT, SHIFT = 1.7, 0.5, 1.2


def contracts():
    """Return the floors of each contract, from the top: {container: [[names], ...]}."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return {
        contract.get("containers", ["whitebox_loc"])[0]: [
            [name.removeprefix("whitebox_loc.") for name in floor.split(" | ")]
            for floor in contract["layers"]
            if "._" not in floor  # what all import needs no arrows
        ]
        for contract in project["tool"]["importlinter"]["contracts"]
    }


def files(container, name):
    """Return the files of a part of a container."""
    path = PACKAGE.parent / container.replace(".", "/") / name
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def imports(container, names):
    """Return the pairs (importer, imported) among the parts of a container."""
    pairs = set()
    for name in names:
        for file in files(container, name):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    modules = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
                    parts = {m.removeprefix(f"{container}.").split(".")[0] for m in modules}
                    pairs |= {(name, part) for part in parts & set(names) - {name}}
    return pairs


def reduced(pairs, order):
    """Return the pairs without those that follow from others; `order` is from the top."""
    below = {name: {b for a, b in pairs if a == name} for name in order}
    reach = {}
    for name in reversed(order):
        reach[name] = set().union(below[name], *(reach.get(b, set()) for b in below[name]))
    return {(a, b) for a, b in pairs if not any(b in reach.get(c, ()) for c in below[a] if c != b)}


def draw(ax, container, floors):
    """Draw one container: a box a part, a row a floor, an arrow an import."""
    places, order = {}, [name for floor in floors for name in floor]
    for row, floor in enumerate(floors):
        # Single boxes stand left and right in turn, so that arrows pass between them.
        shift = SHIFT * (-1) ** row if len(floor) == 1 and len(floors) > 6 else 0
        for column, name in enumerate(floor):
            places[name] = (1.9 * (column - (len(floor) - 1) / 2) + shift, -0.95 * row)
    # Only what goes down: the one arrow that points up is named in pyproject.toml.
    pairs = {(a, b) for a, b in imports(container, order) if places[a][1] > places[b][1]}
    for a, b in reduced(pairs, order):
        (x, y), (u, v) = places[a], places[b]
        far = y - v > 1 and x == u
        bend = (0.6 if x < 0 else -0.6) if far else 0.0
        ax.annotate(
            "", (u, v + HEIGHT / 2), (x, y - HEIGHT / 2), zorder=1,
            arrowprops={"arrowstyle": "->", "color": "0.35", "lw": 1.0, "shrinkA": 0, "shrinkB": 0,
                        "connectionstyle": f"arc3,rad={bend}"},
        )  # fmt: skip
    for name, (x, y) in places.items():
        lines = sum(len(file.read_text("utf-8").splitlines()) for file in files(container, name))
        ax.add_patch(
            FancyBboxPatch(
                (x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, zorder=2,
                boxstyle="round,pad=0,rounding_size=0.1", facecolor="#dbe9f6", edgecolor="#08519c",
            )
        )  # fmt: skip
        ax.text(x, y + 0.07, name, ha="center", va="center", fontsize=9, zorder=3)
        ax.text(x, y - 0.14, f"{lines:,} lines", ha="center", va="center", fontsize=6.5,
                color="0.3", zorder=3)  # fmt: skip
    widest = max(map(len, floors))
    ax.set(
        xlim=(-0.95 * widest - 0.2, 0.95 * widest + 0.2), ylim=(-0.95 * len(floors) + 0.5, 0.55),
        aspect="equal", title=container,
    )  # fmt: skip
    ax.axis("off")


def main():
    """Draw the picture."""
    parts = contracts()
    figure = Figure(figsize=(13, 9.5), layout="constrained")
    grid = figure.subplot_mosaic([["whitebox_loc", "whitebox_loc.introspect"],
                                  ["whitebox_loc", "whitebox_loc.evaluation"]])  # fmt: skip
    for container, floors in parts.items():
        draw(grid[container], container, floors)
    path = ROOT / "docs" / "images" / "architecture.svg"
    figure.savefig(path, metadata={"Date": None})
    print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
