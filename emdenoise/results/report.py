"""``report.html``: one self-contained page, made from the records, the scores and the pictures of a run."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from emdenoise.dataset.fields import Kind
from emdenoise.evaluation.metrics import METRICS, list_metrics
from emdenoise.evaluation.particle_tally import ReportedParticles
from emdenoise.files.atomic import write_atomically
from emdenoise.results.figures import Bounds, draw_dose_curves, draw_learning_curve, draw_pictures
from emdenoise.results.label_figures import Exhibit, show_outlines, show_particles, show_sizes
from emdenoise.results.tables import find_best, make_class_tables, make_difference_rows, make_dose_table, make_table
from emdenoise.results.task_record import RECORDS_FOLDER, TaskRecord, read_record

REPORT_FILE, PICTURES_FILE = "report.html", "pictures.png"
EARLIER_TASKS = ("download", "preprocess", "train")


@dataclass(frozen=True)
class ReportWords:
    """What a report says of the workload and the source.

    Attributes
    ----------
    description : str
        The workload in one sentence.
    main_metric : str
        Entry of `METRICS` by which methods are ranked.
    kind : str
        Of the truth (`dataset/fields.py`).
    window : (float, float) or None
        Which intensities, relative to vacuum, are stored as 0 and as 1; None where images keep a scale of their own.
    image : str
        The picture that outlines are drawn over.
    """

    description: str
    main_metric: str
    kind: Kind
    window: tuple[float, float] | None
    image: str = "noisy"

    def explain_scores(self, network: Mapping[str, Any]) -> str:
        """Say what the scores are; `network` are those of the network in ``scores.json``."""
        sentences = [metric.description for metric in list_metrics(self.kind) if metric.name in network]
        if self.window is not None:
            low, high = self.window
            sentences.append(f"Intensities from {low:g} to {high:g} of that of vacuum are stored as 0 to 1.")
        return " ".join(sentences)

    def explain_pictures(self, label_names: Sequence[str]) -> str:
        """Say how the pictures are drawn."""
        if self.kind == "labels":
            return f"Each row is one test image; from dark to light the labels are {', '.join(label_names)}."
        shown = "; waves are shown by their phase" if self.kind == "complex" else ""
        return f"Each row is one test image with one grey scale for all methods, set by the truth{shown}."


def write_report(
    output_dir: Path,
    words: ReportWords,
    scores: dict[str, Any],
    pictures: Mapping[str, Sequence[npt.NDArray[Any]]],
    *,
    colours: Mapping[str, str],
    test: TaskRecord,
    particles: ReportedParticles | None = None,
) -> None:
    """Write ``report.html`` and ``pictures.png``.

    Parameters
    ----------
    output_dir : Path
        Holds the records of the tasks before the test in ``records/``.
    words : ReportWords
    scores : dict
        Content of ``scores.json``.
    pictures : mapping of str to sequence of ndarray, shape (height, width)
        Test images by method, the truth last.
    colours : mapping of str to str
        How they are drawn, as `Head.colours`; gray where a name is not there.
    test : TaskRecord
        Of the test; written after the report, which it vouches for.
    particles : ReportedParticles or None
        Where the test images number their particles.

    Raises
    ------
    StorageError
        If the folder cannot be written.
    """
    there = [task for task in EARLIER_TASKS if (output_dir / RECORDS_FOLDER / f"{task}.json").exists()]
    records = [*(read_record(output_dir, task) for task in there), test]
    trained: dict[str, Any] = next((record.results for record in records if record.task == "train"), {})
    history, pretraining = trained.get("history", []), trained.get("pretraining", {})
    choices = {name: choice for name, choice in test.results["choices"].items() if name in scores["methods"]}
    given = next((name for name in scores["methods"] if name not in choices and name != "network"), None)
    best = find_best(scores, words.main_metric, choices)
    classical = [name for name in choices if name != best]
    picture = draw_pictures(
        {name: images for name, images in pictures.items() if name not in classical},
        test.results["captions"],
        colours,
    )
    environment = Environment(
        loader=PackageLoader("emdenoise", "results"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html.j2").render(
        scores=scores,
        description=words.description,
        score_note=words.explain_scores(scores["methods"]["network"]),
        picture_note=words.explain_pictures(test.results.get("label_names", [])),
        settings=test.settings,
        settings_text=yaml.safe_dump(test.settings, sort_keys=False),
        facts=_collect_facts(scores, words.main_metric, best=best, given=given, history=history),
        table=make_table(scores),
        differences=make_difference_rows(scores),
        dose_curves=_encode(_draw_dose_curves(scores, given)) if scores["by_dose"] else "",
        dose_table=make_dose_table(scores),
        class_tables=make_class_tables(scores, words.main_metric),
        choices=choices,
        confusion=test.results.get("confusion", []),
        label_names=test.results.get("label_names", []),
        exhibits=[
            vars(exhibit) | {"png": _encode(exhibit.png)}
            for exhibit in _show_labels(words, pictures, particles, best=best, results=test.results)
        ],
        pictures=_encode(picture),
        learning_curve=_encode(draw_learning_curve(history)) if history else "",
        training_note=_describe_training(records),
        pretraining_curve=_encode(draw_learning_curve(pretraining["history"])) if pretraining else "",
        pretraining_note=_describe_pretraining(pretraining) if pretraining else "",
        records=records,
        weights=test.inputs["weights"],
    )
    with write_atomically(output_dir / PICTURES_FILE) as partial:
        partial.write_bytes(picture)
    with write_atomically(output_dir / REPORT_FILE) as partial:
        partial.write_text(page, encoding="utf-8")


def _show_labels(
    words: ReportWords,
    pictures: Mapping[str, Sequence[npt.NDArray[Any]]],
    particles: ReportedParticles | None,
    *,
    best: str | None,
    results: Mapping[str, Any],
) -> list[Exhibit]:
    """Show labels by the network and the best classical method; nothing where the truth has none."""
    if words.kind != "labels":
        return []
    images, truth = pictures[words.image], list(pictures)[-1]
    masks = {name: pictures[name] for name in ("network", best) if name is not None}
    exhibits = [show_outlines(images, masks | {truth: pictures[truth]}, results["captions"], results["label_names"])]
    if particles is not None:
        found = show_particles(images, masks, particles.shown, results["label_names"], particles.tally)
        exhibits += [found, show_sizes(particles.tally)]
    return exhibits


def _draw_dose_curves(scores: dict[str, Any], given: str | None) -> bytes:
    """Draw the curves of all methods; not of the images themselves, `given`, which would flatten all others."""
    by_dose = scores["by_dose"]
    panels: dict[str, dict[str, list[Bounds]]] = {}
    for metric in METRICS.values():
        for name, found in by_dose["methods"].items():
            if metric.name not in found or name == given:
                continue
            points = [[point[bound] for bound in ("mean", "low", "high")] for point in found[metric.name]["curve"]]
            scaled = np.array(points, np.float64) * metric.factor
            panels.setdefault(metric.heading, {})[name] = [(mean, low, high) for mean, low, high in scaled.tolist()]
    return draw_dose_curves([point["dose_e_per_angstrom2"] for point in by_dose["bins"]], panels)


def _collect_facts(
    scores: dict[str, Any],
    main_metric: str,
    *,
    best: str | None,
    given: str | None,
    history: Sequence[Mapping[str, float]],
) -> list[dict[str, str]]:
    """Collect what is told first; `best` is the best classical method, `given` the image itself where it is scored."""
    methods = scores["methods"]
    network = methods["network"]
    metric = METRICS[main_metric]
    name, _, unit = metric.heading.partition(" [")
    unit, decimals = f" {unit.rstrip(']')}" if unit else "", metric.decimals - 1

    def show_gain(other: dict[str, Any]) -> str:
        reached, compared = network[main_metric]["mean"], other[main_metric]["mean"]
        return (
            "–"
            if reached is None or compared is None
            else f"{metric.factor * (reached - compared):+.{decimals}f}{unit}"
        )

    facts = []
    if given is not None:
        facts.append({"value": show_gain(methods[given]), "meaning": f"{name} of the network over the {given} images"})
    if best is not None:
        interval = scores["differences"].get(best, {}).get(main_metric)
        shown = ""
        if interval is not None and interval["low"] is not None:
            low, high = (f"{metric.factor * interval[bound]:+.{decimals}f}" for bound in ("low", "high"))
            shown = f", interval {low} to {high}"
        meaning = f"{name} of the network over the best classical method ({best}){shown}"
        facts.append({"value": show_gain(methods[best]), "meaning": meaning})
    if "atom_f1" in network:
        facts.append({"value": f"{network['atom_f1']['mean']:.3f}", "meaning": "F1 of the atoms found in its images"})
    if network["images_per_second"] is not None:
        facts.append({"value": f"{network['images_per_second']:.0f}/s", "meaning": "images by the network per second"})
    if history:
        seconds = sum(epoch["train_s"] + epoch["validation_s"] for epoch in history)
        facts.append({"value": f"{seconds:.0f} s", "meaning": f"training, {len(history)} epochs"})
    return facts


def _describe_training(records: Sequence[TaskRecord]) -> str:
    train = next((record for record in records if record.task == "train"), None)
    if train is None:
        return ""
    settings, results = train.settings["training"], train.results
    return (
        f"Batches of {settings['batch_size']}, {results['num_parameters']:,} parameters, "
        f"{results['images_per_second']:.1f} images/s; the first step took {results['first_step_s']:.1f} s. "
        f"The weights are those of epoch {results['best_epoch']}."
    )


def _describe_pretraining(pretraining: Mapping[str, Any]) -> str:
    layers = pretraining["transfer"]
    anew = ", ".join(layer["layer"] for layer in layers if not layer["is_taken"])
    return (
        f"Method {pretraining['method']}, {len(pretraining['history'])} epochs, {pretraining['duration_s']:.0f} s"
        f"{', done by an earlier run' if pretraining['is_reused'] else ''}; "
        f"weights {pretraining['weights_sha256'][:16]}. "
        f"{sum(layer['is_taken'] for layer in layers)} of {len(layers)} layers were taken over"
        f"{f'; {anew} began anew' if anew else ''}."
    )


def _encode(png: bytes) -> str:
    return base64.b64encode(png).decode()
