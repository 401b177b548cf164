"""Models on disk: the same after loading, whole or absent, and never a program."""

import errno
import itertools
import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from trainers import STATE

from flowlid.config import config_from_dict
from flowlid.flow.checkpoint import Model, class_names, load_model, load_payload, save_model, save_payload
from flowlid.flow.flow import build_flow

Randomize = Callable[..., nn.Module]

# torch warns of a pickle protocol that it does not know before it gives a file up
quiet = pytest.mark.filterwarnings("ignore:Detected pickle protocol")


def make_model(randomize: Randomize, normalization: str = "actnorm", seed: int = 1, **settings: str) -> Model:
    config = config_from_dict(
        {
            "data": {"train": "train_a"},
            "frames": {"context": 1, "cmvn": "global"},
            "model": {
                "type": "dnf", "blocks": 3, "hidden": 5, "class_dim": 4, "normalization": normalization, **settings,
            },
        },
        "here",
    )  # fmt: skip
    flow = build_flow(config.model, 2, torch.zeros(9), torch.ones(9))
    stats = np.random.default_rng(1).normal(size=(2, 4))
    return Model(randomize(flow, seed).eval(), config, ["en", "es"], 3, stats)


@pytest.fixture
def saved(randomize: Randomize, tmp_path: Path) -> Path:
    save_model(tmp_path / "final.pt", make_model(randomize))
    return tmp_path / "final.pt"


@pytest.mark.parametrize(
    "settings",
    [
        {"normalization": "actnorm"},
        {"normalization": "batchnorm"},
        {"normalization": "none"},
        {"mixing": "lu", "coupling": "shared"},
    ],
)
def test_a_loaded_model_gives_bit_equal_outputs(settings: dict[str, str], randomize: Randomize, tmp_path: Path) -> None:
    model = make_model(randomize, **settings)
    save_model(tmp_path / "new" / "final.pt", model)
    loaded = load_model(tmp_path / "new" / "final.pt")
    x = torch.randn(20, 9, generator=torch.Generator().manual_seed(1))
    assert torch.equal(loaded.flow.log_prob(x), model.flow.log_prob(x))
    z = model.flow(x)[0]
    for ours, theirs in zip(model.flow.inverse(z), loaded.flow.inverse(z), strict=True):
        assert torch.equal(ours, theirs)
    assert not any(module.training for module in loaded.flow.modules())
    assert (loaded.config, loaded.classes, loaded.feature_dim) == (model.config, model.classes, 3)
    np.testing.assert_array_equal(loaded.global_stats, model.global_stats)


def test_a_model_without_global_statistics(randomize: Randomize, tmp_path: Path) -> None:
    model = make_model(randomize)
    model.global_stats = None
    save_model(tmp_path / "final.pt", model)
    assert load_model(tmp_path / "final.pt").global_stats is None


def test_a_truncated_file_is_named_with_the_fix(saved: Path) -> None:
    whole = saved.read_bytes()
    for share in np.linspace(0, 0.999, 40):
        saved.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match="remove it and train again") as error:
            load_model(saved)
        assert str(error.value).startswith(f"{saved}: ")


@quiet
@settings(max_examples=200)
@given(content=st.one_of(st.binary(), st.text("abc012\n.,;", min_size=1).map(str.encode)))
def test_any_other_file_is_named(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "other.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.pt: .*remove it and train again"):
        load_model(path)


@quiet
@pytest.mark.parametrize(
    "content", [b"no model\n", b".", b"0", b"a.", b"]", b"K", b"PK\x03\x04", b"J.b", b'{"json": 1}'], ids=repr
)
def test_a_text_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "final.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"final\.pt: "):
        load_model(tmp_path / "final.pt")


class Burglar:
    """Unpickling it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("kind", ["model", "training state"])
@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_no_code_from_a_file_runs(how: str, kind: str, tmp_path: Path) -> None:
    target, path = tmp_path / "stolen", tmp_path / "final.pt"
    content = {"flowlid": kind, "version": 2, "state": Burglar(target), "trainer": Burglar(target)}
    if how == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError, match=r"final\.pt: "):
        load_payload(path, kind)
    assert not target.exists()
    # the file is a real trap: read without care it does write
    if how == "torch":
        torch.load(path, weights_only=False)
    else:
        pickle.loads(path.read_bytes())
    assert target.exists()


def test_a_flipped_bit_of_a_training_state_is_told_or_changes_nothing(tmp_path: Path) -> None:
    path, generator = tmp_path / "checkpoint.pt", torch.Generator().manual_seed(1)
    weights = {"flow": torch.randn(20, generator=generator), "moments": [torch.randn(20, generator=generator)]}
    save_payload(path, "training state", {**STATE, "trainer": weights})
    whole, told = path.read_bytes(), 0
    for place, bit in itertools.product(range(len(whole)), (3, 6)):  # 3: a record's method becomes another
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            found = load_payload(path, "training state")["trainer"]
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
            told += 1
            continue
        assert torch.equal(found["flow"], weights["flow"]) and torch.equal(found["moments"][0], weights["moments"][0])
    assert told > len(whole)


def test_a_training_state_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_payload(path, "training state", {**STATE, "trainer": {"step": 3}})
    assert load_payload(path, "training state")["trainer"]["step"] == 3
    with pytest.raises(ValueError, match=r"checkpoint\.pt: no model of flowlid"):
        load_model(path)


def test_a_model_of_before_there_was_mixing_loads_as_a_real_nvp(saved: Path, randomize: Randomize) -> None:
    payload = torch.load(saved, weights_only=True)
    for key in ("mixing", "coupling"):
        del payload["config"]["model"][key]
    torch.save(payload, saved)
    loaded, model = load_model(saved), make_model(randomize)
    assert loaded.config == model.config
    x = torch.randn(20, 9, generator=torch.Generator().manual_seed(1))
    assert torch.equal(loaded.flow.log_prob(x), model.flow.log_prob(x))


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, torch.zeros(3)], ids=["list", "dict", "tensor"])
def test_another_programs_file_is_no_model(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt: no model of flowlid"):
        load_model(tmp_path / "other.pt")


@pytest.mark.parametrize("version", [{"version": 99}, {}])
def test_another_version_is_named(version: dict[str, int], tmp_path: Path) -> None:
    torch.save({"flowlid": "model", **version}, tmp_path / "old.pt")
    with pytest.raises(ValueError, match=rf"old\.pt: format {version.get('version')}, this flowlid reads 2"):
        load_model(tmp_path / "old.pt")


def test_a_missing_model_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"final\.pt: no such model; train it first \(stage 3\)"):
        load_model(tmp_path / "final.pt")


def test_a_full_disk_leaves_the_old_model_and_nothing_else(
    saved: Path, randomize: Randomize, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(saved, make_model(randomize, seed=2))
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_write_that_the_system_cuts_short_leaves_the_old_model_and_nothing_else(
    saved: Path, randomize: Randomize
) -> None:
    before = saved.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_model(saved, make_model(randomize, seed=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]
    save_model(saved, make_model(randomize, seed=2))
    assert saved.read_bytes() != before


def test_the_first_write_on_a_full_disk_leaves_nothing(
    tmp_path: Path, randomize: Randomize, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(tmp_path / "exp" / "final.pt", make_model(randomize))
    assert list((tmp_path / "exp").iterdir()) == []


def test_class_names() -> None:
    assert class_names(["es", "en", "es"], "dnf") == ["en", "es"]
    assert class_names(["es", "en", "es"], "nf") == ["en+es"]
