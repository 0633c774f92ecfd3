import io
import json
import logging
import warnings
from pathlib import Path

import pytest

from node import logs


@pytest.fixture
def lines():
    stream = io.StringIO()
    before = logging.getLogger().handlers[:], logging.getLogger().level
    with warnings.catch_warnings():
        logs.configure("DEBUG", key=b"k" * 16, stream=stream)
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
        logging.captureWarnings(False)
    logging.getLogger().handlers[:], logging.getLogger().level = before


def test_s28_a_uid_in_any_value_becomes_a_hash(lines):
    logs.get_logger("t").info("stored", what="file of 1.2.840.113619.2.55 arrived")

    assert "1.2.840" not in str(lines())
    assert logs.hashed("1.2.840.113619.2.55") in lines()[0]["what"]


def test_s28_a_path_becomes_a_hash(lines):
    logs.get_logger("t").info("stored", where=Path("/data/studies/1.2.3.4/x.dcm"))

    assert "studies" not in str(lines())


def test_s28_library_words_are_dropped_and_their_place_kept(lines):
    logging.getLogger("pydicom").warning("Invalid value for PN: 'Doe^Jane'")
    logging.getLogger("pynetdicom.acse").error("Doe^Jane")
    warnings.warn("Doe^Jane has no birth date", UserWarning, stacklevel=1)

    assert len(lines()) == 3
    assert "Doe" not in str(lines())
    assert lines()[0]["library"] == "pydicom"


def test_s28_an_exception_is_logged_by_type_and_place_without_its_message(lines):
    try:
        raise ValueError("Doe^Jane")
    except ValueError:
        logs.get_logger("t").error("failed", exc_info=True)

    (line,) = lines()
    assert line["error"] == "ValueError"
    assert "Doe" not in str(line)
    assert any("test_logs.py" in place for place in line["at"])


def test_key_is_made_once_and_private(tmp_path):
    first = logs.load_key(tmp_path / "key")

    assert logs.load_key(tmp_path / "key") == first
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
