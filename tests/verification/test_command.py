"""The command ``whitebox-loc prove``."""

import json

import pytest

import whitebox_loc as wb
from whitebox_loc import cli, verification


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in ("integrator", "area_only"):
        wb.models.compiled(name, (6, 7)).save(folder / f"{name}.keras")
    return folder


@pytest.mark.parametrize(("name", "status"), [("integrator", 0), ("area_only", 1)])
def test_the_status_says_whether_the_claim_holds(files, tmp_path, capsys, name, status):
    out = tmp_path / "out"
    arguments = ["prove", str(files / f"{name}.keras"), "--out", str(out), "--quiet"]
    assert cli.main(arguments) == status
    proof = verification.Proof.load(out / "proof.json", wb.models.compiled(name, (6, 7)))
    assert proof.boxes == 21 * 28
    assert proof.holds is (status == 0)
    assert str(proof) in capsys.readouterr().out
    # What was enumerated is not done again.
    assert list(json.loads((out / "parts.json").read_text())["parts"]) == ["0"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["missing.keras"], "`MODEL` 'missing.keras' is not a readable .keras file"),
        (["--how", "magic"], "`how` must be one of"),
        (["--scene", "magic"], "`scene` must be one of"),
        (["--any-canvas"], "`canvas` 'any' needs the argument by symmetry"),
    ],
)
def test_wrong_arguments(files, tmp_path, capsys, arguments, text):
    model = [] if arguments[0].endswith(".keras") else [str(files / "integrator.keras")]
    status = cli.main(["prove", *model, *arguments, "--out", str(tmp_path / "out"), "--quiet"])
    assert (status, text in capsys.readouterr().err) == (2, True)
    assert not (tmp_path / "out").exists()
