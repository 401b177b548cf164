"""Runs that are killed at random moments and repeated (half a minute each); FLOWLID_KILLS says how many."""

import os
from pathlib import Path

from fuzz.kills import kills


def test_a_run_that_is_killed_and_repeated_makes_the_same(tmp_path: Path) -> None:
    count = int(os.environ.get("FLOWLID_KILLS", "2"))
    found = list(kills(count, 1, tmp_path / "run"))
    assert len(found) == count
    assert not [str(kill) for kill in found if kill.problems]
