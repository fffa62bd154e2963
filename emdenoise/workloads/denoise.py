"""The workload `denoise`: from the detector image to the noise-free intensity."""

from emdenoise.arrays import FloatImage
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.record_file import RecordFile
from emdenoise.evaluation.baselines.filters import TunedBaseline
from emdenoise.evaluation.baselines.tuning import choose_tuning_images, tune_baselines
from emdenoise.evaluation.metrics.intensity import psnr
from emdenoise.evaluation.scoring import DATA_RANGE, score_denoiser
from emdenoise.evaluation.throughput import Denoiser, measure_latency
from emdenoise.progress import Progress
from emdenoise.workloads.contract import Evaluation, Workload, apply_to_each, find_black_level, read_pictures


def return_noisy(noisy: FloatImage) -> FloatImage:
    """Leave the images as they are: the zero line of every table."""
    return noisy


def evaluate_denoising(
    config: RunConfig, network: Denoiser, validation: RecordFile, test: RecordFile, progress: Progress
) -> Evaluation:
    """Tune the classical methods on validation images and score all methods on the test images.

    Parameters
    ----------
    config : RunConfig
    network : callable
        The trained network as a denoiser.
    validation, test : RecordFile
    progress : Progress

    Returns
    -------
    Evaluation
    """
    settings = config.evaluation
    chosen = choose_tuning_images(len(validation), settings.num_tuning_images)
    num_methods = len(settings.baselines)
    baselines = tune_baselines(
        settings.baselines,
        validation.read("noisy", chosen),
        validation.read("clean", chosen),
        black_level=find_black_level(validation),
        on_method=lambda done, name: progress.step("tune classical methods", done, num_methods, name),
    )
    progress.step("tune classical methods", num_methods, num_methods)
    denoisers: dict[str, Denoiser] = {"noisy": return_noisy, **baselines, "network": network}
    methods = {}
    for number, (name, denoise) in enumerate(denoisers.items()):
        progress.step("score", number, len(denoisers), name)
        methods[name] = score_denoiser(
            denoise,
            test,
            batch_size=settings.batch_size if name == "network" else 1,  # classical methods gain nothing from batches
            atom_tolerance_angstrom=settings.atom_tolerance_angstrom,
        )
    progress.step("score", len(denoisers), len(denoisers))
    noisy, clean = (read_pictures(test, name, settings.num_pictures) for name in ("noisy", "clean"))
    restored = {name: apply_to_each(denoise, noisy) for name, denoise in denoisers.items()}
    return Evaluation(
        methods=methods,
        choices={name: _describe(baseline) for name, baseline in baselines.items()},
        latency=measure_latency(
            network, test.read("noisy", slice(0, settings.num_pictures)), settings.num_latency_images
        ),
        pictures=restored | {"clean": clean},
        captions={
            name: [_caption(name, image, truth) for image, truth in zip(images, clean, strict=True)]
            for name, images in restored.items()
        },
    )


def _caption(name: str, restored: FloatImage, clean: FloatImage) -> str:
    return f"{name}  {psnr(restored[None], clean[None], data_range=DATA_RANGE)[0]:.1f} dB"


def _describe(baseline: TunedBaseline) -> str:
    flatten = "beam left in" if baseline.flatten_px is None else f"beam flattened over {baseline.flatten_px:g} px"
    return f"strength {baseline.strength:g}, {flatten}{', counts stabilised' if baseline.is_stabilised else ''}"


DENOISE = Workload(
    name="denoise",
    description="Restore the noise-free intensity from the detector image.",
    input_field="noisy",
    target_field="clean",
    output_channels=1,
    main_metric="psnr_db",
    evaluate=evaluate_denoising,
    target_loss=0.0023,
)
