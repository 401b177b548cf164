"""Configurations: what is refused, and how clearly; what is read; what survives a round trip."""

from pathlib import Path

import pytest

from flowlid.config import Config, config_from_dict, differences, flatten, load_config, resolve_sets, save_config

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted(ROOT.glob("egs/*/conf/*.yaml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "dnf.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def config(**sections: dict[str, object]) -> Config:
    sections.setdefault("data", {"train": "train_a"})
    return config_from_dict(sections, "here.yaml")


def test_what_is_left_out_keeps_its_default(tmp_path: Path) -> None:
    read = load_config(write(tmp_path, "data: {train: train_a}\nmodel: {type: dnf, class_dim: 40}\n"))
    assert (read.data.train, read.model.type, read.model.class_dim) == ("train_a", "dnf", 40)
    assert (read.model.blocks, read.training.batch_size, read.frames.cmvn) == (10, 10000, "none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle: {type: nf}", r"modle \(did you mean 'model'\?\)"),
        ("data: {train: a}\nmodel: {hiden: 256}", r"model\.hiden \(did you mean 'hidden'\?\)"),
        ("training: {learning-rate: 0.1}", r"training\.learning-rate \(did you mean 'learning_rate'\?\)"),
        ("frames: {xyz: 1}", r"frames\.xyz; known: context subsampling per_class cmvn"),  # nothing is near
    ],
)
def test_an_unknown_key_names_the_nearest_one_and_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=f"unknown key {message}") as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("section", "key", "value", "wanted"),
    [
        ("model", "blocks", "ten", "a whole number"),
        ("model", "blocks", 2.5, "a whole number"),
        ("model", "blocks", True, "a whole number"),
        ("model", "blocks", None, "a whole number"),
        ("model", "class_dim", "all", "a whole number"),
        ("training", "learning_rate", "fast", "a number"),
        ("training", "learning_rate", True, "a number"),
        ("training", "learning_rate", [1], "a number"),
        ("frames", "vad", "yes", "true or false"),
        ("frames", "vad", 1, "true or false"),
        ("data", "train", 3, "a name"),
        ("data", "tests", "test_a", "a list of names"),
        ("data", "tests", [1, 2], "a list of names"),
        ("augmentation", "noise_floor", 8, "a list of numbers"),
        ("augmentation", "noise_floor", ["low", 8], "a number"),
    ],
)
def test_a_value_of_another_type_is_refused(section: str, key: str, value: object, wanted: str) -> None:
    with pytest.raises(ValueError, match=rf"^here.yaml: {section}\.{key} must be {wanted}, not "):
        config(**{section: {key: value}})


@pytest.mark.parametrize(
    ("section", "key", "value", "wanted"),
    [
        ("model", "type", "DNF", "one of dnf, nf, gmm, lda, lr"),
        ("model", "precision", "float16", "one of auto, float32, bfloat16"),
        ("model", "normalization", "layernorm", "one of actnorm, batchnorm, none"),
        ("frames", "cmvn", "file", "one of none, utterance, speaker, global"),
        ("frames", "floor", float("nan"), "a log-mel energy, between -100 and 100"),
        ("frames", "level", 1000, "a log-mel energy, between -100 and 100"),
        ("training", "decay", "linear", "one of cosine, none"),
        ("training", "select", "best", "one of last, dev_loglik, dev_accuracy, dev_crossent"),
        ("model", "blocks", 0, "1 or more"),
        ("model", "class_dim", 0, "1 or more"),
        ("frames", "subsampling", 0, "1 or more"),
        ("frames", "per_class", 0, "1 or more"),
        ("training", "batch_size", -5, "1 or more"),
        ("frames", "context", -1, "0 or more"),
        ("training", "warmup_steps", -1, "0 or more"),
        ("training", "block_frames", 0, "1 or more"),
        ("training", "most_frames", 0, "1 or more"),
        ("model", "components", 0, "1 or more"),
        ("training", "weight_decay", -0.1, "0 or more"),
        ("training", "weight_decay", float("nan"), "0 or more"),
        ("training", "weight_decay", float("inf"), "0 or more"),
        ("training", "discriminative", -1, "0 or more"),
        ("training", "discriminative", float("nan"), "0 or more"),
        ("training", "discriminative", float("inf"), "0 or more"),
        ("model", "class_variance", 0, "a positive number"),
        ("model", "residual_variance", -1.0, "a positive number"),
        ("model", "scale_bound", 0.0, "a positive number"),
        ("training", "learning_rate", 0, "a positive number"),
        ("training", "learning_rate", float("nan"), "a positive number"),
        ("training", "learning_rate", float("inf"), "a positive number"),
        ("training", "clip_norm", -1, "a positive number"),
        ("augmentation", "gain", -1.0, "0 or more"),
        ("augmentation", "warp", 0.5, "below 0.5"),
        ("augmentation", "noise_floor", [12, 6], "two levels, the lowest and the highest"),
        ("augmentation", "noise_floor", [6.0], "two levels, the lowest and the highest"),
        ("augmentation", "noise_floor", [float("nan"), 6], "two levels, the lowest and the highest"),
    ],
)
def test_a_value_out_of_range_is_refused(section: str, key: str, value: object, wanted: str) -> None:
    with pytest.raises(ValueError, match=rf"^here.yaml: {section}\.{key} must be {wanted}, not "):
        config(**{section: {key: value}})


