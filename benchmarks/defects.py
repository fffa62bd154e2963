"""Defects where a filter and the network of a run differ most: ``python benchmarks/defects.py WORKSPACE PICTURE.png``.

Of the test images, it cuts out the window around each defect and compares the squared errors of the two. The picture
shows the windows where the network gains most, and where it loses most. The filter is tuned as `test` tunes it.
"""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import choose_evenly
from emdenoise.dataset.record import DEFECT
from emdenoise.dataset.record_file import RecordFile
from emdenoise.evaluation.baselines import fit_baselines
from emdenoise.files.atomic import write_atomically
from emdenoise.models.tiling import TiledMethod
from emdenoise.results.figures import draw_pictures
from emdenoise.tools.trained import load_trained
from emdenoise.workloads import WORKLOADS
from emdenoise.workloads.evaluate import read_examples

FILTER = "wiener"
SIDE_PX = 72
"""Of a window: about 11 Å [px]."""
NUM_EACH = 2


def main() -> None:
    """Write the picture."""
    workspace, picture = Path(sys.argv[1]), Path(sys.argv[2])
    config, trained = load_trained(workspace / "model")
    workload = WORKLOADS[config.workload]
    with (
        RecordFile(workspace / "data" / "validation.h5") as validation,
        RecordFile(workspace / "data" / "test.h5") as test,
    ):
        chosen = choose_evenly(len(validation), config.evaluation.num_tuning_images)
        (tuned,) = fit_baselines([FILTER], read_examples(workload, validation, chosen)).values()
        sample = test.read_sample(workload.inputs, slice(None))
        images = {
            "noisy": test.read("noisy"),
            "Wiener filter": np.concatenate([tuned({"noisy": image[None]}) for image in sample["noisy"]]),
            "network": TiledMethod(trained.network, trained.ports.head)(sample),
            "truth": test.read("clean"),
        }
        places, doses = find_windows(test.read("mask")), test.read_attribute("dose_e_per_angstrom2")
    gains = np.array([find_gain(images, place) for place in places])
    order = np.argsort(gains)[::-1]
    shown = [*order[:NUM_EACH], *order[-NUM_EACH:]]
    titles = [f"{doses[places[index][0]]:,.0f} e⁻/Å²: {gains[index]:+.1f} dB" for index in shown]
    panels = {name: [stack[places[index]] for index in shown] for name, stack in images.items()}
    captions = {"network": titles}
    with write_atomically(picture) as path:
        path.write_bytes(draw_pictures(panels, captions, {}))
    better = np.mean(gains > 0)
    print(f"{len(places)} defects: the network gains {gains.mean():+.2f} dB, and something at {better:.0%} of them")


def find_windows(masks: npt.NDArray[np.uint8]) -> list[tuple[int, slice, slice]]:
    """List windows around defects, as index, rows and columns of the images."""
    from scipy.ndimage import center_of_mass, label

    windows = []
    for index, mask in enumerate(masks):
        numbered, number = label(mask == DEFECT)
        for centre in center_of_mass(numbered > 0, numbered, range(1, number + 1)):
            top, left = (
                int(np.clip(round(middle) - SIDE_PX // 2, 0, side - SIDE_PX))
                for middle, side in zip(centre, mask.shape, strict=True)
            )
            windows.append((index, slice(top, top + SIDE_PX), slice(left, left + SIDE_PX)))
    return windows


def find_gain(images: dict[str, npt.NDArray[np.float32]], place: tuple[int, slice, slice]) -> float:
    """Find how much smaller the squared error of the network is than that of the filter [dB]."""
    errors = [np.mean((images[name][place] - images["truth"][place]) ** 2) for name in ("Wiener filter", "network")]
    return float(10 * np.log10(errors[0] / errors[1]))


if __name__ == "__main__":
    main()
