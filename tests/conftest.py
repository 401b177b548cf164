"""Fixtures that several test files share: random weights, and frames of two made-up languages."""

import logging
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from torch import nn

    from flowlid.frames.frameset import FrameSet

# the same examples for everyone, and no stopwatch: the machine may be busy with other jobs
settings.register_profile("flowlid", deadline=None, derandomize=True)
settings.load_profile("flowlid")
# A shell that runs the tests in the background has them ignore Ctrl-C, nohup a hang-up: and so would the programs that
# the tests interrupt.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)
# Files of long tests, started first, so that no process is left with one of them at the end.
LONG = ("cluster/", "fuzz/", "recipes/", "training/", "programs/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the files of long tests first."""
    places = {item: item.nodeid.removeprefix("tests/") for item in items}
    items.sort(key=lambda item: next((n for n, start in enumerate(LONG) if places[item].startswith(start)), len(LONG)))


@pytest.fixture(scope="session")
def one_thread() -> None:
    """Tiny matrices gain nothing from threads, and lose much where the processors are busy."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def randomize(one_thread: None) -> "Callable[..., nn.Module]":
    """`randomize(module, seed)` gives every weight and every buffer a random value other than its start.

    Zero-initialized layers, running statistics and the standardization's moments included: a wrong
    term of a log-determinant cannot hide behind an identity.
    """
    import torch

    def fill(module: "nn.Module", seed: int = 1) -> "nn.Module":
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                scale = 0.3 if parameter.ndim == 1 else parameter.shape[1] ** -0.5
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.copy_(scale * noise)
            for name, buffer in module.named_buffers():
                if name.endswith(("std", "var")):
                    buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator, dtype=torch.float64))
                elif buffer.is_floating_point():
                    buffer.copy_(torch.randn(buffer.shape, generator=generator, dtype=torch.float64))
        return module

    return fill


@pytest.fixture(scope="session")
def make_frames(one_thread: None) -> "Callable[..., FrameSet]":
    """`make_frames(seed, languages)` builds a `FrameSet` in memory: 8 dims, 6 utterances of 50 frames a language.

    Languages are Gaussians of different means, bent by one nonlinearity and off any standard scale;
    two seeds give two sets of the same languages.
    """
    import torch

    from flowlid.frames.frameset import FrameSet

    def build(
        seed: int = 1,
        languages: tuple[str, ...] = ("en", "es"),
        utterances: int = 6,
        length: int = 50,
        context: int = 0,
    ) -> FrameSet:
        fixed = torch.Generator().manual_seed(0)  # the languages: the same for every seed
        centres = {name: 1.5 * torch.randn(8, generator=fixed) for name in ("en", "es", "fr")}
        mixing = torch.eye(8) + 0.3 * torch.randn(8, 8, generator=fixed)
        generator = torch.Generator().manual_seed(seed)
        names = [language for language in languages for _ in range(utterances)]
        feats = torch.cat([centres[name] + torch.randn(length, 8, generator=generator) for name in names]) @ mixing
        feats = 10 + 4 * (feats + 0.3 * feats.roll(1, dims=1) ** 2)
        starts = torch.arange(len(names)) * length
        return FrameSet(
            utts=[f"{name}-{number:02}" for number, name in enumerate(names)],
            languages=names,
            speakers=[f"{name}-{number // 2}" for number, name in enumerate(names)],
            feats=feats,
            first=starts,
            last=starts + length - 1,
            index=torch.arange(len(feats)),
            utt_of=torch.arange(len(names)).repeat_interleave(length),
            context=context,
            digest="made up",
        )

    return build


@pytest.fixture
def copy(corpus: Path, tmp_path: Path) -> Path:
    """A copy, to spoil, of the test file's own `corpus`."""
    return Path(shutil.copytree(corpus, tmp_path / "copy"))


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the project logs, from INFO on."""
    caplog.set_level(logging.INFO, "flowlid")
    return caplog
