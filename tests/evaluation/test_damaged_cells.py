"""A cell of a benchmark is believed if it is what was written; else it is done again, aloud."""

import copy
import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from whitebox_loc._files import csv_cell
from whitebox_loc.evaluation import DamagedCellWarning, Results, benchmark, read_results
from whitebox_loc.evaluation.benchmarking import jobs
from whitebox_loc.evaluation.benchmarking.results import COLUMNS
from whitebox_loc.training.history import History


@pytest.fixture(scope="module")
def toys():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        import benchmark_toys

        yield benchmark_toys


def call(toys, out=None, names=("net",)):
    """One job of two metrics for each name."""
    model = toys.linear_model(7)
    metrics = [toys.metric(toys.total), toys.metric(toys.height_of_tall_ones)]
    scenes = {"toy": toys.SCENES["toy"]}
    return benchmark(
        dict.fromkeys(names, model), ["gradient"], scenes, metrics, out=out, n=4, seed=5,
        baselines=False, progress=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(toys, tmp_path_factory):
    """A finished job: its rows and the content of its file."""
    out = tmp_path_factory.mktemp("done")
    found = call(toys, out)
    (path,) = (out / "jobs").iterdir()
    return found, path.name, json.loads(path.read_text())


def first_cell(about):
    return next(iter(about["cells"].values()))


def an_edited_mean(about):
    first_cell(about)["rows"][0]["mean"] += 0.5


def a_missing_coordinate(about):
    del first_cell(about)["rows"][2]


def no_rows(about):
    first_cell(about)["rows"] = []


def a_list_for_a_cell(about):
    about["cells"][next(iter(about["cells"]))] = []


def a_missing_key(about):
    del first_cell(about)["rows"][1]["status"]


def text_for_a_number(about):
    first_cell(about)["rows"][1]["mean"] = "0.5"


def no_checksum(about):
    del first_cell(about)["checksum"]


def a_number_for_a_row(about):
    first_cell(about)["rows"][3] = 7


def a_mean_of_no_images(about):
    first_cell(about)["rows"][3]["n"] = 0


def rows_in_another_order(about):
    first_cell(about)["rows"].reverse()


def cells_that_changed_places(about):
    keys = list(about["cells"])
    about["cells"] = dict(zip(keys, reversed(about["cells"].values()), strict=True))


DAMAGES = {
    an_edited_mean: "cell 'total': its checksum does not fit its rows",
    a_missing_coordinate: "cell 'total': it has 3 rows for 4 coordinates",
    no_rows: "cell 'total': it has 0 rows for 4 coordinates",
    a_list_for_a_cell: "cell 'total': it has no rows",
    a_missing_key: "cell 'total': 'status' is missing",
    text_for_a_number: "cell 'total': 'mean' is '0.5'",
    no_checksum: "cell 'total': its checksum does not fit its rows",
    a_number_for_a_row: "cell 'total': it must be an object; it is 7",
    a_mean_of_no_images: "cell 'total': its status is 'ok' with n = 0 and mean = ",
    rows_in_another_order: "cell 'total': its checksum does not fit its rows",
    cells_that_changed_places: "cell 'height_of_tall_ones': its checksum does not fit its rows",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_cell_is_computed_again_and_said(toys, done, tmp_path, monkeypatch, damage):
    found, name, about = done
    about = copy.deepcopy(about)
    damage(about)
    path = tmp_path / "jobs" / name
    path.parent.mkdir()
    path.write_text(json.dumps(about))
    asked, real = [], jobs.run
    monkeypatch.setattr(
        jobs, "run", lambda job: asked.extend(m.label for m in job.metrics) or real(job)
    )
    with pytest.warns(DamagedCellWarning) as warned:
        again = call(toys, tmp_path)
    np.testing.assert_equal(again.rows, found.rows)
    # The sound cell of the same file is not done again.
    both = damage is cells_that_changed_places
    assert asked == (["total", "height_of_tall_ones"] if both else ["total"])
    (message,) = [str(w.message) for w in warned]
    assert message.startswith(f"{path} is damaged or of another version: ")
    assert DAMAGES[damage] in message
    assert message.endswith(". What is missing is computed again.")
    # And the file is whole again: no warning, which would be an error here, and nothing to do.
    np.testing.assert_equal(call(toys, tmp_path).rows, found.rows)
    assert json.loads(path.read_text()) == done[2]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "it is not JSON (Expecting value: line 1 column 1 (char 0))"),
        (b"\xff", "it is not JSON ('utf-8' codec can't decode byte 0xff in position 0"),
        (b"[]", "its format is 'list', not 'whitebox_loc benchmark job 3'"),
        (b'{"cells": {}}', "its format is None, not 'whitebox_loc benchmark job 3'"),
        (
            b'{"format": "whitebox_loc benchmark job 2", "cells": {}}',
            "its format is 'whitebox_loc benchmark job 2', not 'whitebox_loc benchmark job 3'",
        ),
        (
            b'{"format": "whitebox_loc benchmark job 3", "cells": 3}',
            "`cells` must be an object; it is 3",
        ),
    ],
    ids=["empty", "no text", "list", "no format", "earlier", "number"],
)
def test_a_damaged_file_is_computed_again_and_said(toys, done, tmp_path, content, fault):
    path = tmp_path / "jobs" / done[1]
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.warns(DamagedCellWarning, match=re.escape(f"{path} is damaged")) as warned:
        again = call(toys, tmp_path)
    assert fault in str(warned[0].message)
    np.testing.assert_equal(again.rows, done[0].rows)


