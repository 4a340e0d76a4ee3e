"""Tables of objects in Parquet: read by pandas, whole or not there."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from cellserve_contract.objects import columns
from cellserve_formats import PixelSize, table_parquet
from cellserve_formats.table_parquet import TableParquetWriter

pandas = pytest.importorskip("pandas")
pq = pytest.importorskip("pyarrow.parquet")


def objects(first, count, axes="YX"):
    numbers = np.arange(first, first + count)
    return {column.name: numbers * (1 if column.kind == "int" else 0.5) for column in columns(axes)}


@pytest.mark.parametrize("axes", ["YX", "ZYX"])
@pytest.mark.parametrize("region", [None, "cells"])
def test_pandas_reads_what_was_written_in_parts(tmp_path, monkeypatch, axes, region):
    monkeypatch.setattr(table_parquet, "_ROWS_OF_A_GROUP", 10)
    path = tmp_path / "new" / "objects.parquet"
    size = PixelSize(0.5, 0.25, 2.0)
    with TableParquetWriter(path, axes, size, region) as table:
        for first in range(1, 36, 7):
            table.write(objects(first, 7, axes))
    frame = pandas.read_parquet(path)
    expected = pandas.DataFrame(objects(1, 35, axes))
    if region:
        assert (frame.pop("region") == "cells").all()
        assert frame.attrs["spatialdata_attrs"] == {
            "region": "cells",
            "region_key": "region",
            "instance_key": "label",
        }
    pandas.testing.assert_frame_equal(frame, expected)
    assert frame.attrs["axes"] == axes
    assert frame.attrs["pixel_size_um"] == {"y": 0.5, "x": 0.25, "z": 2.0}
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [14, 14, 7]
    assert file.schema_arrow.field("area").metadata[b"meaning"] == b"Number of pixels."
    assert json.loads(file.schema_arrow.metadata[b"PANDAS_ATTRS"])["axes"] == axes


def test_pandas_is_not_imported_to_write(tmp_path):
    """Its import takes half a second."""
    program = (
        "import sys\n"
        "import numpy as np\n"
        "from cellserve_contract.objects import columns\n"
        "from cellserve_formats.table_parquet import TableParquetWriter\n"
        "with TableParquetWriter(sys.argv[1], region='cells') as table:\n"
        "    table.write({column.name: np.ones(3) for column in columns('YX')})\n"
        "assert 'pandas' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "objects.parquet")], check=True)
    assert len(pandas.read_parquet(tmp_path / "objects.parquet")) == 3


def test_columns_of_unequal_lengths_are_refused(tmp_path):
    values = objects(1, 3)
    values["area"] = np.arange(2)
    with (
        pytest.raises(ValueError, match="length"),
        TableParquetWriter(tmp_path / "objects.parquet", region="cells") as table,
    ):
        table.write(values)


def test_a_table_without_objects(tmp_path):
    with TableParquetWriter(tmp_path / "objects.parquet"):
        pass
    frame = pandas.read_parquet(tmp_path / "objects.parquet")
    assert list(frame) == [column.name for column in columns()]
    assert (len(frame), frame["label"].dtype, frame["area"].dtype) == (0, np.int64, np.int64)
    assert frame.attrs["pixel_size_um"] is None


def test_a_failure_leaves_the_old_table(tmp_path):
    path = tmp_path / "objects.parquet"
    path.write_bytes(b"old")

    def write_half() -> None:
        with TableParquetWriter(path) as table:
            table.write(objects(1, 3))
            table.write({name: values for name, values in objects(1, 3).items() if name != "area"})

    with pytest.raises(KeyError, match="area"):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_columns_of_different_lengths(tmp_path):
    with pytest.raises(ValueError, match=r"length|row"), TableParquetWriter(tmp_path / "objects.parquet") as table:
        table.write(objects(1, 3) | {"area": np.arange(4)})
    assert not list(tmp_path.iterdir())
