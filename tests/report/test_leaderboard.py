import json
import re

import keras
import numpy as np
import pytest
from matplotlib.image import imread

import whitebox_loc as wb
from whitebox_loc import cli
from whitebox_loc.evaluation.benchmarking.results import COLUMNS, Results, read_results
from whitebox_loc.evaluation.scores import METRICS
from whitebox_loc.evaluation.scores.record import KINDS, TRUTHS, Metric
from whitebox_loc.report import leaderboard_pages, leaderboards
from whitebox_loc.report.leaderboard_pages import SECTIONS
from whitebox_loc.report.standings import standing

pytestmark = pytest.mark.whole

TINY = leaderboards.Plan(
    size=(8, 8), n=6, steps=3, coordinates=("top",), mechanisms=("integrator", "constant"),
    left_out=(
        "smooth_randomization", "randomization", "efficient_randomization", "deletion_blur",
        "insertion_blur", "infidelity", "infidelity_scaled",
    ),
    samples=4, audit_images=8,
)  # fmt: skip
SHOWN = ("gradient", "gradient_x_input", "integrated_gradients", "occlusion")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def made(out):
    methods = {name: wb.introspect.METHODS[name] for name in SHOWN}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaderboards, "METHODS", methods)
        return wb.report.leaderboard(out, plan=TINY, seed=2, progress=False)


def test_files(made, out):
    assert read_results(made.paths["json"]).rows[0]["model"] == "localizer"
    assert len(made.paths["csv"].read_text().splitlines()) == len(made.results) + 1
    names = {path.name for path in out.iterdir()}
    assert names == {
        "models", "localizer", "mechanisms", "figures", "results.csv", "results.json",
        "leaderboard.html",
    }  # fmt: skip


def test_every_method_baseline_and_metric_is_in_the_results(made):
    baselines = ["random", "edge_detector", "blurred_oracle"]
    assert made.results.names("method") == [*SHOWN, *baselines]
    assert made.results.names("metric") == [m for m in METRICS if m not in TINY.left_out]
    assert made.results.names("model") == ["localizer", "integrator", "constant"]
    assert made.results.failures() == []


def test_page_shows_only_metrics_with_their_audit(made):
    page = made.paths["report"].read_text()
    tables = re.findall(r"<table><tr><th>method</th>.*?</table>", page, flags=re.S)
    assert len(tables) == len(list(made.paths["figures"].iterdir()))
    for table in tables:
        metrics = re.findall(r"<th>(\w+)<br>", table)
        audits = re.findall(r"<td>([^<]*)</td>", table.split('class="audit"')[1].split("</tr>")[0])
        assert audits == ["audit", *(made.audits[m].verdict for m in metrics)]
        assert len({METRICS[m].truth for m in metrics}) == 1
        for name in ("random", "edge_detector", "blurred_oracle"):
            assert f'<tr class="baseline"><td>{name}</td>' in table


def test_every_metric_that_was_scored_is_in_a_table_of_its_truth(monkeypatch, tmp_path, made):
    """One row of each truth and kind, on each part: each is in one table, with its like only."""
    given = {
        f"{truth}_{kind}": Metric(
            f"{truth}_{kind}", len, kind, truth, True, (0, 1), "x", "none", "nothing"
        )
        for truth in TRUTHS for kind in KINDS
    }  # fmt: skip
    monkeypatch.setattr(leaderboard_pages, "METRICS", given)
    rows = [
        row(method, name, 0.5, truth=metric.truth)
        for method in ("a", "random") for name, metric in given.items()
    ]  # fmt: skip
    audits = dict.fromkeys(given, made.audits["sparseness"])
    parts = {part: Results(rows) for part in ("localizer", "mechanisms")}
    tables = leaderboard_pages.draw_tables(parts, audits, tmp_path)
    for part in parts:
        found = [t.metrics for name, (t, _) in tables.items() if SECTIONS[name][0] == part]
        assert sorted(name for metrics in found for name in metrics) == sorted(given)
        for metrics in found:
            assert len({given[name].truth for name in metrics}) == 1
    page = tmp_path / "page.html"
    leaderboard_pages.write_page(page, "", TINY, 0, Results(rows), audits, tables)
    heads = re.findall(r"<th>(\w+)<br>", page.read_text())
    assert sorted(heads) == sorted([*given, *given])


def test_every_scored_row_of_the_leaderboard_is_on_its_page(made):
    page = made.paths["report"].read_text()
    heads = re.findall(r"<th>(\w+)<br>", page)
    scored = [
        (part, metric)
        for part in (["localizer"], ["integrator", "constant"])
        for metric in made.results.select(model=part, status="ok").names("metric")
    ]
    assert sorted(heads) == sorted(metric for _, metric in scored)


def test_page_holds_the_numbers(made):
    rows = made.results.select(
        model="localizer", method="gradient", metric="rank_accuracy_task", coordinate="top"
    ).rows
    assert f"{rows[0]['mean']:.3g}<br>" in made.paths["report"].read_text()


