"""The networks of a family come back, and only from files that belong together."""

import json
from pathlib import Path

import pytest
import torch
from cellserve_export.cli import app
from cellserve_export.errors import FamilyError
from cellserve_export.family import Family, write_family
from cellserve_export.graph import stored
from cellserve_export.unpack import unpack_family
from cellserve_networks.checkpoint import Checkpoint, load_checkpoint
from typer.testing import CliRunner

FAMILY = Family("cells", "Made in a test", "none", "random numbers", diam_mean=17.0)


@pytest.fixture
def repository(tmp_path: Path, checkpoints: list[Checkpoint]) -> Path:
    write_family(tmp_path / "models", FAMILY, checkpoints, "fp16", {})
    return tmp_path / "models"


def test_networks_come_back_as_they_are_stored(repository: Path, checkpoints: list[Checkpoint], tmp_path: Path) -> None:
    arguments = ["unpack", "cells", "--repository", str(repository), "--out", str(tmp_path / "networks")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "networks").iterdir()) == ["cells_0.pt", "cells_1.pt"]
    for index, checkpoint in enumerate(checkpoints):
        back = load_checkpoint(tmp_path / "networks" / f"cells_{index}.pt")
        assert (back.diam_mean, back.diam_labels) == (17, 22.5)
        state = back.network.state_dict()
        for name, tensor in checkpoint.network.state_dict().items():
            if not name.endswith("num_batches_tracked") and not name.startswith("diam"):
                torch.testing.assert_close(state[name], stored(tensor, "fp16").float(), rtol=0, atol=0, msg=name)


def test_a_family_exported_again_from_its_networks_is_the_same_file(repository: Path, tmp_path: Path) -> None:
    networks = unpack_family(repository, "cells")
    again = [Checkpoint(network, "0" * 64, 17.0, None, ("cytoplasm", "nucleus")) for network in networks]
    write_family(tmp_path / "again", FAMILY, again, "fp16", {})
    files = [folder / "cells" / "1" / "model.onnx" for folder in (repository, tmp_path / "again")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda cells: (cells / "model.json").unlink(), "no family 'cells'"),
        (lambda cells: (cells / "model.json").write_text("{"), "not a description of a family"),
        (lambda cells: (cells / "model.json").write_text("{}"), "not a description of a family"),
        (lambda cells: (cells / "1" / "model.onnx").write_bytes(b"other"), "not the file that model.json describes"),
        (lambda cells: (cells / "model.json").write_text(json.dumps([])), "not a description of a family"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(repository: Path, spoil, said: str) -> None:
    spoil(repository / "cells")
    with pytest.raises(FamilyError, match=said):
        unpack_family(repository, "cells")
