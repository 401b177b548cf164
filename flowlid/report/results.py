"""Collect the results of all experiments from exp/: the content of results.json."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowlid.files import read_json, read_yaml
from flowlid.report.tables import Result

_ABOUT = (
    "model", "classes", "dim", "class_dim", "parameters", "cmvn", "normalization", "precision", "device", "provenance",
)  # fmt: skip
_TRAIN = (
    "frames", "epochs", "selected_epoch", "loglik_train", "logp_train", "logdet_train", "loglik_eval", "logp_eval",
    "logdet_eval", "seconds",
)  # fmt: skip
_SCORES = (
    "languages", "unseen", "utterances", "frames", "hours", "precision", "loglik", "logp", "logdet", "frame_accuracy",
    "utt_accuracy", "frame_confusion", "utt_confusion", "eer", "cavg", "min_dcf", "utt_accuracy_interval", "durations",
    "margins",
)  # fmt: skip
_SINCE = ("utt_macro_accuracy", "utterances_of")  # not of sets that earlier versions scored: None
_PROFICIENCY = (
    "utterances", "speakers", "score_mean", "score_min", "score_max", "native", "loglik", "llr", "ridge", "reasons",
)  # fmt: skip
_CALIBRATED = (
    "log2_classes", "bits", "bits_raw", "bits_min", "bits_over", "accuracy", "cllr", "cost", "confident", "trusted",
    "pieces",
)  # fmt: skip
_CALIBRATION = ("model", "classes", "scale", "power", "offsets", "utterances", "speakers", "new_speakers")
_OPENSET = ("rate", "seen", "new_voices", "rejected", "unseen", "accepted", "against", "auroc")
_NONSPEECH = ("utterances", "left_out", "frames", "hours", "chance", "flow", "linear", "mark", "warning", "reason")


def trained(exp_dir: Path) -> list[str]:
    """Names of the experiments that were trained, every directory with a train.json."""
    return sorted(path.parent.name for path in exp_dir.glob("*/train.json"))


def collect(exp_dir: str | Path, names: Sequence[str] | None = None) -> list[Result]:
    """Gather what training, scoring and analysis wrote: the content of results.json, one object per experiment.

    Reads train.json, config.yaml, calibration/calibration.json, openset/openset.json, result.json of score_<set>,
    calibrated_<set>, openset_<set>, nonspeech_<set> and proficiency_<set>, and latent_<set>/moments.json. A value that
    does not apply, or whose stage has not run, is None; a set that was neither scored nor analysed is left out. Sets
    are in the order of `data: {tests: [...]}` in config.yaml, the others after them by name.

    Args:
        exp_dir: has one directory per experiment.
        names: the experiments, in this order; by default every directory with a train.json, by name.

    Raises:
        ValueError: no (such) experiment, or a file that is corrupt or lacks an entry; it is named.
    """
    exp_dir = Path(exp_dir)
    if names is None:
        names = trained(exp_dir)
    if not names:
        raise ValueError(f"{exp_dir}: no experiment with a train.json; train one first (stage 3)")
    return [_experiment(exp_dir / name) for name in names]


def _experiment(path: Path) -> Result:
    if not (path / "train.json").is_file():
        raise ValueError(f"{path}/train.json: no such file; train {path.name} first (stage 3)")
    trained = _entries(path / "train.json", (*_ABOUT, *_TRAIN))
    data, frames, features = (_section(path / "config.yaml", name) for name in ("data", "frames", "features"))
    found = {file.parent.name.split("_", 1)[1] for file in path.glob("score_*/result.json")}
    found |= {file.parent.name.split("_", 1)[1] for file in path.glob("latent_*/moments.json")}
    tests = [name for name in data.get("tests") or [] if name in found]
    order = [*tests, *sorted(found - set(tests))]
    calibration, openset = path / "calibration" / "calibration.json", path / "openset" / "openset.json"
    return {
        "experiment": path.name,
        **{key: trained[key] for key in _ABOUT if key != "provenance"},
        "features": features,
        "level": frames.get("level"),
        "floor": frames.get("floor"),
        "train": {"set": data.get("train"), **{key: trained[key] for key in _TRAIN}},
        "calibration": _entries(calibration, _CALIBRATION) if calibration.is_file() else None,
        "openset": _entries(openset, ("background",)) if openset.is_file() else None,
        "sets": {name: _set(path, name) for name in order},
        **{key: trained["provenance"].get(key) for key in ("command", "versions", "commit", "machine")},
    }


def _set(path: Path, name: str) -> Result:
    scores, moments = path / f"score_{name}" / "result.json", path / f"latent_{name}" / "moments.json"
    found = dict.fromkeys((*_SCORES, *_SINCE, "provenance"))
    if scores.is_file():
        found |= _entries(scores, (*_SCORES, "provenance"), _SINCE)
    found["command"] = (found.pop("provenance") or {}).get("command")
    calibrated = path / f"calibrated_{name}" / "result.json"
    found["calibrated"] = _entries(calibrated, _CALIBRATED) if calibrated.is_file() else None
    openset = path / f"openset_{name}" / "result.json"
    found["openset"] = _entries(openset, _OPENSET) if openset.is_file() else None
    nonspeech = path / f"nonspeech_{name}" / "result.json"
    found["nonspeech"] = _entries(nonspeech, _NONSPEECH) if nonspeech.is_file() else None
    proficiency = path / f"proficiency_{name}" / "result.json"
    found["proficiency"] = _entries(proficiency, _PROFICIENCY) if proficiency.is_file() else None
    return {**found, "moments": _entries(moments, ("moments",))["moments"] if moments.is_file() else None}


def _entries(path: Path, keys: Sequence[str], others: Sequence[str] = ()) -> Result:
    """These entries of a JSON object, and those of the others that it has."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a JSON object; remove it and run its stage again")
    missing = [key for key in keys if key not in content]
    if missing:
        raise ValueError(f"{path}: no entry {missing[0]}; remove it and run its stage again")
    return {key: content[key] for key in (*keys, *others) if key in content}


def _section(path: Path, name: str) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    content = read_yaml(path)
    section = content.get(name) if isinstance(content, dict) else None
    return section if isinstance(section, dict) else {}
