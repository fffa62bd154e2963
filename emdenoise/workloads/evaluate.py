"""The test of every workload: classical methods are fitted, all methods scored, pictures made."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import Sample, choose_evenly
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.fields import FIELDS
from emdenoise.dataset.record import PARTICLE_LABEL
from emdenoise.dataset.record_file import RecordFile
from emdenoise.dataset.sampler import choose_training_images
from emdenoise.evaluation.baselines import Examples, fit_baselines
from emdenoise.evaluation.baselines.classifiers import NUM_TRAINING_IMAGES
from emdenoise.evaluation.conditions import read_conditions
from emdenoise.evaluation.metrics import METRICS, Case
from emdenoise.evaluation.metrics.masks import count_confusion
from emdenoise.evaluation.metrics.uncertainty import ERROR_AUROC, error_auroc
from emdenoise.evaluation.particle_tally import ParticleTally, ReportedParticles
from emdenoise.evaluation.particles import Particles
from emdenoise.evaluation.scoring import ImageScores, score_method
from emdenoise.evaluation.throughput import Latency, Method, UncertainMethod, measure_latency
from emdenoise.progress import Progress
from emdenoise.workloads.contract import Workload

Pictures = dict[str, list[npt.NDArray[Any]]]


@dataclass(frozen=True)
class Evaluation:
    """What the test of a workload found.

    Attributes
    ----------
    methods : dict of str to ImageScores
        ``noisy`` where the image itself is an answer, each classical method, ``network``.
    choices : dict of str to str
        What was chosen for each classical method on validation data, in words.
    latency : Latency
        Of the network, single images.
    pictures : dict of str to list of ndarray, shape (height, width)
        What the report shows side by side of some test images, the truth last.
    captions : dict of str to list of str
        What is written over each picture.
    colours : dict of str to str
        How the pictures of each name are drawn, as `Head.colours`.
    details : dict
        What else the record keeps, as JSON values: the confusion of the labels.
    conditions : dict
        Of each test image, as JSON values; see `read_conditions`.
    particles : ReportedParticles or None
        Where the test images number their particles.
    """

    methods: dict[str, ImageScores]
    choices: dict[str, str]
    latency: Latency
    pictures: Pictures
    captions: dict[str, list[str]]
    colours: dict[str, str]
    details: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)
    particles: ReportedParticles | None = None

    def describe(self) -> dict[str, Any]:
        """Say what a record keeps of the test, as JSON values: scores of every image, choices, latency."""
        return {
            "choices": self.choices,
            "latency": {"p50_ms": self.latency.p50_ms, "p99_ms": self.latency.p99_ms},
            "per_image": {
                name: {metric: _to_json(values) for metric, values in scores.metrics.items()}
                for name, scores in self.methods.items()
            },
            "captions": self.captions,
            **self.details,
            **self.conditions,
        }


def _to_json(values: npt.NDArray[np.float64]) -> list[float | None]:
    """Convert to a list; JSON has no NaN and no infinity."""
    return [float(value) if np.isfinite(value) else None for value in values]


def evaluate(
    workload: Workload,
    config: RunConfig,
    network: Method,
    *,
    validation: RecordFile,
    test: RecordFile,
    progress: Progress,
    train: RecordFile | None = None,
) -> Evaluation:
    """Fit the classical methods to validation images and score all methods on the test images.

    Parameters
    ----------
    workload : Workload
    config : RunConfig
    network : callable
        The trained network as a method.
    validation, test : RecordFile
    progress : Progress
    train : RecordFile or None
        Images that the network learned from, for classical methods that learn, too.

    Returns
    -------
    Evaluation
    """
    settings = config.evaluation
    names = workload.choose_baselines(config)
    examples = read_examples(workload, validation, choose_evenly(len(validation), settings.num_tuning_images))
    if train is not None:
        examples = replace(examples, read_training=partial(_read_training, workload, config, train))
    classical = fit_baselines(
        names,
        examples,
        on_method=lambda done, name: progress.step("tune classical methods", done, len(names), name),
    )
    progress.step("tune classical methods", len(names), len(names))
    methods: dict[str, Method] = {**classical, "network": network}
    if workload.is_restoration:
        methods = {workload.inputs[0]: _return_input(workload), **methods}
    scores = {}
    for number, (name, method) in enumerate(methods.items()):
        progress.step("score", number, len(methods), name)
        scores[name] = score_method(
            method,
            test,
            workload.inputs,
            workload.truth,
            batch_size=settings.batch_size if name == "network" else 1,  # classical methods gain nothing from batches
            atom_tolerance_angstrom=settings.atom_tolerance_angstrom,
        )
    progress.step("score", len(methods), len(methods))
    if workload.is_restoration:  # nothing is computed, so nothing is fast
        scores[workload.inputs[0]] = replace(scores[workload.inputs[0]], images_per_second=np.inf)
    pictures, captions = _take_pictures(workload, methods, test, settings.num_pictures)
    samples = test.read_sample(workload.inputs, slice(0, settings.num_pictures))
    labels, tally = _count_labels(workload, network, test)
    return Evaluation(
        methods=scores,
        choices={name: method.describe() for name, method in classical.items()},
        latency=measure_latency(network, samples, settings.num_latency_images),
        pictures=pictures,
        captions=captions,
        colours={
            name: workload.head.colours
            for name in pictures
            if workload.is_restoration or name not in (workload.inputs[0], "uncertainty")
        }
        | {workload.inputs[0]: "gray"},
        details={"main_metric": workload.main_metric, **labels},
        conditions=read_conditions(test),
        particles=None if tally is None else ReportedParticles(tally, _read_instances(test, settings.num_pictures)),
    )


def read_examples(workload: Workload, records: RecordFile, chosen: npt.NDArray[np.intp]) -> Examples:
    """Read the images of these indices as examples for classical methods, without what continues them by reflection."""
    return Examples(
        {
            name: [FIELDS[name].to_sample(records.read_inside(name, index)) for index in chosen]
            for name in workload.inputs
        },
        [records.read_inside(workload.truth, index) for index in chosen],
        label_names=records.label_names,
        black_level=find_black_level(records),
    )


def _read_training(workload: Workload, config: RunConfig, records: RecordFile) -> Examples:
    """Read an even sample of the images that the network learned from."""
    whole_images = records.list_whole_images()
    learned = choose_training_images(len(whole_images), config.training.num_images, config.seed)
    tiles = np.concatenate([whole_images[index] for index in learned])
    return read_examples(workload, records, tiles[choose_evenly(len(tiles), NUM_TRAINING_IMAGES)])


def find_black_level(records: RecordFile) -> float:
    """Find the stored intensity of a pixel that no electron reached; 0 where the source does not know it."""
    stated = records.read_attribute("black_level")
    of_scale = -records.read_attribute("intensity_offset") * records.read_attribute("intensity_scale")
    return float(np.nan_to_num(np.median(np.where(np.isnan(stated), of_scale, stated))))


def _return_input(workload: Workload) -> Method:
    """Leave the images as they are: the zero line of every table."""
    return lambda sample: sample[workload.inputs[0]][..., 0]


def read_pictures(
    records: RecordFile, inputs: tuple[str, ...], truth: str, num_wanted: int
) -> tuple[list[Sample], list[npt.NDArray[Any]]]:
    """Read some images to show, whole: samples of one image each, and their truth, each (height, width)."""
    whole_images = records.list_whole_images()
    chosen = [whole_images[index] for index in choose_evenly(len(whole_images), num_wanted)]
    samples = [records.read_whole_sample(inputs, [tiles]) for tiles in chosen]
    return samples, [records.read_whole(truth, tiles) for tiles in chosen]


def _take_pictures(
    workload: Workload, methods: Mapping[str, Method], test: RecordFile, num_wanted: int
) -> tuple[Pictures, dict[str, list[str]]]:
    """Apply every method to some images of any sizes, one by one; the image first and the truth last."""
    samples, truth = read_pictures(test, workload.inputs, workload.truth, num_wanted)
    metric = METRICS[workload.main_metric]
    pictures: Pictures = {workload.inputs[0]: [sample[workload.inputs[0]][0, ..., 0] for sample in samples]}
    captions: dict[str, list[str]] = {}
    for name, method in methods.items():
        results = [method(sample)[0] for sample in samples]
        pictures[name] = [_show(image) for image in results]
        cases = [Case(image[None], true[None], test.label_names) for image, true in zip(results, truth, strict=True)]
        if metric.caption:
            values = [float(metric.collect(case)[metric.name][0]) for case in cases]
            captions[name] = [f"{name}  {metric.caption.format(value)}" for value in values]
    if FIELDS[workload.truth].kind == "labels":
        wrong = [(found != true).astype(np.uint8) for found, true in zip(pictures["network"], truth, strict=True)]
        pictures["errors"], captions["errors"] = wrong, [f"errors  {errors.mean():.1%}" for errors in wrong]
        if isinstance(methods["network"], UncertainMethod):
            maps = [methods["network"].measure_uncertainty(sample)[0] for sample in samples]
            pictures["uncertainty"] = maps
            captions["uncertainty"] = [_caption_map(*pair) for pair in zip(maps, wrong, strict=True)]
    pictures[workload.truth] = [_show(image) for image in truth]
    return pictures, captions


def _caption_map(uncertainty: npt.NDArray[np.float32], is_wrong: npt.NDArray[Any]) -> str:
    """Say how well the uncertainty of the pixels of an image shows the errors; nothing where there are none."""
    (area,) = error_auroc(uncertainty[None], is_wrong[None] > 0)
    return "uncertainty" if np.isnan(area) else f"uncertainty  {ERROR_AUROC.caption.format(area)}"


def _show(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give what is drawn of a result: of a wave its phase, less the mean phase."""
    if not np.iscomplexobj(image):
        return image
    phase: npt.NDArray[Any] = np.angle(image * np.exp(-1j * np.angle(image.mean())))
    return phase


