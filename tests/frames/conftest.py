"""The data directory that tests of frames start from."""

from pathlib import Path

import pytest
from splicing import UTTS
from tools import feature_dir


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four utterances of two languages and three speakers, of 30 frames and 3 dims; every fifth frame is unvoiced."""
    return feature_dir(tmp_path / "data", UTTS)
