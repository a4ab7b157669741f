import json
import os
import re
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from matplotlib.image import imread

import whitebox_loc as wb
from whitebox_loc import cli
from whitebox_loc.report import figures

pytestmark = pytest.mark.whole

SCENE = wb.data.Scene(size=(24, 32), channels=2)


@pytest.fixture(scope="module", params=["profile", pytest.param("dense", marks=pytest.mark.slow)])
def made(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("tour")
    return wb.report.tour(
        out, scene=SCENE, head=request.param, seconds=2, n=40, seed=3, progress=False
    )


def test_writes_everything_and_leaves_nothing_half_done(made):
    assert all(path.exists() for path in made.paths.values())
    folder = made.paths["report"].parent
    proof = {"proof.json"} if made.model.name == "profile_localizer" else set()
    assert {path.name for path in folder.iterdir()} == {
        "report.html", "model.keras", "metrics.json", "history.csv", "figures", *proof,
    }  # fmt: skip


def test_metrics_are_those_of_the_saved_model(made):
    metrics = json.loads(made.paths["metrics"].read_text())
    model = keras.models.load_model(made.paths["model"])
    (name, scores), *others = metrics["held_out"].items()
    assert (name, others) == ("trained on", [])
    assert scores == wb.training.evaluate(model, SCENE, 40, seed=4).scores()
    assert metrics["weights"] == model.count_params()


def test_figures_are_drawn_and_embedded(made):
    names = {path.stem for path in made.paths["figures"].iterdir()}
    expected = set(figures.FIGURES)
    if made.model.name != "profile_localizer":
        expected -= {"distributions"}
    assert names == expected
    page = made.paths["report"].read_text()
    assert len(re.findall('src="data:image/png;base64,', page)) == len(names)
    for path in made.paths["figures"].iterdir():
        assert np.ptp(imread(path)[..., :3]) > 0.5, f"{path.name} is blank"


def test_the_proof_comes_first(made):
    page, text = made.paths["report"].read_text(), made.summary()
    if made.model.name != "profile_localizer":
        assert (made.proof, "a proof, not a sample" in page) == (None, False)
        return
    assert made.proof.boxes == 24 * 25 // 2 * 32 * 33 // 2
    assert text.startswith(str(made.proof))
    assert str(made.proof) in page[: page.index("<h2>")]
    model = keras.models.load_model(made.paths["model"])
    saved = wb.verification.Proof.load(made.paths["proof"], model)
    assert saved.holds is made.proof.holds


def test_page_holds_the_numbers(made):
    page = made.paths["report"].read_text()
    result = made.evaluations["trained on"]
    assert f"<td>{result.mean_iou:.4f}</td>" in page
    assert f"{made.model.count_params():,} weights" in page


def test_summary_names_the_paths(made):
    text = made.summary()
    assert str(made.paths["report"]) in text
    assert f"{made.evaluations['trained on'].mean_iou:.4f}" in text


@pytest.fixture
def few_figures(monkeypatch):
    """Draw what is drawn of one head only, and a figure of every tour."""
    few = {name: figures.FIGURES[name] for name in ("distributions", "kernels")}
    monkeypatch.setattr(figures, "FIGURES", few)


@pytest.mark.slow
def test_interrupted_tour_goes_on(tmp_path, few_figures):
    command = [sys.executable, "-m", "whitebox_loc.cli", "tour", "--out", "tour", "--images", "20"]
    process = subprocess.Popen(
        [*command, "--head", "dense", "--seconds", "60"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    checkpoint = tmp_path / "tour" / "training.npz"
    while not checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted after step" in shown
    assert "Run the same command again to go on from there." in shown
    assert not (tmp_path / "tour" / "report.html").exists()
    with np.load(checkpoint) as kept:
        steps = len(kept["history/step"])
    made = wb.report.tour(tmp_path / "tour", head="dense", seconds=0, n=20, progress=False)
    assert len(made.history) == steps


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scene", "unifrom"], "`scene` must be one of"),
        (
            ["--head", "x"],
            "`head` must be one of ['profile', 'context', 'coordconv', 'dense']; got 'x'.",
        ),
        (["--seconds", "-1"], "`seconds` must be a finite number >= 0; got -1.0."),
        (["--images", "0"], "`n` must be a whole number >= 1; got 0."),
    ],
)
def test_wrong_arguments_are_one_line_and_leave_nothing(arguments, message, tmp_path, capsys):
    out = tmp_path / "tour"
    assert cli.main(["tour", "--out", str(out), *arguments]) == 2
    shown = capsys.readouterr().err.strip()
    assert message in shown
    assert "\n" not in shown
    assert not out.exists()


def test_a_tour_without_training_is_a_tour(tmp_path, few_figures):
    scene = wb.data.Scene(size=(20, 20), channels=2)
    made = wb.report.tour(tmp_path, scene=scene, seconds=0, n=5, progress=False)
    assert "trained 0.0 s, 0 steps (stopped by seconds)" in made.summary()
    assert made.paths["report"].exists()


def test_figures_of_an_earlier_tour_do_not_stay(tmp_path, few_figures):
    options = {"scene": wb.data.Scene(size=(20, 20)), "seconds": 0, "n": 5, "progress": False}
    wb.report.tour(tmp_path, head="profile", **options)
    assert (tmp_path / "figures" / "distributions.png").exists()
    wb.report.tour(tmp_path, head="dense", **options)
    assert not (tmp_path / "figures" / "distributions.png").exists()


def test_traceback_on_request(tmp_path):
    with pytest.raises(ValueError, match="`head` must be one of"):
        cli.main(["tour", "--out", str(tmp_path), "--head", "x", "--traceback"])


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip() == wb.__version__


def test_unwritable_folder_is_one_line(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("")
    assert cli.main(["tour", "--out", os.fspath(file / "tour"), "--seconds", "0", "--quiet"]) == 1
    assert "Not a directory" in capsys.readouterr().err


@pytest.mark.slow
def test_a_tour_into_a_path_of_other_bytes_writes_its_report(tmp_path, capsys):
    """Python stands for the byte of Latin-1 by half a surrogate, which UTF-8 cannot write."""
    out = tmp_path / "caf\udce9"
    scene = wb.data.Scene(size=(20, 20))
    made = wb.report.tour(out, scene=scene, seconds=0, n=3, progress=False)
    print(made.summary().encode("utf-8").decode())
    assert "caf\\udce9/report.html" in capsys.readouterr().out
    assert "caf\\udce9/report.html" in (out / "report.html").read_text("utf-8")


@pytest.mark.parametrize("arguments", [["--help"], ["tour", "--help"], ["bench", "--help"]])
def test_help_is_for_a_terminal(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: whitebox-loc {' '.join(arguments[:-1])}")
    # What docstrings have and terminals cannot use: examples, modules, markup.
    assert not {">>>", "import", "``", "Submodules"} & set(re.findall(r">>>|``|\w+", shown))


def test_the_folder_is_named_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(wb.report.tours, "fit", lambda *_, **__: pytest.fail("training began"))
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(NotADirectoryError, match=r"`out` .* A file stands where a folder belongs"):
        wb.report.tour(file / "tour", progress=False)
    with pytest.raises(
        TypeError, match=r"^`out` must be a path, as str or pathlib\.Path; got None"
    ):
        wb.report.tour(None, progress=False)
    for wrong in ({"progress": "x"}, {"seed": 0.5}, {"seconds": None}):
        (name,) = wrong
        with pytest.raises(TypeError, match=f"^`{name}` must be "):
            wb.report.tour(tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()
