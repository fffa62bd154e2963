"""The report: one page that needs nothing else, with every number of ``scores.json``."""

import base64
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emdenoise.config.schema import RunConfig
from emdenoise.evaluation.particle_tally import ParticleTally, ReportedParticles
from emdenoise.results import report
from emdenoise.results.report import ReportWords, write_report
from emdenoise.results.tables import make_class_tables, make_difference_rows, make_dose_table, make_table
from emdenoise.results.task_record import read_record

DESCRIPTION = "Restore the noise-free intensity."
WORDS = ReportWords(DESCRIPTION, "psnr_db", "intensity", None)
ALL_TASKS = ("download", "preprocess", "train", "test")
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects tags with their attributes and the text, and checks that tags are closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data


@pytest.fixture
def quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a word in the place of each figure: `test_figures.py` draws them."""
    monkeypatch.setattr(report, "draw_dose_curves", lambda *_: b"\x89PNG doses")
    monkeypatch.setattr(report, "draw_pictures", lambda *_: b"\x89PNG pictures")
    monkeypatch.setattr(report, "draw_learning_curve", lambda *_: b"\x89PNG curve")


@pytest.fixture
def make_page(
    write_run: Callable[..., Path], scores: dict[str, Any], pictures: dict[str, np.ndarray], quick_figures: None
) -> Callable[..., Page]:
    """Give a function from the tasks that were run to the parsed report."""

    def make(*tasks: str, description: str = DESCRIPTION, **changes: Any) -> Page:
        folder = write_run(*(tasks or ALL_TASKS), **changes)
        words = replace(WORDS, description=description)
        write_report(folder, words, scores, pictures, colours={}, test=read_record(folder, "test"))
        return Page((folder / "report.html").read_text(encoding="utf-8"))

    return make


def test_the_page_loads_nothing(make_page: Callable[..., Page]) -> None:
    page = make_page()
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "action", "data", "poster"):
                assert (value or "").startswith("data:image/png;base64,")


def test_no_style_loads_anything(make_page: Callable[..., Page], tmp_path: Path) -> None:
    make_page()
    html = (tmp_path / "output" / "report.html").read_text(encoding="utf-8")
    for loader in ("@import", "url(", "http://", "https://"):
        assert loader not in html


def test_pictures_and_learning_curve_are_in_the_page(
    write_run: Callable[..., Path], scores: dict[str, Any], pictures: dict[str, np.ndarray], tmp_path: Path
) -> None:
    folder = write_run(*ALL_TASKS)
    write_report(folder, WORDS, scores, pictures, colours={}, test=read_record(folder, "test"))
    page = Page((tmp_path / "output" / "report.html").read_text(encoding="utf-8"))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 3
    contents = [base64.b64decode((image["src"] or "").partition(",")[2], validate=True) for image in images]
    assert all(content.startswith(b"\x89PNG") for content in contents)
    assert contents[1] == (tmp_path / "output" / "pictures.png").read_bytes()
    assert all(image["alt"] for image in images)


def test_every_method_and_number_of_the_scores_is_in_the_table(
    make_page: Callable[..., Page], scores: dict[str, Any]
) -> None:
    page = make_page()
    expected = make_table(scores) + make_difference_rows(scores)
    assert page.rows[: len(expected)] == expected
    for method in scores["methods"].values():
        assert f"{method['psnr_db']['mean']:.2f}" in page.text
        assert f"{method['ssim']['high']:.3f}" in page.text
    for name in scores["methods"]:
        assert name in page.text


def test_curves_and_classes_have_their_tables_with_the_main_metric_first(
    make_page: Callable[..., Page], scores: dict[str, Any]
) -> None:
    page = make_page()
    tables = [make_dose_table(scores), *(rows for _, rows in make_class_tables(scores, "psnr_db"))]
    assert make_class_tables(scores, "psnr_db")[0][0] == "PSNR [dB]"
    start = page.rows.index(tables[0][0])
    for rows in tables:
        assert page.rows[start : start + len(rows)] == rows
        start += len(rows)
    rows_of_network = [
        attributes for tag, attributes in page.tags if tag == "tr" and attributes.get("class") == "network"
    ]
    assert len(rows_of_network) == 1 + len(tables), "differences are not marked as the network"
    assert "overlap.MSE" not in page.text


def test_what_is_not_known_of_the_images_has_no_chapter(make_page: Callable[..., Page], scores: dict[str, Any]) -> None:
    scores |= {"by_dose": None, "by_class": None}
    text = make_page().text
    assert "against the dose" not in text
    assert "by class" not in text


def test_the_gain_over_the_best_classical_method_has_its_paired_interval(
    make_page: Callable[..., Page], scores: dict[str, Any]
) -> None:
    interval = scores["differences"]["median"]["psnr_db"]
    expected = f"over the best classical method (median), interval {interval['low']:+.1f} to {interval['high']:+.1f}"
    assert expected in make_page().text


def test_the_gain_over_noisy_and_classical_images_is_told(
    make_page: Callable[..., Page], scores: dict[str, Any]
) -> None:
    text = make_page().text
    means = {name: method["psnr_db"]["mean"] for name, method in scores["methods"].items()}
    assert f"{means['network'] - means['noisy']:+.1f} dB" in text
    assert f"{means['network'] - means['median']:+.1f} dB" in text
    assert "over the best classical method (median)" in text


def test_a_network_that_is_worse_is_not_told_as_a_gain(make_page: Callable[..., Page], scores: dict[str, Any]) -> None:
    scores["methods"]["network"]["psnr_db"]["mean"] = scores["methods"]["noisy"]["psnr_db"]["mean"] - 2
    assert "-2.0 dB" in make_page().text


def test_the_page_says_how_it_was_made(make_page: Callable[..., Page]) -> None:
    text = make_page().text
    assert DESCRIPTION in text
    assert "8 test images of 4 specimens" in text
    assert "95 % bootstrap intervals" in text
    assert "12,345 parameters" in text
    assert "gaussian (strength 2, beam left in); median (strength 3, beam left in)." in text
    assert "GPU 9000" in text
    assert "weights 0123456789abcdef" in text
    for setting in ("num_resamples: 100", "division: open", "bottom_filters: 4"):
        assert setting in text
    for task in ALL_TASKS:
        assert task in text


def test_no_host_or_path_is_in_the_page(
    make_page: Callable[..., Page], tiny_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    make_page(run=tiny_config(data={"source": "folder", "mirror": str(tmp_path / "images")}))
    html = (tmp_path / "output" / "report.html").read_text(encoding="utf-8")
    assert str(tmp_path) not in html
    assert str(Path.home()) + "/" not in html


def test_names_are_shown_as_text_whatever_they_hold(
    make_page: Callable[..., Page], tiny_config: Callable[..., RunConfig], scores: dict[str, Any]
) -> None:
    attack = '<script>alert("1")</script>'
    scores["workload"] = attack
    scores["methods"][attack] = scores["methods"].pop("noisy") | {"images_per_second": 1.0}
    scores["methods"]["noisy"] = scores["methods"][attack] | {
        "psnr_db": scores["methods"]["gaussian"]["psnr_db"] | {"mean": 50.0}
    }
    scores["methods"][attack]["psnr_db"]["mean"] = 1.0
    page = make_page(description=f"{attack} & more", run=tiny_config(data={"mirror": attack}))
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(attack) >= 4
    assert f"{attack} & more" in page.text


def test_without_classical_methods_the_network_is_compared_with_the_noisy_images(
    make_page: Callable[..., Page], scores: dict[str, Any]
) -> None:
    del scores["methods"]["gaussian"], scores["methods"]["median"]
    text = make_page().text
    assert "PSNR of the network over the noisy images" in text
    assert "best classical method" not in text


def test_a_perfect_restoration_has_no_finite_gain_and_still_a_report(
    make_page: Callable[..., Page], scores: dict[str, Any]
) -> None:
    scores["methods"]["network"]["psnr_db"] = {"mean": None, "low": None, "high": None}
    page = make_page()
    row = next(row for row in page.rows if row and row[0] == "network")
    assert row[2] == "–"


def test_a_network_that_was_trained_elsewhere_has_a_report_without_training(make_page: Callable[..., Page]) -> None:
    page = make_page("test")
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 2
    assert "Training" not in page.text


def test_a_second_report_of_the_same_records_is_the_same_page(
    write_run: Callable[..., Path],
    scores: dict[str, Any],
    pictures: dict[str, np.ndarray],
    quick_figures: None,
) -> None:
    folder, pages = write_run(*ALL_TASKS), []
    for _ in range(2):
        write_report(folder, WORDS, scores, pictures, colours={}, test=read_record(folder, "test"))
        pages.append((folder / "report.html").read_bytes())
    assert pages[0] == pages[1]
    assert sorted(path.name for path in folder.iterdir()) == ["pictures.png", "records", "report.html"]


def test_a_report_of_labels_shows_outlines_particles_and_sizes(
    write_run: Callable[..., Path], scores: dict[str, Any], tmp_path: Path
) -> None:
    folder = write_run(*ALL_TASKS)
    record = read_record(folder, "test")
    test = record.model_copy(update={"results": record.results | {"label_names": ["background", "particle"]}})
    mask = np.pad(np.ones((6, 6), np.uint8), 8)
    images = {"noisy": mask.astype(np.float32), "gaussian": mask, "median": mask, "network": mask, "mask": mask}
    tally = ParticleTally()
    tally.add(mask == 1, mask.astype(np.int32), np.nan)
    write_report(
        folder,
        replace(WORDS, kind="labels"),
        scores,
        {name: [image, image] for name, image in images.items()},
        colours={},
        test=test,
        particles=ReportedParticles(tally, 2 * [mask.astype(np.int32)]),
    )
    page = Page((tmp_path / "output" / "report.html").read_text(encoding="utf-8"))
    images_shown = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    for words in ("Outlines of true", "Particles that are found", "Histograms of the diameters"):
        assert any((alt or "").startswith(words) for alt in images_shown)
    assert "the network found 1 of 1 particles, missed 0 and invented 0." in page.text
    assert "Kolmogorov-Smirnov distance of the two is 0.000" in page.text
