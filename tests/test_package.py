"""The package as a whole: what importing costs, what README and the layout promise."""

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import whitebox_loc as wb

ROOT = Path(__file__).parents[1]


def fresh_interpreter(code):
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_import_is_light():
    loaded = fresh_interpreter("import whitebox_loc, sys; print(*sys.modules)").split()
    heavy = {"tensorflow", "keras", "matplotlib", "scipy", "numpy"}
    assert not heavy & set(loaded)


def test_numpy_half_of_data_and_boxes_is_light():
    code = """
import sys, whitebox_loc as wb
batch = wb.data.generate("shapes", 3, seed=0)
wb.boxes.iou(wb.boxes.convert(batch.boxes, "yxyx", "xywh"), batch.boxes, "xywh")
print(*sys.modules)
"""
    assert not {"tensorflow", "keras", "matplotlib"} & set(fresh_interpreter(code).split())


def test_public_names_exist_and_are_listed():
    assert set(wb.__all__) <= set(dir(wb))
    for name in wb.__all__:
        module = getattr(wb, name)
        assert module.__doc__, name
        for public in module.__all__:
            assert hasattr(module, public), f"{name}.{public}"


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'whitebox_loc' has no attribute 'box'"):
        wb.box  # noqa: B018


@pytest.mark.whole
def test_readme_example_runs_and_does_what_it_says(capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    assert len(blocks) == 1
    names = {}
    exec(compile(blocks[0], "README.md", "exec"), names)
    iou, exact = re.search(r"([\d.]+) ([\d.]+)%", capsys.readouterr().out).groups()
    assert float(iou) > 0.99
    assert float(exact) > 99
    assert names["maps"].shape == (4, 8, 100, 100)
    assert names["belief"]["top"].shape == (8, 101)


SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


def run_example(script, arguments, monkeypatch, folder):
    monkeypatch.chdir(folder)
    if "import keras_hub" in script.read_text():
        pytest.importorskip("keras_hub")
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    runpy.run_path(str(script), run_name="__main__")


# Fifty layers, and methods by metrics, take long to trace, whatever is asked of them.
LONG = [p for p in SCRIPTS if p.stem in ("explain_resnet50", "benchmark_methods")]
QUICK = [p for p in SCRIPTS if "--quick" in p.read_text() and p not in LONG]


@pytest.mark.whole
@pytest.mark.parametrize("script", [p for p in SCRIPTS if p not in LONG], ids=lambda p: p.stem)
def test_examples_run(script, monkeypatch, tmp_path, capsys):
    run_example(script, ["--quick"] if script in QUICK else [], monkeypatch, tmp_path)
    assert capsys.readouterr().out.strip()


@pytest.mark.slow
@pytest.mark.parametrize("script", [*QUICK, *LONG], ids=lambda p: p.stem)
def test_examples_run_whole(script, monkeypatch, tmp_path, capsys):
    run_example(script, [], monkeypatch, tmp_path)
    assert capsys.readouterr().out.strip()


def test_functions_stay_short():
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                documented = ast.get_docstring(node) is not None
                body = node.body[1:] if documented else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                assert lines <= 40, f"{path}: {node.name} has {lines} lines"
