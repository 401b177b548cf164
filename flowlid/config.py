"""An experiment's configuration: YAML with numbers and names only, checked when it is read."""

import dataclasses
import fnmatch
import math
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flowlid.files import read_yaml
from flowlid.wording import brief, nearest, shortened


@dataclass(frozen=True)
class DataConfig:
    """Which data directories an experiment uses (names below `data/`).

    `dev` and `tests` may hold patterns such as "test_*", for what depends on the corpora at hand.
    """

    train: str = ""
    dev: str = ""
    tests: list[str] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)  # test sets whose latents are drawn one by one


@dataclass(frozen=True)
class FramesConfig:
    """How features become the flow's input frames."""

    context: int = 1  # frames spliced on each side: D = F x (2 context + 1)
    subsampling: int = 1  # train on every n-th frame only
    per_class: int | None = None  # of these, train on at most so many of each class, evenly over its utterances
    cmvn: str = "none"  # mean subtracted: none, utterance, speaker or global
    norm_vars: bool = False  # whether cmvn divides by the standard deviation too
    vad: bool = True  # voiced frames only, from vad.scp
    level: float | None = None  # log-mel energy that each utterance's mean voiced energy is shifted to; null: as it is
    floor: float | None = None  # log-mel energy of noise that is then added to all frames, the same for all; null: none

    @property
    def floored(self) -> bool:
        """Whether the features are changed before anything else is done with them."""
        return self.level is not None or self.floor is not None


@dataclass(frozen=True)
class AugmentationConfig:
    """How far each utterance of the training set is changed, anew in each epoch; evenly drawn, 0 or null: not at all.

    Features are taken to be natural logarithms of mel energies: 10 dB are 2.303 of their units.
    """

    warp: float = 0.0  # of the mel axis, as by the length of the vocal tract: factor of 1 - warp to 1 + warp
    tilt: float = 0.0  # of the spectrum: this many dB, up or down, at the last bin, and the opposite at the first
    equalization: float = 0.0  # most dB, up or down, of each of three cosines over the bins
    gain: float = 0.0  # most dB, up or down
    noise_floor: list[float] | None = None  # mean energy of noise that is added: log-mel units, lowest and highest


@dataclass(frozen=True)
class ModelConfig:
    """The flow and its latent density, or a baseline."""

    type: str = "nf"  # dnf: one mean per class; nf: one standard normal; or one of BASELINES
    blocks: int = 10
    hidden: int = 512
    layers: int = 2
    class_dim: int | None = None  # latent dims that tell classes apart; null: all
    class_variance: float = 1.0
    residual_variance: float = 1.0
    whitening: bool = False  # start from white frames: their covariance is taken away before the first coupling
    normalization: str = "actnorm"  # between couplings: actnorm, batchnorm or none
    coupling: str = "separate"  # networks of scale and shift: separate, or shared but for the last layer
    mixing: str = "none"  # of all dims between pairs of couplings: none, or lu, by a trained matrix
    scale_bound: float | None = 2.0  # soft bound of a coupling's log-scale in nats; null: none
    precision: str = "auto"  # of products: float32, bfloat16, or auto: bfloat16 if the device has units for it
    background: str | None = None  # experiment of a normal flow on the same sets, against which the unknown is told
    components: int = 64  # Gaussians of each class's mixture (gmm)

    @property
    def is_baseline(self) -> bool:
        """Whether it is no flow: scikit-learn fits it, in no epochs, and it has no latents."""
        return self.type in BASELINES

    @property
    def decides(self) -> bool:
        """Whether it tells classes apart."""
        return self.type != "nf"

    @property
    def is_density(self) -> bool:
        """Whether its log-likelihoods are those of frames, log p(x | y); if not, they are log p(y | x)."""
        return self.type != "lr"


