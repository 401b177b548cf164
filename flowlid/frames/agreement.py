"""Whether data are what a model was trained on: the options of the features, and the labels of the training set."""

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from flowlid.config import Config
from flowlid.flow.checkpoint import Model
from flowlid.kaldi.datadir import DataDir
from flowlid.wording import some


def features_of(data: DataDir, pipes: bool = False) -> dict[str, str]:
    """What is known of a directory's features: the options that stage 2 made them with, or else only their `dim`."""
    known = data.feature_options
    if known:
        return known
    utt = next(iter(data.table("feats.scp")))
    return {"dim": str(data.feats(utt, pipes).shape[1])}


def with_features(config: Config, data: DataDir, pipes: bool = False) -> Config:
    """A configuration with the options of the training set's features.

    Raises:
        ValueError: it names others itself, as the config.yaml of a trained model does.
    """
    found = features_of(data, pipes)
    if config.features:
        _check(config, found, data, "the experiment's section features asks for")
    return replace(config, features=found)


def check_features(config: Config, data: DataDir, pipes: bool = False) -> None:
    """Check that a directory's features were made as those that a model was trained on, as far as both are known.

    Raises:
        ValueError: they differ; the options are named.
    """
    _check(config, features_of(data, pipes), data, "the model was trained on")


def _check(config: Config, found: dict[str, str], data: DataDir, whose: str) -> None:
    changed = [
        f"{name}: {value}, but here {found[name]}"
        for name, value in config.features.items()
        if found.get(name, value) != value and (config.frames.vad or not name.startswith("vad."))
    ]
    if changed:
        raise ValueError(
            f"{data.path}: its features are not those that {whose}:\n  " + "\n  ".join(changed) + "\n"
            "run stage 2 with the options of the model (exp/<name>/config.yaml names them), or give data directories "
            "whose features were made so"
        )


def training_labels(data: DataDir) -> dict[str, Any]:
    """The languages of a training set as a model remembers them: `digest` of utt2lang, and `utterances` of each."""
    table = data.table("utt2lang")
    lines = "".join(f"{utt} {language}\n" for utt, language in table.items())
    counts = Counter(table.values())
    return {
        "digest": hashlib.sha256(lines.encode()).hexdigest()[:32],
        "utterances": {name: counts[name] for name in sorted(counts)},
    }


def check_labels(model: Model, data_dir: Path) -> None:
    """Check that the training set in `data_dir`, if it is there, has the labels that a model was trained on.

    Raises:
        ValueError: they have changed; in which languages is said.
    """
    path = data_dir / model.config.data.train
    if model.labels is None or not (path / "utt2lang").is_file():
        return
    now = training_labels(DataDir(path))
    if now["digest"] == model.labels["digest"]:
        return
    before, after = model.labels["utterances"], now["utterances"]
    changed = [
        f"{name}: {before.get(name, 0)} utterances, now {after.get(name, 0)}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    words = some(changed, separator="; ") if changed else "as many utterances of each language, but others"
    raise ValueError(
        f"{path}/utt2lang: not the labels that the model was trained on ({words}); train again (stage 3 with "
        "--overwrite true), or put the old ones back"
    )
