"""Files are whole or not there."""

import json

import pytest
from cellserve_formats.files import replacing, write_json


def test_a_file_replaces_the_earlier_one(tmp_path):
    path = tmp_path / "folder" / "file.bin"
    for content in (b"earlier", b"later"):
        with replacing(path) as file:
            file.write(content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"earlier")

    def fail():
        with replacing(path) as file:
            file.write(b"half of the n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_json_has_a_line_for_a_list_of_numbers(tmp_path):
    content = {"name": "[ 1 ]", "numbers": [1.5, -2e-9, 3], "nested": {"empty": [], "words": ["a", "b"]}}
    write_json(tmp_path / "file.json", content)
    text = (tmp_path / "file.json").read_text()
    assert json.loads(text) == content
    assert '"numbers": [1.5, -2e-09, 3]' in text


def test_json_refuses_numbers_that_are_not_finite(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file.json", {"number": float("nan")})
    assert not list(tmp_path.iterdir())
