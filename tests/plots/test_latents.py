"""Plots: what is drawn agrees with the data, nothing is clipped, and the files are the same each time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from scipy import stats
from tools import check_picture

from flowlid.evaluation.tsne import tsne_embedding
from flowlid.plots.confusion import confusion_shares
from flowlid.plots.latents import discriminative_dims, first_dims, histograms, tsne
from flowlid.plots.style import PALETTE, class_colors
from flowlid.plots.training import loss_curve

CONFUSION = {
    "dev": {"en": {"en": 0.9969, "zh": 0.0031}, "zh": {"zh": 1.0}},
    "test_je": {"ja": {"en": 0.2979, "zh": 0.7021}},
}
COUNTS = {"dev": {"en": 900, "zh": 80}, "test_je": {"ja": 7}}


def history(epochs: int, accuracy: bool = True) -> list[dict[str, float | None]]:
    return [
        {
            "epoch": epoch,
            "loglik": 40.0 - 50 / epoch,
            "logp": -170.0 - 50 / epoch,
            "logdet": 210.0,
            "dev_loglik": 35.0 - 50 / epoch,
            "crossent": 0.1 + 1 / epoch,
            "dev_crossent": 0.2 + 1 / epoch,
            "dev_accuracy": 1 - 1 / (1 + epoch) if accuracy else None,
            "recoveries": int(epoch in (2, 4)),
        }
        for epoch in range(1, epochs + 1)
    ]


def latents(*labels: str, frames: int = 400) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(len(labels))
    return {label: rng.normal(2 * index, 1, (frames, 3)) for index, label in enumerate(labels)}


DRAWINGS: dict[str, Callable[[Path], None]] = {
    "loss": lambda stem: loss_curve(history(2, accuracy=False), stem, "nf_$x$: a title"),
    "loss and cross-entropy": lambda stem: loss_curve(history(3), stem, "dnf: a title", discriminative=True),
    "first dims": lambda stem: first_dims(
        latents("en", "a_language_with_a_long_name"), {"a_language_with_a_long_name"}, stem, "t", {"en": np.zeros(3)}
    ),
    "histograms": lambda stem: histograms(latents("en", "ja"), {"en": [(0, 1)]}, [2], {"ja"}, stem, "t"),
    "confusion": lambda stem: confusion_shares(CONFUSION, COUNTS, ["en", "zh"], {"ja"}, stem, "t"),
}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that a plot would have saved."""
    figures: list[Figure] = []
    for module in ("confusion", "latents", "training"):
        monkeypatch.setattr(f"flowlid.plots.{module}.save", lambda figure, stem: figures.append(figure))
    return figures


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_files_are_whole_unclipped_and_the_same_each_time(draw: Callable[[Path], None], tmp_path: Path) -> None:
    check_picture(draw, tmp_path)


def test_colors_are_a_class_s_own_whatever_the_set_shows() -> None:
    assert class_colors(["zh", "en"], {"ja"}) == dict(zip(["en", "zh", "ja"], PALETTE, strict=False))
    assert class_colors(["zh", "en"], ["aa", "en"])["en"] == PALETTE[0]
    many = class_colors([f"{index:02d}" for index in range(40)])
    assert len(set(many.values())) == 40


def test_colors_given_are_used_and_a_missing_one_is_named(drawn: list[Figure]) -> None:
    colors = class_colors(["en", "zh"], ["ja"])
    tsne(np.eye(2), ["zh", "ja"], {"ja"}, "x", "t", colors)
    lines = drawn[0].axes[0].lines
    assert {to_hex(line.get_color()).upper() for line in lines} == {colors["zh"], colors["ja"]}
    with pytest.raises(ValueError, match="no colour for ko"):
        tsne(np.eye(2), ["zh", "ko"], {"ko"}, "x", "t", colors)


def test_loss_curve_draws_the_history(drawn: list[Figure]) -> None:
    given = history(5)
    given[2]["dev_loglik"] = None
    loss_curve(given, "x", "t")
    loglik, logp, logdet, accuracy = drawn[0].axes
    assert loglik.lines[0].get_ydata().tolist() == [epoch["loglik"] for epoch in given]
    dev = loglik.lines[1].get_ydata()
    assert np.isnan(dev[2]) and dev[3] == given[3]["dev_loglik"]
    assert logp.lines[0].get_ydata()[0] == -220 and logdet.lines[0].get_ydata()[0] == 210
    assert accuracy.lines[0].get_ydata()[0] == 0.5
    for axes in drawn[0].axes:
        vertical = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
        assert vertical == [2, 4]
    assert legend(drawn[0]) == ["train: running mean over the epoch", "dev: at the end of the epoch", "recovery"]


