"""`emdenoise predict`: applies a trained network to image files of any size."""

import re
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emdenoise.dataset.record import PARTICLE_LABEL
from emdenoise.errors import MissingInputError, SettingsError
from emdenoise.files.atomic import name_partial
from emdenoise.files.locks import hold_folders, lock_file
from emdenoise.progress import Progress
from emdenoise.tasks import Outcome
from emdenoise.tools.restoration import TrainedNetwork
from emdenoise.tools.trained import load_trained

if TYPE_CHECKING:
    from emdenoise.tools.particle_files import ParticleFiles
    from emdenoise.tools.staging import StagedImages


@hold_folders(reads=("model_dir",), writes=())
def predict(
    *,
    images: tuple[Path, ...] = (),
    image_file: Path | None = None,
    model_dir: Path,
    predicted_file: Path | None = None,
    signal: str | None = None,
    progress: Progress,
) -> Outcome:
    """Denoise or segment image files of any size, as the network was trained to.

    An IMAGE is a .dm3, .dm4, .ser, .emd, .mrc, .tif, .png and more, or an .h5 with one data set. The result of scan.dm4
    is scan.denoised.tif or scan.segmented.tif beside it, unless --output says otherwise: the name of a file for one
    image, a folder for several. Denoised intensities are float32 in the units of the image, labels are uint8.

    A file with several signals, such as the detectors of a scan, gives a result for each: scan.HAADF.denoised.tif.

    A network that knows the label particle also counts and measures the particles: scan.particles.csv lists them,
    scan.particles.tif holds the number of each, scan.outlines.png and scan.sizes.png show them.
    """
    images = _list_images(images, image_file)
    _check_output(images, predicted_file)
    network = TrainedNetwork(*load_trained(model_dir))
    results = name_results(images, predicted_file, network.head.verb + network.head.ending)
    is_one_file = predicted_file is not None and not _is_folder(predicted_file)
    for result in results.values():
        _name_particle_files(network, result, images)  # refuses before anything is computed
    messages: list[str] = []
    for image, result in results.items():
        with _stage(image, result, network, signal) as staged:
            signals = [of_signal.signal for of_signal in staged]
            others = {*results, *(other for other in results.values() if other != result)}
            places = [result] if is_one_file else name_signals(image, result, signals, others)
            if len(places) != len(staged):
                raise SettingsError(
                    f"{image.name} holds the signals {', '.join(signals)}, and --output is the file {result.name}; "
                    "choose one with --signal, or give a folder."
                )
            for of_signal, place in zip(staged, places, strict=True):
                files = _name_particle_files(network, place, images)
                with (
                    nullcontext() if place == result else lock_file(place),  # `_stage` holds that of the image
                    nullcontext() if files is None else lock_file(files.table),
                ):
                    size, found = _write_result(network, of_signal, place, files, progress)
                weights = network.weights_sha256[:12]
                messages.append(f"Wrote {place}: {size}, {network.workload}, weights {weights}{found}.")
                if len(results) * len(staged) > 1:
                    progress.say(messages[-1])
    if len(messages) == 1:
        return Outcome(messages[0])
    if len(messages) > len(results):
        return Outcome(f"Wrote {len(messages)} results, one for each signal.")
    return Outcome(f"Wrote the results of {len(results)} images.")


def name_results(images: Sequence[Path], output: Path | None, ending: str) -> dict[Path, Path]:
    """Name the result of each image; two results are never one file, and none is an image.

    Parameters
    ----------
    images : sequence of Path
    output : Path or None
        File for the result of one image, or folder; None puts results beside the images.
    ending : str
        What the names of results end with, after the name of the image.

    Returns
    -------
    dict of Path to Path

    Raises
    ------
    SettingsError
        If a result would be written over an image or another result.

    Examples
    --------
    >>> [result.as_posix() for result in name_results([Path("run/scan.dm4")], None, "denoised.tif").values()]
    ['run/scan.denoised.tif']
    """
    results: dict[Path, Path] = {}
    takers: dict[Path, Path] = {}
    originals = {image.resolve() for image in images}
    for image in images:
        name = f"{image.stem}.{ending}"
        result = image.with_name(name) if output is None else output / name if _is_folder(output) else output
        place = result.resolve()
        if place == image.resolve():
            raise SettingsError("--output is the image file itself, which stays as it is; give another file.")
        if place in originals:
            raise SettingsError(
                f"the result of {image.name} would be written over {result.name}, which is an image to read; "
                "leave that image out, or give another --output."
            )
        if place in takers:
            raise SettingsError(
                f"{takers[place]} and {image} would both become {result.name}; give them in two commands."
            )
        results[image] = result
        takers[place] = image
    return results


