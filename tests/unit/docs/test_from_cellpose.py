"""The table of Cellpose's options: complete, and with names that exist here."""

import re
from pathlib import Path

import pytest
from cellserve_contract.params import PARAMETERS

PAGE = (Path(__file__).parents[3] / "docs" / "guides" / "from-cellpose.md").read_text()
TABLES = "\n".join(line for line in PAGE.splitlines() if line.startswith(("|", "Names")))
WORDS = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", TABLES))))

"""What stands in code in the tables."""

# Of `CellposeModel.eval` in Cellpose 3.1; `net_avg` and `resample` of Cellpose 2.
EVAL = {
    "channels", "channel_axis", "z_axis", "normalize", "invert", "rescale", "diameter", "flow_threshold",
    "cellprob_threshold", "do_3D", "anisotropy", "flow3D_smooth", "stitch_threshold", "min_size",
    "max_size_fraction", "niter", "augment", "tile_overlap", "bsize", "interp", "compute_masks", "progress",
    "batch_size", "resample", "net_avg",
}  # fmt: skip


def test_every_option_of_eval_is_translated():
    assert not EVAL - WORDS


def test_every_name_of_ours_exists():
    options = {option.replace("-", "_") for option in re.findall(r"--([a-z-]+)", PAGE)}
    assert {"cytoplasm_channel", "nucleus_channel", "normalization", "interpolation", "exclude_on_edges"} <= options
    ours = {row.split("|")[2].strip() for row in PAGE.splitlines() if re.match(r"\| `\w+`[^|]*\| `\w+` \|", row)}
    assert {name.strip("`") for name in ours} - {"axes"} <= PARAMETERS.keys()


def test_the_hints_of_the_client_are_on_the_page():
    names = pytest.importorskip("cellserve_contract.cellpose_names").CELLPOSE_NAMES
    told_elsewhere = {"chan", "chan2", "flow_thresh", "cellprob_thresh", "mask_threshold", "diam", "diam_mean", "gpu",
                      "use_gpu", "device", "model_type", "pretrained_model"}  # fmt: skip
    assert not names.keys() - WORDS - told_elsewhere