@pytest.mark.parametrize(
    ("frames", "name", "value", "reason"),
    [
        ({"cmvn": "utterance"}, "gain", 6, "frames.cmvn: utterance, which takes the channel away"),
        ({"cmvn": "utterance"}, "noise_floor", [6, 12], "frames.cmvn: utterance, which takes the channel away"),
        ({"cmvn": "utterance", "norm_vars": True}, "warp", 0.1, "frames.cmvn: utterance, frames.norm_vars: true, "),
        ({"cmvn": "speaker"}, "warp", 0.1, "frames.cmvn: speaker, whose statistics it would change"),
    ],
)
def test_what_the_normalization_takes_away_is_no_augmentation(
    frames: dict[str, object], name: str, value: object, reason: str
) -> None:
    with pytest.raises(ValueError, match=f"^here.yaml: augmentation.{name} does not go with {reason}"):
        config(frames=frames, augmentation={name: value})
    assert getattr(config(augmentation={name: value}).augmentation, name) == value
    config(frames={"cmvn": "global", "norm_vars": True}, augmentation={name: value})
    config(frames=frames, augmentation={name: None if name == "noise_floor" else 0})
    config(frames={"cmvn": "utterance"}, augmentation={"warp": 0.1})


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("1.0e-4", 1e-4), ("3", 3.0), ("0.5", 0.5)])
def test_numbers_as_people_write_them(tmp_path: Path, text: str, value: float) -> None:
    read = load_config(write(tmp_path, f"data: {{train: a}}\ntraining: {{learning_rate: {text}}}\n"))
    assert read.training.learning_rate == value
    assert type(read.training.learning_rate) is float


