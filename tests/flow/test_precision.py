"""Which precision a flow's products run in."""

from pathlib import Path

import pytest
import torch

from flowlid.flow import precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16 gfni", True),
        ("flags\t\t: fpu amx_bf16 amx_tile", True),
        ("Features\t: fp asimd bf16 i8mm", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", False),
        ("model name\t: bf16 is in this name only", False),
    ],
)
def test_a_cpu_has_units_for_bfloat16_if_it_says_so(
    line: str, has: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n")
    monkeypatch.setattr(precision, "Path", lambda _: tmp_path / "cpuinfo")
    monkeypatch.setattr(precision, "_onednn_takes_bfloat16", lambda: True)
    assert precision.has_bfloat16_units(CPU) is has
    assert precision.resolve("auto", CPU) == (torch.bfloat16 if has else torch.float32)


def test_units_that_onednn_does_not_use_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_onednn_takes_bfloat16", lambda: False)
    assert precision.resolve("auto", CPU) == torch.float32


def test_a_system_that_does_not_tell_counts_as_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "Path", lambda _: tmp_path / "nothing")
    assert precision.resolve("auto", CPU) == torch.float32


def test_what_was_asked_for_is_taken_whatever_the_device_has() -> None:
    assert precision.resolve("bfloat16", CPU) == torch.bfloat16
    assert precision.resolve("float32", CPU) == torch.float32
    with pytest.raises(ValueError, match="one of auto, float32, bfloat16, not 'half'"):
        precision.resolve("half", CPU)