def test_figures_are_drawn_and_embedded(made):
    files = sorted(made.paths["figures"].iterdir())
    # Rows of the library are in sections of their own; the rest is for those of others.
    assert [path.stem for path in files] == sorted(s for s in SECTIONS if "other" not in s)
    assert made.paths["report"].read_text().count('src="data:image/png;base64,') == len(files)
    for path in files:
        assert np.ptp(imread(path)[..., :3]) > 0.5, f"{path.name} is blank"


def test_the_model_that_was_measured_is_kept(made, out):
    (path,) = (out / "models").iterdir()
    model = keras.models.load_model(path)
    scene = wb.data.Scene(size=(8, 8))
    images = wb.data.generate(scene, 6, seed=2).images
    maps = wb.introspect.saliency(model, images, "top", "gradient")
    from whitebox_loc.evaluation.scores.complexity import gini

    row = made.results.select(model="localizer", method="gradient", metric="sparseness").rows[0]
    # Nine digits are kept.
    assert row["mean"] == pytest.approx(np.nanmean(gini(maps)), rel=1e-6)


def row(method, metric, mean, truth="task", **more):
    return dict.fromkeys(COLUMNS, "") | {
        "model": "m", "scene": "s", "coordinate": "top", "method": method, "metric": metric,
        "mean": mean, "low": mean - 1, "high": mean + 2, "truth": truth, "status": "ok",
        "baseline": method == "random",
    } | more  # fmt: skip


def test_standing_by_hand():
    rows = [
        row("random", "mass_accuracy_task", 0.5),
        row("a", "mass_accuracy_task", 0.25), row("a", "mass_accuracy_task", 0.75, model="k"),
        row("b", "mass_accuracy_task", 0.75), row("b", "mass_accuracy_task", 9.0, status="failed"),
    ]  # fmt: skip
    found = standing(Results(rows), ["mass_accuracy_task", "pointing_game_task"])
    assert (found.methods, found.metrics) == (["a", "b", "random"], ["mass_accuracy_task"])
    assert found.means[:, 0].tolist() == [0.5, 0.75, 0.5]
    assert found.lows[:, 0].tolist() == [-0.5, -0.25, -0.5]
    assert found.highs[:, 0].tolist() == [2.5, 2.75, 2.5]
    assert found.counts[:, 0].tolist() == [2, 1, 1]
    assert found.most == 2
    assert found.beaten(METRICS, ["random"])[:, 0].tolist() == [False, True, False]


def test_lower_is_better_where_the_metric_says_so():
    rows = [row("random", "complexity", 3.0, "none"), row("a", "complexity", 2.0, "none")]
    assert standing(Results(rows), ["complexity"]).beaten(METRICS, ["random"]).tolist() == [
        [True], [False],
    ]  # fmt: skip


def test_a_table_of_two_truths_is_refused():
    rows = [row("a", "x", 1.0, "task"), row("a", "y", 1.0, "model")]
    with pytest.raises(ValueError, match="A table compares with one truth; got metrics of"):
        standing(Results(rows), ["x", "y"])
    assert standing(Results([row("a", "x", 1.0, status="failed")]), ["x"]) is None


def test_options_are_those_that_methods_have():
    for name, method in wb.introspect.METHODS.items():
        assert set(leaderboards._options(name, leaderboards.QUICK)) <= set(method.options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--seed", "-1"], "`seed` must be a whole number >= 0"), (["--workers", "0"], "`workers`")],
)
def test_wrong_arguments_are_one_line_and_leave_nothing(arguments, message, tmp_path, capsys):
    assert cli.main(["bench", "--out", str(tmp_path / "b"), "--quick", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_command_runs_the_leaderboard(made, monkeypatch, tmp_path, capsys):
    asked = {}
    monkeypatch.setattr(
        wb.report, "leaderboard", lambda out, **options: asked.update(options, out=out) or made
    )
    out = str(tmp_path)
    assert cli.main(["bench", "--quick", "--out", out, "--seed", "4", "--workers", "1"]) == 0
    assert asked == {"quick": True, "seed": 4, "progress": True, "out": out}
    assert str(made.paths["report"]) in capsys.readouterr().out


def test_plot_marks_baselines_and_what_is_missing():
    values = np.array([[0.5, np.nan], [0.2, 1.0], [0.3, 900.0]])
    axes = wb.plots.leaderboard(
        values, values - 0.1, values + 0.1, ["a", "b", "noise"], ["x", "y"], baselines=["noise"],
        incomplete=np.array([[True, False]] * 3), notes=["fine", "odd"],
    )  # fmt: skip
    assert [t.get_text() for t in axes[1].texts] == ["not applicable"]
    assert axes[1].get_xscale() == "log"
    assert axes[0].get_xscale() == "linear"
    assert axes[1].get_xlabel() == "odd"
    with pytest.raises(ValueError, match=r"`lows` must have shape \(3, 2\)"):
        wb.plots.leaderboard(values, values[:2], values, ["a", "b", "c"], ["x", "y"])


@pytest.mark.slow
def test_quick_leaderboard_on_two_workers(tmp_path):
    assert cli.main(["bench", "--quick", "--out", str(tmp_path), "--workers", "2", "--quiet"]) == 0
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert {r["method"] for r in rows} >= set(wb.introspect.METHODS)