def test_null_switches_a_bound_off() -> None:
    read = config(model={"type": "dnf", "scale_bound": None, "class_dim": None}, training={"clip_norm": None})
    assert (read.model.scale_bound, read.model.class_dim, read.training.clip_norm) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "the file must hold keys and values"),
        ("just words\n", "the file must hold keys and values"),
        ("data: train_a\n", "data must hold keys and values, not 'train_a'"),
        ("data: {train: a}\nmodel:\n", "model must hold keys and values, not None"),
        ("", "data.train is missing"),
        ("model: {type: nf}\n", "data.train is missing"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.yaml"):
        load_config(tmp_path / "nothing.yaml")


@pytest.mark.parametrize("setting", [{"class_dim": 40}, {"residual_variance": 1000.0}, {"class_variance": 2.0}])
def test_a_normal_flow_has_none_of_the_dnfs_settings(setting: dict[str, float]) -> None:
    assert config(model={"type": "dnf", **setting}).model.type == "dnf"
    with pytest.raises(ValueError, match=r"here\.yaml: a normal flow .*has no class_dim"):
        config(model={"type": "nf", **setting})


@pytest.mark.parametrize(
    ("kind", "section", "setting"),
    [
        ("gmm", "model", {"hidden": 64}),
        ("lda", "model", {"components": 32}),
        ("lr", "model", {"precision": "bfloat16"}),
        ("lda", "training", {"epochs": 5}),
        ("gmm", "training", {"select": "dev_loglik"}),
        ("dnf", "model", {"components": 32}),
        ("nf", "training", {"most_frames": 10}),
    ],
)
def test_a_setting_that_models_of_a_type_do_not_have_is_refused(
    kind: str, section: str, setting: dict[str, object]
) -> None:
    ((key, value),) = setting.items()
    sections = {"data": {"train": "a", "dev": "b"}, "model": {"type": kind}}
    sections[section] = {**sections.get(section, {}), **setting}
    with pytest.raises(
        ValueError, match=rf"^here.yaml: {section}\.{key}: {value}: a model of model.type {kind} has no"
    ):
        config(**sections)
    default = flatten(Config())[f"{section}.{key}"]
    assert config(**{**sections, section: {**sections[section], key: default}}).model.type == kind


def test_baselines_have_settings_of_their_own() -> None:
    read = config(
        model={"type": "gmm", "components": 8}, training={"most_frames": 10, "seed": 3}, frames={"context": 5}
    )
    assert (read.model.components, read.training.most_frames) == (8, 10)
    assert [config(model={"type": kind}).model.is_density for kind in ("gmm", "lda", "lr")] == [True, True, False]


def test_selecting_by_a_development_set_needs_one_and_a_flow_that_decides() -> None:
    with pytest.raises(ValueError, match=r"training\.select: dev_loglik needs a set in data\.dev"):
        config(training={"select": "dev_loglik"})
    for select in ("dev_accuracy", "dev_crossent"):
        with pytest.raises(ValueError, match="a normal flow decides nothing"):
            config(data={"train": "a", "dev": "b"}, model={"type": "nf"}, training={"select": select})
    assert config(data={"train": "a", "dev": "b"}, training={"select": "dev_loglik"}).data.dev == "b"


def test_a_normal_flow_is_not_trained_to_tell_classes_apart() -> None:
    assert config(model={"type": "dnf"}, training={"discriminative": "3e1"}).training.discriminative == 30
    assert config(model={"type": "nf"}, training={"discriminative": 0}).training.discriminative == 0
    message = r"here\.yaml: training\.discriminative: 0\.5 needs classes .* model\.type: dnf, not nf; leave it out"
    with pytest.raises(ValueError, match=message):
        config(model={"type": "nf"}, training={"discriminative": 0.5})


def test_models_from_before_the_weight_of_discrimination_read_as_without_it() -> None:
    old = config().to_dict()
    del old["training"]["discriminative"]
    assert differences(config_from_dict(old, "final.pt"), config()) == []
    assert differences(config_from_dict(old, "final.pt"), config(model={"type": "dnf"}))[0].startswith("model.type")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_shipped_configurations_load(path: Path) -> None:
    read = load_config(path)
    assert read.data.tests
    assert len(set(read.data.tests)) == len(read.data.tests)


def test_there_are_shipped_configurations() -> None:
    assert {"dnf", "nf", "gmm", "lda", "lr"} == {load_config(path).model.type for path in SHIPPED}


def test_differences_list_what_changed_but_not_the_test_sets() -> None:
    old = config(data={"train": "a", "tests": ["t"]}, model={"blocks": 4}, training={"clip_norm": 100.0})
    new = config(data={"train": "b", "tests": ["u", "v"]}, model={"blocks": 5}, training={"clip_norm": None})
    assert differences(old, new) == [
        "data.train: a -> b", "model.blocks: 4 -> 5", "training.clip_norm: 100.0 -> None",
    ]  # fmt: skip
    same = config(
        data={"train": "a", "tests": []}, model={"blocks": 4, "background": "nf"}, training={"clip_norm": 100}
    )
    assert differences(old, same) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_a_saved_configuration_loads_as_it_was(path: Path, tmp_path: Path) -> None:
    before = load_config(path)
    with open(tmp_path / "config.yaml", "w") as file:
        save_config(before, file, "command: steps/train.py\ncommit: abc")
    assert load_config(tmp_path / "config.yaml") == before
    lines = (tmp_path / "config.yaml").read_text().splitlines()
    assert lines[:2] == ["# command: steps/train.py", "# commit: abc"]
    assert all(any(line.strip().startswith(f"{key.split('.')[1]}:") for line in lines) for key in flatten(before))


def test_a_round_trip_keeps_small_numbers_and_nulls(tmp_path: Path) -> None:
    before = config(training={"learning_rate": 1e-7, "clip_norm": None}, model={"type": "dnf", "class_variance": 1e20})
    with open(tmp_path / "config.yaml", "w") as file:
        save_config(before, file)
    assert load_config(tmp_path / "config.yaml") == before


def test_a_name_among_plots_must_be_a_test_set(tmp_path: Path) -> None:
    content = {"data": {"train": "a", "tests": ["test_b"], "plots": ["test_b"]}}
    assert resolve_sets(config_from_dict(content, "x"), tmp_path).data.plots == ["test_b"]
    content["data"]["plots"] = ["test_c"]
    with pytest.raises(ValueError, match=r"plots: test_c is not among data.tests"):
        resolve_sets(config_from_dict(content, "x"), tmp_path)