def edited(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda c: c["rows"][3].update(mean=0.9), "its checksum does not fit its rows"),
        (lambda c: c["rows"].pop(), "its checksum does not fit its rows"),
        (lambda c: c["rows"][3].pop("scene"), "row 3: 'scene' is missing"),
        (lambda c: c["rows"][1].update(low="x"), "row 1: 'low' is 'x'"),
        (lambda c: c["rows"].insert(0, 5), "row 0: it must be an object; it is 5"),
        (lambda c: c.update(rows={}), "it has no list of rows"),
        (lambda c: c.clear(), "it has no list of rows"),
    ],
    ids=["mean", "row", "column", "text", "number", "object", "empty"],
)
def test_damaged_results_are_one_error_that_names_the_path(done, tmp_path, change, fault):
    path = tmp_path / "results.json"
    done[0].to_json(path)
    edited(path, change)
    message = (
        f"`path` {str(path)!r} holds no benchmark results, or damaged ones: {fault}. Name the "
        "results.json of a benchmark, or call it again with the same `out` to write it anew."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        read_results(path)


def test_results_that_are_no_json_or_no_path(tmp_path):
    path = tmp_path / "results.json"
    for content in (b"", b"{", b"\xff\xfe\x00", b"[" * 10):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"results.json' holds no benchmark .* it is not JSON"):
            read_results(path)
    with pytest.raises(TypeError, match=r"`path` must be a path, as str or pathlib.Path; got None"):
        read_results(None)


def test_results_of_an_earlier_version_have_no_checksum(done, tmp_path):
    path = tmp_path / "results.json"
    done[0].to_json(path)
    edited(path, lambda content: content.pop("checksum"))
    np.testing.assert_equal(read_results(path).rows, done[0].rows)


HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "'=1", "''-x", "\t=1", "=", "-"]
HARMLESS = ["net", "", "'", "'net'", "1=1", "a-b", " =1", "–"]


def taken_back(cell):
    """As docs/benchmark.md says."""
    return re.sub(r"^'(?='*[=+\-@\t\r])", "", cell)


def test_no_text_is_run_by_a_spreadsheet_and_all_comes_back():
    for text in HOSTILE:
        assert csv_cell(text) == "'" + text
    assert [csv_cell(text) for text in HARMLESS] == HARMLESS
    assert [taken_back(csv_cell(text)) for text in HOSTILE + HARMLESS] == HOSTILE + HARMLESS
    for number in (-0.5, 3, -7, True, None):
        assert csv_cell(number) is number


def test_tables_of_a_benchmark_neutralise_text_and_keep_numbers(toys, tmp_path):
    names = ["=cmd|' /C calc'!A0", "@net", "ünet"]
    found = call(toys, tmp_path, names)
    for file, column in (("results.csv", "model"), ("timings.csv", "model")):
        with open(tmp_path / file, newline="", encoding="utf-8") as opened:
            read = list(csv.DictReader(opened))
        assert list(dict.fromkeys(r[column] for r in read)) == [
            "'=cmd|' /C calc'!A0",
            "'@net",
            "ünet",
        ]
        assert [taken_back(n) for n in dict.fromkeys(r[column] for r in read)] == names
    row = dict(found.rows[0], mean=-0.5, error="- no\nlist")
    Results([row]).to_csv(tmp_path / "one.csv")
    with open(tmp_path / "one.csv", newline="", encoding="utf-8") as opened:
        (line,) = csv.DictReader(opened)
    assert (line["mean"], line["error"]) == ("-0.5", "'- no\nlist")
    assert list(line) == list(COLUMNS)


def test_a_history_keeps_its_numbers(tmp_path):
    history = History({"step": [1.0], "=loss": [-0.5]}, names=("step", "=loss"))
    path = history.to_csv(tmp_path / "history.csv")
    assert path.read_text().split() == ["step,'=loss", "1.0,-0.5"]
