"""Labels in scripts that the pictures' font lacks: set in an installed font that has them, or said to be boxes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, fontManager
from matplotlib.text import Text
from tools import YAML, call, check_picture, feature_dir

from flowlid.plots import fonts
from flowlid.plots.confusion import confusion_shares
from flowlid.plots.latents import first_dims

CONFUSION = {"测": {"中": {"中": 0.75, "ह": 0.25}}}
COUNTS = {name: dict.fromkeys(rows, 4) for name, rows in CONFUSION.items()}


def make_font(path: Path, name: str, characters: str) -> FontEntry:
    """A font whose glyphs are squares, as matplotlib lists it."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    names = [".notdef", *(f"glyph{number}" for number in range(len(characters)))]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(character): glyph for character, glyph in zip(characters, names[1:], strict=True)})
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": name, "styleName": "Regular", "psName": name.replace(" ", "")})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    fontManager.addfont(path)
    return fontManager.ttflist[-1]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FontEntry]]:
    """The fonts that are installed as far as a test is concerned; none at first, whatever the machine has."""
    entries: list[FontEntry] = []
    before = list(fontManager.ttflist)
    monkeypatch.setattr(fonts, "_installed", lambda: entries)
    fonts._fallbacks.cache_clear()
    yield entries
    fonts._fallbacks.cache_clear()
    fontManager.ttflist[:] = before


def test_the_font_of_the_pictures_is_enough_where_it_has_all_characters(installed: list[FontEntry]) -> None:
    assert fonts.fallbacks(["en", "Ελληνικά", "русский", "two\nlines"]) == ([], "")
    assert fonts.boxes_note(["en", "русский"]) == ""


def test_the_fewest_installed_fonts_that_have_the_characters_are_named(
    installed: list[FontEntry], tmp_path: Path
) -> None:
    for name, characters in (("One", "中"), ("Three", "中文字"), ("Other", "हि")):
        installed.append(make_font(tmp_path / f"{name}.ttf", name, characters))
    assert fonts.fallbacks(["en: 中文字"]) == (["Three"], "")
    assert fonts.fallbacks(["中", "ह"]) == (["One", "Other"], "")
    assert fonts.fallbacks(["中ह測"]) == (["One", "Other"], "測")


def test_labels_are_drawn_in_the_fonts_that_have_them(
    installed: list[FontEntry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed.append(make_font(tmp_path / "all.ttf", "Test Script", "中测ह"))
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    confusion_shares(CONFUSION, COUNTS, ["中", "ह"], set(), tmp_path / "plot", "ह: 0.5")
    families = {text.get_text(): text.get_fontfamily() for text in figures[0].findobj(Text)}
    for label in ("测: 中, N = 4", "中", "ह", "ह: 0.5"):
        assert families[label] == [fonts.FONT, "Test Script"], label
    assert families["0.750"] == [fonts.FONT]


def test_a_picture_has_the_glyphs_and_the_same_bytes_each_time(installed: list[FontEntry], tmp_path: Path) -> None:
    z = {"中": np.eye(2)}
    first_dims(z, set(), tmp_path / "boxes", "t")
    installed.append(make_font(tmp_path / "han.ttf", "Test Han", "中"))
    fonts._fallbacks.cache_clear()
    check_picture(lambda stem: first_dims(z, set(), stem, "t"), tmp_path)
    assert (tmp_path / "boxes.png").read_bytes() != (tmp_path / "once/plot.v1.png").read_bytes()


def test_boxes_are_drawn_without_a_warning_each_and_named_in_one_note(
    installed: list[FontEntry], tmp_path: Path
) -> None:
    check_picture(lambda stem: confusion_shares(CONFUSION, COUNTS, ["中", "ह"], set(), stem, "中"), tmp_path)
    note = fonts.boxes_note(["测 中", "中 ह", "en"])
    assert "the characters ह 中 测: labels show boxes" in note and "fonts-noto-cjk fonts-noto-core" in note
    assert "fonts-noto-core" not in fonts.boxes_note(["中", "ひ", "カ", "한"])


def test_the_step_says_once_what_labels_cannot_show_and_the_report_repeats_it(
    installed: list[FontEntry], tmp_path: Path
) -> None:
    languages = {f"{speaker}{n}-{n}": language for n in range(8) for speaker, language in (("a", "中"), ("b", "日本"))}
    for name in ("train", "test"):
        feature_dir(tmp_path / "data" / name, languages)
    (tmp_path / "tiny.yaml").write_text(YAML)
    data, exp = tmp_path / "data", tmp_path / "exp/tiny"
    calls = [
        call("train", tmp_path / "tiny.yaml", data, exp),
        call("score", exp, data, "test"),
        call("analyse_latents", exp, data, "train", "test"),
        call("plot", "--tsne-frames", "8", exp, "test"),
        call("make_report", tmp_path / "exp"),
    ]
    assert [ended.code for ended in calls] == [0] * 5
    assert calls[3].log.count("no installed font has the characters 中 日 本: labels show boxes") == 1
    html = (tmp_path / "exp/report.html").read_text()
    assert html.count("No installed font has the characters 中 日 本: labels show boxes") == 1
    installed.append(make_font(tmp_path / "han.ttf", "Test Han", "中日本"))
    fonts._fallbacks.cache_clear()
    assert "boxes" not in call("plot", "--tsne-frames", "9", exp, "test").log
    assert not (exp / "plots/notes.txt").exists()


def test_fonts_that_draw_boxes_for_everything_are_not_taken() -> None:
    assert not [entry for entry in fonts._installed() if entry.name.startswith("Last Resort")]