def _count_labels(
    workload: Workload, network: Method, records: RecordFile
) -> tuple[dict[str, Any], ParticleTally | None]:
    """Count the pixels of all images by true label (rows) and predicted label (columns), and their particles.

    Nothing without labels; no particles where the records do not number them.
    """
    if FIELDS[workload.truth].kind != "labels":
        return {}, None
    label_names = records.label_names
    total = np.zeros((len(label_names), len(label_names)), np.int64)
    tally = ParticleTally() if "instances" in records and PARTICLE_LABEL in label_names else None
    pixel_sizes = records.read_attribute("pixel_size_angstrom")
    for tiles in records.list_whole_images():
        found = network(records.read_whole_sample(workload.inputs, [tiles]))
        true = records.read_whole(workload.truth, tiles)[None]
        total += count_confusion(found, true, num_labels=len(label_names))
        if tally is not None:
            is_particle = found[0] == label_names.index(PARTICLE_LABEL)
            tally.add(is_particle, records.read_whole("instances", tiles), float(pixel_sizes[tiles[0]]))
    return {"label_names": label_names, "confusion": total.tolist()}, tally


def _read_instances(records: RecordFile, num_wanted: int) -> list[Particles]:
    """Read the numbers of the true particles of the images that `read_pictures` reads."""
    return read_pictures(records, (), "instances", num_wanted)[1]
