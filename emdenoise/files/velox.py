"""The images of Velox files, whether or not they also hold maps of spectra."""

from pathlib import Path
from typing import Any

import h5py


def is_velox(path: Path) -> bool:
    """Tell whether an .emd file is of Velox, and not of the Berkeley format."""
    from rsciio.emd._api import is_EMD_Velox

    return bool(is_EMD_Velox(str(path)))


def read_velox_images(path: Path) -> list[dict[str, Any]]:
    """Read all frames of all images, as RosettaSciIO describes them.

    Its own function wants package ``sparse`` for a map of spectra even if only images are wanted, and then reads the
    first frame of each image.
    """
    from rsciio.emd._emd_velox import FeiEMDReader

    class ImageReader(FeiEMDReader):
        """Takes a file with a map of spectra for one with images."""

        def _check_im_type(self) -> None:
            self.im_type = "Image" if "Image" in self.d_grp else "Spectrum"

    reader = ImageReader(select_type="images")
    with h5py.File(path) as file:
        reader.read_file(file)
    found: list[dict[str, Any]] = reader.dictionaries
    return found