@dataclass(frozen=True)
class TrainingConfig:
    """The optimizer (Adam), its schedule, and the safeguards of training."""

    epochs: int = 100
    batch_size: int = 10000
    block_frames: int = 500000  # a larger training set is shuffled in blocks of this many frames, two in memory
    learning_rate: float = 1e-4
    warmup_steps: int = 100  # the learning rate rises linearly over these
    decay: str = "cosine"  # to zero at the last step; or none
    weight_decay: float = 0.0
    clip_norm: float | None = 1000.0  # of the gradient; null: none
    jump: float = 1.0  # a -LogLL this many nats per dimension above its running mean is a jump
    discriminative: float = 0.0  # weight of the cross-entropy of p(y | x) beside -log p(x | y); dnf only
    select: str = "last"  # epoch that becomes final.pt: last, dev_loglik, dev_accuracy or dev_crossent
    most_frames: int = 100000  # of each class that a baseline is fitted on, chosen at random; they are in memory
    seed: int = 1


@dataclass(frozen=True)
class Config:
    """One experiment."""

    data: DataConfig = field(default_factory=DataConfig)
    frames: FramesConfig = field(default_factory=FramesConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    features: dict[str, str] = field(default_factory=dict)  # options that they were made with; training fills them in

    def to_dict(self) -> dict[str, dict[str, Any]]:
        return dataclasses.asdict(self)


PRECISIONS = ("auto", "float32", "bfloat16")
# a mixture of diagonal Gaussians per class, linear discriminant analysis, and multinomial logistic regression
BASELINES = ("gmm", "lda", "lr")
# others are settings of flows
_OF_ALL_TYPES = ("data.", "frames.", "features.", "model.type", "model.background", "training.seed")
_OF_TYPES = {"model.components": ("gmm",), "training.most_frames": BASELINES}
_CHOICES = {
    "frames.cmvn": ("none", "utterance", "speaker", "global"),
    "model.type": ("dnf", "nf", *BASELINES),
    "model.precision": PRECISIONS,
    "model.normalization": ("actnorm", "batchnorm", "none"),
    "model.coupling": ("separate", "shared"),
    "model.mixing": ("none", "lu"),
    "training.decay": ("cosine", "none"),
    "training.select": ("last", "dev_loglik", "dev_accuracy", "dev_crossent"),
}
_NOT_TRAINED = ("data.tests", "data.plots", "model.background")  # what they say does not change the model
_AT_LEAST_ONE = (
    "frames.subsampling", "frames.per_class", "model.blocks", "model.hidden", "model.layers", "model.class_dim",
    "model.components", "training.epochs", "training.batch_size", "training.block_frames", "training.most_frames",
)  # fmt: skip
_LOG_ENERGIES = ("frames.level", "frames.floor")
_AT_LEAST_ZERO = (
    "frames.context", "augmentation.warp", "augmentation.tilt", "augmentation.equalization", "augmentation.gain",
    "training.warmup_steps", "training.weight_decay", "training.seed", "training.discriminative",
)  # fmt: skip
_POSITIVE = (
    "model.class_variance", "model.residual_variance", "model.scale_bound",
    "training.learning_rate", "training.clip_norm", "training.jump",
)  # fmt: skip


def load_config(path: str | Path) -> Config:
    """Read an experiment's YAML file.

    Raises:
        ValueError: no YAML, an unknown key (a known one is suggested), a value of another
            type, or one out of its range; the message names the file and the key.
        FileNotFoundError: no such file.
    """
    return config_from_dict(read_yaml(path), str(path))


def config_from_dict(content: object, where: str) -> Config:
    """Build a `Config` from nested mappings; `where` is named in the messages. Raises as `load_config`."""
    config = _section(Config, {} if content is None else content, where, "")
    for key, value in flatten(config).items():
        _check_value(key, value, where)
    if not config.data.train:
        raise ValueError(f"{where}: data.train is missing: name the training set's directory below data/")
    _check_keys_of_type(config, where)
    _check_augmentation(config, where)
    model = config.model
    if model.type == "nf" and (model.class_dim, model.class_variance, model.residual_variance) != (None, 1.0, 1.0):
        raise ValueError(
            f"{where}: a normal flow (model.type: nf) has no class_dim, class_variance or residual_variance; "
            "its variance is 1"
        )
    if model.background is not None and (model.background in ("", ".", "..") or "/" in model.background):
        raise ValueError(f"{where}: model.background must be the name of an experiment, not {brief(model.background)}")
    if config.training.select != "last" and not config.data.dev:
        raise ValueError(f"{where}: training.select: {config.training.select} needs a set in data.dev")
    if config.training.discriminative and model.type != "dnf":
        raise ValueError(
            f"{where}: training.discriminative: {config.training.discriminative:g} needs classes to tell apart: it is "
            f"for model.type: dnf, not {model.type}; leave it out"
        )
    if config.training.select in ("dev_accuracy", "dev_crossent") and config.model.type == "nf":
        raise ValueError(f"{where}: a normal flow decides nothing: training.select may be last or dev_loglik")
    return config


def _check_augmentation(config: Config, where: str) -> None:
    """Raise ValueError for ranges that make no sense, or changes that the preparation of the frames does not allow."""
    asked = config.augmentation
    if asked.warp >= 0.5:
        raise ValueError(f"{where}: augmentation.warp must be below 0.5, not {asked.warp}; voices differ by about 0.1")
    levels = asked.noise_floor
    if levels is not None and not (len(levels) == 2 and -math.inf < levels[0] <= levels[1] < math.inf):
        what = f"two levels, the lowest and the highest, not {brief(levels)}"
        raise ValueError(f"{where}: augmentation.noise_floor must be {what}")
    on = {name for name, value in dataclasses.asdict(asked).items() if value}
    for names, reason in _conflicts(flatten(config)):
        for name in (name for name in names if name in on):
            raise ValueError(f"{where}: augmentation.{name} does not go with {reason}; leave one of them out")


def _conflicts(values: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Augmentations that do not go with a configuration, and why."""
    cmvn, channel = values["frames.cmvn"], ("tilt", "equalization", "gain", "noise_floor")
    if cmvn == "speaker" or (cmvn == "utterance" and values["frames.norm_vars"]):
        variance = ", frames.norm_vars: true" * values["frames.norm_vars"]
        yield ("warp", *channel), f"frames.cmvn: {cmvn}{variance}, whose statistics it would change"
    elif cmvn == "utterance":
        yield channel, "frames.cmvn: utterance, which takes the channel away"
    if values.get("frames.floor") is not None:
        yield channel, "frames.floor, which it would move in training alone"
    if values.get("frames.level") is not None:
        yield ("gain",), "frames.level, which evens the levels out"


def resolve_sets(config: Config, data: str | Path) -> Config:
    """The configuration with the patterns in `data.dev`, `data.tests` and `data.plots` replaced by set names.

    A pattern stands for the sets that are there and match it, by name, less those already named; it may match
    none, but for `data.dev` not several. In `data.plots` it stands for test sets. Names stay as they are.

    Raises:
        ValueError: `data.dev` matches several sets, or a name in `data.plots` is not a test set.
    """
    there = sorted(path.parent.name for path in Path(data).glob("*/utt2spk") if not path.parent.name.startswith("_"))
    dev = _matches([config.data.dev] if config.data.dev else [], there)
    if len(dev) > 1:
        raise ValueError(f"data.dev: {brief(config.data.dev)} matches {', '.join(dev)}; name one of them")
    tests = _matches(config.data.tests, there)
    plots = _matches(config.data.plots, tests)
    strange = [name for name in plots if name not in tests]
    if strange:
        raise ValueError(f"data.plots: {strange[0]} is not among data.tests ({', '.join(tests)})")
    resolved = dataclasses.replace(config.data, dev="".join(dev), tests=tests, plots=plots)
    return dataclasses.replace(config, data=resolved)


def _matches(names: list[str], there: list[str]) -> list[str]:
    found: dict[str, None] = {}
    for name in names:
        found.update(dict.fromkeys(fnmatch.filter(there, name) if any(char in name for char in "*?[") else [name]))
    return list(found)


def save_config(config: Config, file: typing.IO[str], header: str = "") -> None:
    """Write the resolved configuration, every key of it, below a header of comment lines."""
    file.write("".join(f"# {line}\n" for line in header.splitlines()))
    yaml.safe_dump(config.to_dict(), file, sort_keys=False)


def flatten(config: Config) -> dict[str, Any]:
    """{"section.key": value} of every key."""
    return {f"{name}.{key}": value for name, section in config.to_dict().items() for key, value in section.items()}


def differences(old: Config, new: Config) -> list[str]:
    """One line, "section.key: old -> new", for each key that changes what is trained (not the test sets)."""
    before, after = flatten(old), flatten(new)
    keys = [key for key in after if key in before or old.features]  # older models do not say what their features are
    changed = [key for key in keys if key not in _NOT_TRAINED and before.get(key) != after[key]]
    return [f"{key}: {before.get(key, 'not known')} -> {after[key]}" for key in changed]


def _section(cls: type, content: object, where: str, prefix: str) -> Any:  # noqa: ANN401  (a dataclass of type cls)
    if not isinstance(content, dict):
        raise ValueError(f"{where}: {prefix.rstrip('.') or 'the file'} must hold keys and values, not {brief(content)}")
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in content.items():
        if key not in hints:
            raise ValueError(f"{where}: unknown key {prefix}{shortened(str(key))}{nearest(str(key), hints)}")
        nested = dataclasses.is_dataclass(hints[key])
        values[key] = (
            _section(hints[key], value, where, f"{prefix}{key}.")
            if nested
            else _typed(value, hints[key], f"{where}: {prefix}{key}")
        )
    return cls(**values)


def _typed(value: object, hint: Any, what: str) -> Any:  # noqa: ANN401  (a hint and a value of it)
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    kind = options[0]
    if kind == list[str]:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
    elif kind == list[float]:
        if isinstance(value, list):
            return [_typed(item, float, what) for item in value]
    elif kind == dict[str, str]:
        if isinstance(value, dict):
            return {str(name): item if isinstance(item, str) else str(item).lower() for name, item in value.items()}
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as a text
        try:
            return float(value)
        except ValueError:
            pass
    elif isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a name"}
    names |= {dict[str, str]: "options and their values", list[float]: "a list of numbers"}
    raise ValueError(f"{what} must be {names.get(kind, 'a list of names')}, not {brief(value)}")


def _check_keys_of_type(config: Config, where: str) -> None:
    """Refuse a setting that models of this type do not have, unless it is at its default."""
    kind, defaults = config.model.type, flatten(Config())
    for key, value in flatten(config).items():
        usual = not config.model.is_baseline or key.startswith(_OF_ALL_TYPES)
        has = kind in _OF_TYPES[key] if key in _OF_TYPES else usual
        if not has and value != defaults[key]:
            raise ValueError(f"{where}: {key}: {value}: a model of model.type {kind} has no such setting; remove it")


def _check_value(key: str, value: Any, where: str) -> None:  # noqa: ANN401  (any value of a configuration)
    if key in _CHOICES and value not in _CHOICES[key]:
        raise ValueError(f"{where}: {key} must be one of {', '.join(_CHOICES[key])}, not {brief(value)}")
    if value is None:
        return
    for keys, least, words in ((_AT_LEAST_ONE, 1, "1 or more"), (_AT_LEAST_ZERO, 0, "0 or more")):
        if key in keys and not least <= value < float("inf"):  # NaN is refused too
            raise ValueError(f"{where}: {key} must be {words}, not {value}")
    if key in _LOG_ENERGIES and not -100 <= value <= 100:
        raise ValueError(f"{where}: {key} must be a log-mel energy, between -100 and 100, not {value}")
    if key in _POSITIVE and not 0 < value < float("inf"):
        raise ValueError(f"{where}: {key} must be a positive number, not {value}")
