"""`emdenoise predict`: applies a trained network to an image file of any size."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdenoise.errors import SettingsError
from emdenoise.files.locks import hold_folders
from emdenoise.progress import Progress
from emdenoise.tasks import Outcome
from emdenoise.tools.trained import load_trained

if TYPE_CHECKING:
    from emdenoise.models.tiling import TiledMethod
    from emdenoise.tools.staging import StagedImages


@hold_folders(reads=("model_dir",), writes=())
def predict(*, image_file: Path, model_dir: Path, predicted_file: Path, progress: Progress) -> Outcome:
    """Denoise or segment an image file of any size, as the network was trained to.

    Denoised intensities are float32 in the units of the file, labels are uint8; .tif or .h5.
    """
    from emdenoise.files.pictures import check_picture, write_pictures
    from emdenoise.models.fusion import fuse_upsampling
    from emdenoise.models.tiling import TiledMethod, run_keras
    from emdenoise.tools.staging import stage_images

    check_picture(predicted_file)
    if predicted_file.resolve() == image_file.resolve():
        raise SettingsError("--predicted_file is the image file itself, which stays as it is; give another file.")
    config, trained = load_trained(model_dir)
    head, inputs = trained.ports.head, trained.network.inputs
    if len(inputs) > 1:
        raise SettingsError(f"the network needs {' and '.join(inputs)}; `emdenoise predict` has one image to give.")
    network = TiledMethod(trained.network, head, run_keras(fuse_upsampling(trained.network.model)))
    scratch = predicted_file.with_name(f".partial-{predicted_file.name}.noisy.h5")
    with stage_images(image_file, scratch, config) as staged:
        shape = staged.noisy.shape
        write_pictures(
            predicted_file,
            _predict_all(network, staged, progress),
            shape=shape,
            dtype=head.dtype,
            pixel_size_angstrom=staged.pixel_size_angstrom,
        )
    size = f"{shape[0]} of {shape[2]} × {shape[1]} px" if shape[0] > 1 else f"{shape[2]} × {shape[1]} px"
    return Outcome(f"Wrote {predicted_file}: {size}, {config.workload}, weights {trained.weights_sha256[:12]}.")


def _predict_all(network: "TiledMethod", staged: "StagedImages", progress: Progress) -> Iterator[Any]:
    """Predict image by image, strip by strip; labels as they are, intensities in the units of the file."""
    num_images, height, _ = staged.noisy.shape
    done = 0
    for index, scale in enumerate(staged.scales):
        for (strip,) in network.predict_strips({network.inputs[0]: _One(staged.noisy, index)}):
            done += len(strip)
            progress.step("predict", done, num_images * height, "rows")
            yield scale.restore(strip) if network.head.has_intensity else strip


class _One:
    """One image of a data set as a stack of one that is read by slices."""

    def __init__(self, images: Any, index: int) -> None:
        self._images, self._index = images, index
        self.shape = (1, *images.shape[1:], 1)

    def __getitem__(self, place: tuple[slice, slice, slice]) -> Any:
        return self._images[(slice(self._index, self._index + 1), *place[1:3])][..., None]
