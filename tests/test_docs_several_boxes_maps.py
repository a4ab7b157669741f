"""What the page about several boxes shows is what comes out."""

import re
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[1] / "docs" / "several_boxes_maps.md"


def test_the_examples_of_the_page_run_and_do_what_it_says():
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.S)
    assert len(blocks) == 5
    for block in blocks[:3]:
        exec(compile(block, PAGE.name, "exec"), names)
    result = names["result"]
    assert (result.map, result.map50, result.by_class) == (1.0, 1.0, {0: 1.0})
    assert result.recall[1] == 0.5
    maps = names["maps"]
    assert maps.maps.shape == (2, 4, 24, 24)
    assert maps.parts == ("top", "left", "bottom", "right")
    assert (maps.images.tolist(), maps.candidates.tolist()) == ([0, 0], [0, 1])
    exec(compile(blocks[3], PAGE.name, "exec"), names)
    accuracy = names["wb"].evaluation.mass_accuracy
    moved = names["moved"].of_part("top")
    np.testing.assert_allclose(accuracy(moved, names["own"]), 1)
    np.testing.assert_array_equal(accuracy(moved, names["other"]), 0)
    exec(compile(blocks[4], PAGE.name, "exec"), names)
    assert names["maps"].maps.shape == (2, 1, 24, 24)
    # The map of each box is strongest in its own half.
    columns = np.abs(names["maps"].maps[:, 0]).sum(1).argmax(1)
    assert columns[0] < 12 <= columns[1]