def test_loss_curve_shows_the_cross_entropy_where_it_was_trained(drawn: list[Figure]) -> None:
    loss_curve(history(3), "x", "t", discriminative=True)
    crossent, accuracy = drawn[0].axes[3:]
    assert [line.get_ydata()[0] for line in crossent.lines[:2]] == [1.1, 1.2]
    assert crossent.get_ylabel() == "cross-entropy (nats/frame)" and accuracy.get_ylabel() == "dev frame accuracy"


def test_loss_curve_of_one_epoch_shows_a_point_and_no_empty_panel(tmp_path: Path, drawn: list[Figure]) -> None:
    loss_curve(history(1, accuracy=False), tmp_path / "loss", "nf")
    assert len(drawn[0].axes) == 3  # no accuracy
    drawn[0].savefig(tmp_path / "loss.png")
    pixels = imread(tmp_path / "loss.png")[..., :3]
    middle = pixels[: pixels.shape[0] * 3 // 4]  # without the legend
    for color in PALETTE[:2]:
        assert (np.abs(middle - to_rgb(color)).max(axis=-1) < 0.02).sum() > 5
    with pytest.raises(ValueError, match="no epoch"):
        loss_curve([], tmp_path / "loss", "nf")


def test_first_dims_zooms_and_says_how_many_points_it_leaves_out(drawn: list[Figure]) -> None:
    z = np.stack([np.linspace(0, 1, 1000), np.linspace(0, 1, 1000), np.zeros(1000)], axis=1)
    z[-2:, :2] = [[1000, 0.5], [0.5, -1000]]
    first_dims({"zh": z, "ja": z[:500]}, {"ja"}, "x", "t", {"zh": np.array([0.5, 3.0, 9.0])})
    axes = drawn[0].axes[0]
    assert axes.get_xlim()[1] < 2 and -1 < axes.get_ylim()[0] and axes.get_ylim()[1] > 3  # the mean stays in
    assert "2 of 1500 frames lie outside" in axes.get_xlabel()
    assert legend(drawn[0]) == ["zh", "ja (unseen)", "class mean"]
    shown = [line for line in axes.lines if line.get_marker() in "o^"]
    assert sum(len(line.get_xdata()) for line in shown) == 1500
    assert {line.get_marker() for line in shown if to_hex(line.get_color()).upper() == PALETTE[1]} == {"^"}
    cross = next(line for line in axes.lines if line.get_marker() == "X")
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (0.5, 3.0)


def test_first_dims_of_few_points_shows_all_and_notes_nothing(drawn: list[Figure]) -> None:
    first_dims({"en": np.array([[1.0, 1.0]])}, set(), "x", "t")
    assert drawn[0].axes[0].get_xlabel() == "latent dim 1"
    assert legend(drawn[0]) == ["en"]


def test_histograms_are_densities_beside_the_models(drawn: list[Figure]) -> None:
    z = np.zeros((1000, 5))
    z[:, 3] = np.linspace(-3, 3, 1000)
    z[0, 3] = -1e6  # outside of the axes, yet counted
    density = {"en": [(0.0, 4.0), (1.0, 1.0)]}
    histograms({"en": z, "ja": z[:500]}, density, [3, 4], {"ja"}, "x", "t")
    assert [axes.get_title() for axes in drawn[0].axes] == ["latent dim 4", "latent dim 5"]
    axes = drawn[0].axes[0]
    heights, edges, _ = axes.patches[0].get_data()
    assert (heights * np.diff(edges)).sum() == pytest.approx(0.999)
    assert axes.get_xlim() == pytest.approx((-6, 6))  # three standard deviations of the model
    x, y = axes.lines[0].get_data()
    np.testing.assert_allclose(y, stats.norm(0, 2).pdf(x))
    assert legend(drawn[0]) == ["en", "ja (unseen)", "model density of a class, in its colour"]
    assert [patch.get_linestyle() for patch in axes.patches] == ["-", (0, (1, 0.8))]  # dotted: unseen


def test_confusion_shows_every_share_and_marks_right_answers(drawn: list[Figure]) -> None:
    confusion_shares(CONFUSION, COUNTS, ["en", "zh"], {"ja"}, "x", "t")
    axes = drawn[0].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "dev: en, N = 900", "dev: zh, N = 80", "test_je: ja (unseen), N = 7",
    ]  # fmt: skip
    assert drawn[0].axes[1].get_ylabel() == "share of the row"  # the colour bar
    assert [label.get_text() for label in axes.get_xticklabels()] == ["en", "zh"]
    cells = [(text.get_text(), text.get_weight()) for text in axes.texts]
    plain = [("0.003", "normal"), ("0.000", "normal"), ("0.298", "normal"), ("0.702", "normal")]
    assert cells == [("0.997", "bold"), *plain[:2], ("1.000", "bold"), *plain[2:]]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.9969, 0.0031], [0, 1], [0.2979, 0.7021]])