def name_signals(image: Path, result: Path, signals: Sequence[str], others: Set[Path]) -> list[Path]:
    """Name the result of each signal of an image; one without a name takes that of the image.

    Parameters
    ----------
    image, result : Path
        As `name_results` has paired them.
    signals : sequence of str
    others : set of Path
        Images, and results of other images.

    Raises
    ------
    SettingsError
        If a result would be written over an image or another result.

    Examples
    --------
    >>> [path.name for path in name_signals(Path("scan.emd"), Path("scan.denoised.tif"), ["BF", "O K"], set())]
    ['scan.BF.denoised.tif', 'scan.O_K.denoised.tif']
    """
    ending = result.name.removeprefix(f"{image.stem}.")
    taken = {other.resolve() for other in others}
    places = []
    for signal in signals:
        name = re.sub(r"[^\w.+-]+", "_", signal)
        place = result.with_name(f"{image.stem}.{name}.{ending}") if name else result
        if place.resolve() in taken:
            raise SettingsError(
                f"the result of signal {signal} of {image.name} would be written over {place.name}; choose one signal "
                "with --signal, or give another --output."
            )
        taken.add(place.resolve())
        places.append(place)
    return places


def _list_images(images: tuple[Path, ...], image_file: Path | None) -> tuple[Path, ...]:
    """List what to read, each once."""
    if (image_file is None) != bool(images):
        trouble = "IMAGE and --image_file are both given" if images else "no image is given"
        raise SettingsError(f"{trouble}; give what shall be read: emdenoise predict IMAGE…")
    images = images if image_file is None else (image_file,)
    for image in images:
        if not image.is_file():
            trouble = (
                "is a folder; give the images in it" if image.is_dir() else "is not there; give a file that exists"
            )
            raise MissingInputError(f"{image} {trouble}.")
    return tuple({image.resolve(): image for image in images}.values())


def _check_output(images: Sequence[Path], output: Path | None) -> None:
    """Check what can be checked before the network is loaded."""
    from emdenoise.files.pictures import check_picture

    if output is None or _is_folder(output):
        return
    check_picture(output)
    if len(images) > 1:
        raise SettingsError(f"--output is the file {output.name} for {len(images)} images; give a folder for them.")


def _is_folder(output: Path) -> bool:
    """Tell whether results go into a folder: one that is there, or a name without an ending."""
    return output.is_dir() or (not output.exists() and not output.suffix)


@contextmanager
def _stage(image: Path, result: Path, network: TrainedNetwork, signal: str | None) -> Iterator[list["StagedImages"]]:
    from emdenoise.tools.staging import stage_images

    scratch = name_partial(result, ".noisy.h5")
    with lock_file(result), stage_images(image, scratch, network.settings, signal=signal) as staged:
        yield staged


def _name_particle_files(network: TrainedNetwork, place: Path, images: Sequence[Path]) -> "ParticleFiles | None":
    """Name the files of the particles of a result; None where the network does not know particles."""
    if PARTICLE_LABEL not in network.label_names:
        return None
    from emdenoise.tools.particle_files import name_particle_files

    return name_particle_files(place, images)


def _write_result(
    network: TrainedNetwork,
    staged: "StagedImages",
    place: Path,
    files: "ParticleFiles | None",
    progress: Progress,
) -> tuple[str, str]:
    """Write the result of one signal; returns its size and what is said of its particles, in words."""
    from emdenoise.files.pictures import write_pictures

    shape = staged.noisy.shape
    kept: list[npt.NDArray[Any]] = []
    strips = network.restore(staged, progress)
    write_pictures(
        place,
        strips if files is None else _keep(strips, kept),
        shape=shape,
        dtype=network.head.dtype,
        pixel_size_angstrom=staged.pixel_size_angstrom,
    )
    size = f"{shape[0]} of {shape[2]} × {shape[1]} px" if shape[0] > 1 else f"{shape[2]} × {shape[1]} px"
    if files is None:
        return size, ""
    from emdenoise.tools.particle_files import write_particles

    masks = np.concatenate(kept).reshape(shape) == network.label_names.index(PARTICLE_LABEL)
    return size, f"; {write_particles(files, masks, staged.noisy, staged.pixel_size_angstrom)}"


def _keep(strips: Iterator[npt.NDArray[Any]], kept: list[npt.NDArray[Any]]) -> Iterator[npt.NDArray[Any]]:
    """Pass strips on, and keep them."""
    for strip in strips:
        kept.append(strip)
        yield strip
