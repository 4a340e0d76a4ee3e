"""Arrays in messages: any layout, bounded memory, no needless copies."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from cellserve_contract.arrays import DTYPES, ArrayError, describe_array, fill_array, view_array
from cellserve_contract.packing import PackingError, inflate
from cellserve_proto import v1 as pb
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

MIB = 1 << 20


@given(
    hnp.arrays(
        st.sampled_from([dtype for little in DTYPES.values() for dtype in (little, little.newbyteorder(">"))]),
        hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=7),
        elements=st.integers(0, 200),
    ),
    st.sampled_from(["none", "zlib"]),
    st.sampled_from([np.asarray, np.transpose, lambda a: a[::-1], lambda a: a[..., ::2]]),
)
def test_any_array_survives(array, packing, view):
    message = pb.Array()
    fill_array(message, view(array), packing)
    found = view_array(pb.Array.FromString(message.SerializeToString()))
    np.testing.assert_array_equal(found, view(array))
    assert found.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
    assert not found.flags.writeable


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (pb.Array(data_type=99, shape=[1], data=b"1"), "type"),  # type: ignore[arg-type]
        (pb.Array(shape=[1], data=b"1"), "type"),
        (pb.Array(data_type=pb.DATA_TYPE_UINT16, shape=[2, 2], data=b"1234567"), "size"),
        (pb.Array(data_type=pb.DATA_TYPE_UINT8, shape=[2**40, 2**40], data=b"1"), "size"),
        (pb.Array(data_type=pb.DATA_TYPE_UINT8, shape=[-1], data=b"1"), "size"),
        (pb.Array(data_type=pb.DATA_TYPE_UINT8, shape=[1], compression=7, data=b"1"), "packing"),  # type: ignore[arg-type]
        (pb.Array(data_type=pb.DATA_TYPE_UINT8, shape=[1], compression=pb.COMPRESSION_ZLIB, data=b"no"), "packing"),
    ],
)
def test_messages_that_make_no_sense(array, kind):
    with pytest.raises(ArrayError) as error:
        view_array(array)
    assert error.value.kind == kind


def test_types_without_a_number():
    with pytest.raises(ArrayError, match="int64"):
        fill_array(pb.Array(), np.zeros(3, np.int64))


def test_zlib_streams():
    packed = zlib.compress(bytes(100))
    assert inflate(packed, 100) == bytes(100)
    assert len(inflate(zlib.compress(bytes(50 * MIB)), 100)) == 101, "a bomb stays small"
    for damaged in (packed[:-1], packed + b"more", b"no"):
        with pytest.raises(PackingError):
            inflate(damaged, 100)


def test_only_arrays_of_another_layout_are_copied():
    pixels = np.zeros((4, 6), np.uint16)
    assert np.shares_memory(np.frombuffer(describe_array(pb.Array(), pixels), np.uint8), pixels)
    for other in (pixels.T, pixels[:, ::2], pixels.astype(">u2")):
        assert not np.shares_memory(np.frombuffer(describe_array(pb.Array(), other), np.uint8), pixels)
