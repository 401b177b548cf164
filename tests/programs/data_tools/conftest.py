"""What the tests of the data-directory tools share: the tools, run in this process."""

import os
import sys
from pathlib import Path

import pytest
from segmented import Tool
from tools import load


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of small files need not reach the disk before the test goes on."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tool:
    """Run a tool's main with arguments, in this process; gives the lines that it prints."""

    def run(name: str, *args: str | Path | int) -> list[str]:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, args)])
        load(f"utils/{name}.py").main()
        return capsys.readouterr().out.splitlines()

    return run
