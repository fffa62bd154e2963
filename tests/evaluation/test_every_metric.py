"""What holds for every entry of METRICS, and what follows from an entry alone: tables, tolerances, the report."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from emdenoise.config.schema import RunConfig
from emdenoise.dataset.fields import FIELDS, Kind
from emdenoise.dataset.record import Record
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.evaluation.metrics import METRICS, Case, Metric, find_metric, list_metrics
from emdenoise.evaluation.scoring import ImageScores, score_method
from emdenoise.results.report import ReportWords, write_report
from emdenoise.results.tables import find_best, make_table, summarise_scores
from emdenoise.results.task_record import read_record
from emdenoise.seeding import make_generator
from emdenoise.tools.verdicts import compare_results

every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
EVERY_KIND = pytest.mark.parametrize(
    ("metric", "kind"),
    [pytest.param(metric, kind, id=f"{name}-{kind}") for name, metric in METRICS.items() for kind in metric.kinds],
)
LABEL_NAMES = ["ground", "particle", "rare"]
REGION_NAMES = ["lattice", "defect"]
COMPARES_SIZES_ALONE = ("median_diameter_error", "size_distance")
"""Of two results that are both wrong everywhere, either may have sizes that are nearer to the true ones."""
NUM_IMAGES = 3
PIXEL_SIZE_ANGSTROM = 0.15


def draw_truth(kind: Kind) -> tuple[np.ndarray, list[np.ndarray]]:
    """Draw the truth of some images of each kind, and the atoms in them: bright discs 15 px apart."""
    rows, columns = np.mgrid[:64, :64]
    places = np.array([(row, column) for row in (17, 32, 47) for column in (17, 32, 47)], np.float32)
    atoms = [places[: 4 + 2 * index] for index in range(NUM_IMAGES)]
    squares = [((rows - row) ** 2 + (columns - column) ** 2 for row, column in one) for one in atoms]
    bright = np.stack([sum(np.exp(-square / 8) for square in one) for one in squares])
    if kind == "labels":
        return (bright > 0.2).astype(np.uint8), atoms
    intensity = (0.3 + 0.5 * bright).astype(np.float32)
    return (intensity * np.exp(0.3j * rows / 64)).astype(np.complex64) if kind == "complex" else intensity, atoms


def draw_instances() -> np.ndarray:
    """Number the discs of `draw_truth`, which do not touch."""
    return np.stack([ndimage.label(mask)[0] for mask in draw_truth("labels")[0]]).astype(np.int32)


def disturb(truth: np.ndarray, kind: Kind, level: float) -> np.ndarray:
    """Add noise: Gaussian of this standard deviation, or labels of this share of the pixels drawn anew."""
    rng = make_generator(0, "test")
    if kind == "labels":
        drawn = rng.integers(2, size=truth.shape).astype(np.uint8)
        return np.where(rng.random(truth.shape) < level, drawn, truth)
    return (truth + rng.normal(0, level, truth.shape)).astype(truth.dtype)


def make_case(kind: Kind, level: float, images: slice = slice(None)) -> Case:
    """Give some images with noise, beside all that any metric needs to know."""
    truth, atoms = draw_truth(kind)
    return Case(
        disturb(truth, kind, level)[images],
        truth[images],
        LABEL_NAMES if kind == "labels" else REGION_NAMES,
        atoms[images],
        np.full(NUM_IMAGES, PIXEL_SIZE_ANGSTROM)[images],
        mask=draw_truth("labels")[0][images],
        instances=draw_instances()[images],
    )


def collect(metric: Metric, kind: Kind, level: float) -> dict[str, np.ndarray]:
    return metric.collect(make_case(kind, level))


@every_metric
def test_it_is_listed_under_its_name_for_the_kinds_that_it_judges(metric: Metric) -> None:
    assert METRICS[metric.name] is metric
    assert find_metric(metric.name) == (metric, "")
    assert metric.kinds
    for kind in {spec.kind for spec in FIELDS.values()}:
        assert (metric in list_metrics(kind)) == (kind in metric.kinds)
    assert 0 < metric.tolerance < metric.retrained_tolerance
    assert metric.caption == "" or "nan" in metric.caption.format(np.nan)


@EVERY_KIND
def test_there_is_one_float64_score_of_each_image_by_name_and_by_label(metric: Metric, kind: Kind) -> None:
    scores = collect(metric, kind, 0.1)
    labels = [f"{metric.name}_{label}" for label in LABEL_NAMES] if metric.is_by_label else []
    assert list(scores) == [metric.name, *labels]
    for name, values in scores.items():
        assert values.shape == (NUM_IMAGES,)
        assert values.dtype == np.float64
        assert (find_metric(name) or ())[:1] == (metric,)


@EVERY_KIND
def test_the_truth_scores_best_and_noise_worsens_every_image(metric: Metric, kind: Kind) -> None:
    sign = 1 if metric.is_larger_better else -1
    by_noise = [sign * collect(metric, kind, level)[metric.name] for level in (0, 0.1, 0.3, 3)]
    for better, worse in pairwise(by_noise):
        assert (better >= worse).all() or metric.name in COMPARES_SIZES_ALONE
    assert (by_noise[0] > by_noise[-1]).all()


@EVERY_KIND
def test_each_image_is_scored_by_itself(metric: Metric, kind: Kind) -> None:
    whole = collect(metric, kind, 0.1)
    for index in range(NUM_IMAGES):
        one = slice(index, index + 1)
        for name, values in metric.collect(make_case(kind, 0.1, one)).items():
            assert values == pytest.approx(whole[name][one], nan_ok=True)


@EVERY_KIND
def test_another_result_of_the_same_images_has_scores_of_its_own(metric: Metric, kind: Kind) -> None:
    case = make_case(kind, 0)
    metric.collect(case)
    again = metric.collect(replace(case, result=disturb(draw_truth(kind)[0], kind, 0.1)))
    assert again[metric.name] == pytest.approx(collect(metric, kind, 0.1)[metric.name])


@EVERY_KIND
def test_what_is_not_in_an_image_has_no_score(metric: Metric, kind: Kind) -> None:
    if metric.is_by_label:
        scores = collect(metric, kind, 0.1)
        assert np.isnan(scores[f"{metric.name}_rare"]).all()
        assert np.isfinite(scores[metric.name]).all()
    if metric.name == "atom_error_angstrom":
        even = np.full_like(draw_truth(kind)[0], 0.5)
        assert np.isnan(metric.collect(replace(make_case(kind, 0), result=even))[metric.name]).all()
    if metric.needs_label == "defect":
        mask = draw_truth("labels")[0]
        mask[1] = 0
        scores = metric.collect(replace(make_case(kind, 0.1), mask=mask))[metric.name]
        assert np.isnan(scores).tolist() == [False, True, False]


@every_metric
def test_a_metric_that_lacks_what_it_needs_says_so(metric: Metric) -> None:
    if metric.needs:
        case = replace(make_case(metric.kinds[0], 0.1), atoms=None, mask=None, instances=None)
        with pytest.raises(ValueError, match="the metric names"):
            metric.collect(case)


@pytest.mark.parametrize("missing", ["nothing", "atoms", "mask", "instances", "label"])
@EVERY_KIND
def test_it_is_computed_where_the_records_have_what_it_needs_and_nowhere_else(
    metric: Metric, kind: Kind, missing: str, tmp_path: Path
) -> None:
    truth, atoms = draw_truth(kind)
    names = [name for name, spec in FIELDS.items() if spec.kind == kind and name != "noisy"]
    if not names or missing in names:
        pytest.skip(f"no field of kind {kind} is a truth without its {missing}")
    noisy = disturb(draw_truth("intensity")[0], "intensity", 0.1)
    beside = {"mask": draw_truth("labels")[0], "instances": draw_instances()}
    beside = {name: images for name, images in beside.items() if name != missing}
    records = [
        Record(
            {name: images[index] for name, images in ({"noisy": noisy} | beside | {names[0]: truth}).items()},
            specimen="a",
            name=f"image {index}",
            atoms=None if missing == "atoms" else atoms[index],
            attributes={"pixel_size_angstrom": PIXEL_SIZE_ANGSTROM},
        )
        for index in range(NUM_IMAGES)
    ]
    names_by_kind = {"labels": LABEL_NAMES, "other": REGION_NAMES}
    label_names = names_by_kind["labels" if (kind == "labels") != (missing == "label") else "other"]
    write_records(tmp_path / "test.h5", records, attributes={"mask_labels": json.dumps(label_names)})
    with RecordFile(tmp_path / "test.h5") as file:
        scores = score_method(
            lambda sample: truth[: len(sample["noisy"])],
            file,
            ["noisy"],
            names[0],
            batch_size=NUM_IMAGES,
            atom_tolerance_angstrom=0.5,
        ).metrics
    is_known = missing not in metric.needs and not (missing == "label" and metric.needs_label)
    assert (metric.name in scores) == is_known


def summarise(config: RunConfig, metric: Metric, **values: list[float]) -> dict[str, Any]:
    name = f"{metric.name}_{LABEL_NAMES[0]}" if metric.is_by_label else metric.name
    methods = {
        method: ImageScores({metric.name: np.array(one), name: np.array(one)}, 10.0) for method, one in values.items()
    }
    return summarise_scores(config, methods, ["a", "b"])


@every_metric
def test_tables_show_it_as_the_entry_says(metric: Metric, tiny_config: Callable[..., RunConfig]) -> None:
    scores = summarise(tiny_config(), metric, gaussian=[0.25, 0.25], network=[0.5, 0.5])
    heading, *rows = make_table(scores)
    shown = [metric.heading, *([f"{metric.heading} {LABEL_NAMES[0]}"] if metric.shows_labels else [])]
    assert heading == ["method", *shown, "images/s"]
    for row, value in zip(rows, (0.25, 0.5), strict=True):
        number = f"{metric.factor * value:.{metric.decimals}f}"
        assert row[1:-1] == [f"{number} [{number}, {number}]"] * len(shown)
    heading, *_ = make_table(scores, is_compact=True)
    assert heading == ["method", *(shown if metric.is_compact else []), "images/s"]


@every_metric
def test_the_best_method_is_the_one_that_the_entry_says(metric: Metric, tiny_config: Callable[..., RunConfig]) -> None:
    scores = summarise(tiny_config(), metric, gaussian=[0.25, 0.25], median=[0.5, 0.5], network=[0.9, 0.9])
    assert find_best(scores, metric.name, ["gaussian", "median"]) == (
        "median" if metric.is_larger_better else "gaussian"
    )


@every_metric
@pytest.mark.parametrize("is_trained_again", [True, False])
def test_verification_allows_the_tolerance_of_the_entry_and_no_more(
    metric: Metric, is_trained_again: bool, write_run: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_run("download", "preprocess", "train", "test")
    names = [metric.name, *([f"{metric.name}_particle"] if metric.is_by_label else [])]
    tolerance = metric.retrained_tolerance if is_trained_again else metric.tolerance
    for place, moved in (("expected", 0.0), ("near", 0.9 * tolerance), ("far", 1.1 * tolerance)):
        (tmp_path / place / "records").mkdir(parents=True)
        for task in ("download", "preprocess", "train", "test"):
            record = json.loads((folder / "records" / f"{task}.json").read_text()) | {"record_sha256": None}
            record["environment"]["cpu_model"] = place
            if task == "test":
                record["results"]["per_image"] = {"network": {name: [0.5 + moved] * 2 for name in names}}
            (tmp_path / place / "records" / f"{task}.json").write_text(json.dumps(record))
    for place, verdict in (("near", "within tolerance"), ("far", "different")):
        other = tmp_path / place
        findings = compare_results(tmp_path / "expected", other, other, is_trained_again=is_trained_again)
        verdicts = {finding.part: finding.verdict for finding in findings}
        for name in names:
            assert verdicts[f"network {name}"] == verdict


TOY = Metric(
    name="largest_error_percent",
    heading="largest error [%]",
    description="The largest error is that of the worst pixel.",
    kinds=("intensity",),
    compute=lambda case: 100 * np.abs(case.result - case.truth).max(axis=(1, 2)).astype(np.float64),
    is_larger_better=False,
    decimals=1,
    tolerance=0.1,
    retrained_tolerance=5.0,
)


def test_one_line_in_the_table_is_all_that_a_new_metric_needs(
    drawn_files: dict[str, RecordFile],
    tiny_config: Callable[..., RunConfig],
    write_run: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(METRICS, TOY.name, TOY)
    test = drawn_files["test"]
    methods = {
        name: score_method(
            lambda sample, factor=factor: factor * sample["noisy"][..., 0],
            test,
            ["noisy"],
            "clean",
            batch_size=4,
            atom_tolerance_angstrom=0.5,
        )
        for name, factor in (("noisy", 1.0), ("gaussian", 0.5), ("median", 0.9), ("network", 0.8))
    }
    expected = 100 * np.abs(0.8 * test.read("noisy") - test.read("clean")).max(axis=(1, 2))
    assert methods["network"].metrics[TOY.name] == pytest.approx(expected, rel=1e-6)
    scores = summarise_scores(tiny_config(), methods, test.read_text("specimen"))
    table = make_table(scores)
    assert TOY.heading in table[0]
    folder = write_run("download", "preprocess", "train", "test")
    pictures = {name: test.read(name, [0, 1]) for name in ("noisy", "clean")}
    words = ReportWords("A toy.", TOY.name, "intensity", None)
    write_report(folder, words, scores, pictures, colours={}, test=read_record(folder, "test"))
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert TOY.heading in page
    assert TOY.description in page
    for row in table[1:]:
        assert row[table[0].index(TOY.heading)] in page
    means = {name: scores["methods"][name][TOY.name]["mean"] for name in ("noisy", "median", "network")}
    assert find_best(scores, TOY.name, ["gaussian", "median"]) == "median"
    for other in ("noisy", "median"):
        assert f"{means['network'] - means[other]:+.0f} %" in page
    assert "largest error of the network over the best classical method (median)" in page
