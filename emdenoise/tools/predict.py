"""`emdenoise predict`: applies a trained network to an image file of any size."""

from pathlib import Path

from emdenoise.errors import SettingsError
from emdenoise.files.locks import hold_folders
from emdenoise.progress import Progress
from emdenoise.tasks import Outcome
from emdenoise.tools.restoration import TrainedNetwork
from emdenoise.tools.trained import load_trained


@hold_folders(reads=("model_dir",), writes=())
def predict(*, image_file: Path, model_dir: Path, predicted_file: Path, progress: Progress) -> Outcome:
    """Denoise or segment an image file of any size, as the network was trained to.

    Denoised intensities are float32 in the units of the file, labels are uint8; .tif or .h5.
    """
    from emdenoise.files.pictures import check_picture, write_pictures
    from emdenoise.tools.staging import stage_images

    check_picture(predicted_file)
    if predicted_file.resolve() == image_file.resolve():
        raise SettingsError("--predicted_file is the image file itself, which stays as it is; give another file.")
    network = TrainedNetwork(*load_trained(model_dir))
    scratch = predicted_file.with_name(f".partial-{predicted_file.name}.noisy.h5")
    with stage_images(image_file, scratch, network.settings) as staged:
        shape = staged.noisy.shape
        write_pictures(
            predicted_file,
            network.restore(staged, progress),
            shape=shape,
            dtype=network.head.dtype,
            pixel_size_angstrom=staged.pixel_size_angstrom,
        )
    size = f"{shape[0]} of {shape[2]} × {shape[1]} px" if shape[0] > 1 else f"{shape[2]} × {shape[1]} px"
    return Outcome(f"Wrote {predicted_file}: {size}, {network.workload}, weights {network.weights_sha256[:12]}.")
