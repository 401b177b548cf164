"""A run that is killed at random moments and repeated; FLOWLID_KILLS says how often (about three runs' time for 10)."""

import os
from pathlib import Path

from fuzz.kills import kills


def test_a_run_that_is_killed_and_repeated_makes_the_same(tmp_path: Path) -> None:
    count = int(os.environ.get("FLOWLID_KILLS", "2"))
    found = list(kills(count, 1, tmp_path / "run", in_a_row=5))
    assert len(found) == count
    assert not [str(kill) for kill in found if kill.problems]
