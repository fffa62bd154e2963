"""`emdenoise predict`: applies a trained network to image files of any size."""

from collections.abc import Sequence
from pathlib import Path

from emdenoise.errors import MissingInputError, SettingsError
from emdenoise.files.atomic import name_partial
from emdenoise.files.locks import hold_folders, lock_file
from emdenoise.progress import Progress
from emdenoise.tasks import Outcome
from emdenoise.tools.restoration import TrainedNetwork
from emdenoise.tools.trained import load_trained


@hold_folders(reads=("model_dir",), writes=())
def predict(
    *,
    images: tuple[Path, ...] = (),
    image_file: Path | None = None,
    model_dir: Path,
    predicted_file: Path | None = None,
    progress: Progress,
) -> Outcome:
    """Denoise or segment image files of any size, as the network was trained to.

    An IMAGE is a .dm3, .dm4, .ser, .emd, .mrc, .tif, .png and more, or an .h5 with one data set. The result of scan.dm4
    is scan.denoised.tif or scan.segmented.tif beside it, unless --output says otherwise: the name of a file for one
    image, a folder for several. Denoised intensities are float32 in the units of the image, labels are uint8.
    """
    images = _list_images(images, image_file)
    _check_output(images, predicted_file)
    network = TrainedNetwork(*load_trained(model_dir))
    results = name_results(images, predicted_file, network.head.verb + network.head.ending)
    for image, result in results.items():
        size = _predict_file(network, image, result, progress)
        message = f"Wrote {result}: {size}, {network.workload}, weights {network.weights_sha256[:12]}."
        if len(results) > 1:
            progress.say(message)
    return Outcome(message if len(results) == 1 else f"Wrote the results of {len(results)} images.")


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


def _predict_file(network: TrainedNetwork, image: Path, result: Path, progress: Progress) -> str:
    """Write the result of one image file; returns its size in words."""
    from emdenoise.files.pictures import write_pictures
    from emdenoise.tools.staging import stage_images

    scratch = name_partial(result, ".noisy.h5")
    with lock_file(result), stage_images(image, scratch, network.settings) as staged:
        shape = staged.noisy.shape
        write_pictures(
            result,
            network.restore(staged, progress),
            shape=shape,
            dtype=network.head.dtype,
            pixel_size_angstrom=staged.pixel_size_angstrom,
        )
    return f"{shape[0]} of {shape[2]} × {shape[1]} px" if shape[0] > 1 else f"{shape[2]} × {shape[1]} px"