def test_many_classes_have_no_numbers_and_confused_ones_are_neighbours(drawn: list[Figure]) -> None:
    names = [f"c{number:02d}" for number in range(40)]
    partner = {name: names[(number + 20) % 40] for number, name in enumerate(names)}
    shares = {name: {name: 0.7, partner[name]: 0.3} for name in names}
    shares["c03"] = {"c03": 0.4, "c23": 0.6}
    confusion_shares({"dev": shares}, {"dev": dict.fromkeys(names, 5)}, names, set(), "x", "t")
    axes = drawn[0].axes[0]
    order = [label.get_text() for label in axes.get_xticklabels()]
    assert sorted(order) == names and not axes.texts
    assert all(abs(order.index(name) - order.index(other)) == 1 for name, other in partner.items())
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"dev: {name}, N = 5" for name in order]
    assert "\ndev: c03 as c23 0.60\n" in axes.get_xlabel()


def test_the_most_discriminative_dims_are_drawn_with_their_numbers(drawn: list[Figure]) -> None:
    z = np.random.default_rng(0).normal(size=(2, 200, 4))
    z[1] += [0, 3, 0.5, 5]
    pair = discriminative_dims({"en": z[0], "zh": z[1]}, 4)
    assert pair == (3, 1) and discriminative_dims({"en": z[0], "zh": z[1]}, 3) == (1, 2)
    first_dims({"en": z[0]}, set(), "x", "t", {"en": z[0].mean(0)}, dims=pair)
    axes = drawn[0].axes[0]
    assert axes.get_xlabel().startswith("latent dim 4") and axes.get_ylabel() == "latent dim 2"
    cross = next(line for line in axes.lines if line.get_marker() == "X")
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == pytest.approx((z[0, :, 3].mean(), z[0, :, 1].mean()))


def test_tsne_embedding_is_seeded_and_keeps_far_groups_apart() -> None:
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(0, 1, (15, 6)), rng.normal(40, 1, (15, 6))]).astype(np.float32)
    found = tsne_embedding(z, seed=3, perplexity=5)
    assert found.shape == (30, 2) and np.isfinite(found).all()
    np.testing.assert_array_equal(found, tsne_embedding(z, seed=3, perplexity=5))
    gap = np.linalg.norm(found[:15].mean(axis=0) - found[15:].mean(axis=0))
    assert gap > found[:15].std() + found[15:].std()
    assert tsne_embedding(z[:4], seed=0).shape == (4, 2)  # perplexity 30 would be refused


@pytest.mark.parametrize(
    ("draw", "match"),
    [
        (lambda stem: first_dims({}, set(), stem, "t"), "no latents"),
        (lambda stem: first_dims({"en": np.zeros((9, 1))}, set(), stem, "t"), "en: a scatter needs"),
        (lambda stem: first_dims({"en": np.full((9, 2), np.nan)}, set(), stem, "t"), "finite"),
        (lambda stem: tsne(np.zeros((3, 2)), ["en"] * 2, set(), stem, "t"), "3 points, 2 labels"),
        (lambda stem: histograms({}, {}, [0], set(), stem, "t"), "one frame"),
        (lambda stem: histograms({"en": np.eye(2)}, {"en": [(0, 1)]}, [0, 1], set(), stem, "t"), "2 dims"),
        (lambda stem: confusion_shares({}, {}, ["en"], set(), stem, "t"), "needs a row"),
        (lambda stem: confusion_shares(CONFUSION, COUNTS, ["en"], set(), stem, "t"), "has \\['zh'\\]"),
        (lambda stem: tsne_embedding(np.zeros((3, 5)), 0), "n >= 4"),
        (lambda stem: tsne_embedding(np.full((5, 5), np.inf), 0), "finite"),
    ],
)
def test_bad_input_is_refused_and_writes_nothing(draw: Callable[[Path], None], match: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=match):
        draw(tmp_path / "plot")
    assert list(tmp_path.iterdir()) == []
