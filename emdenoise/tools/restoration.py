"""From an image to what a trained network makes of it: for arrays, files and signals of HyperSpy.

`emdenoise predict` and the Python interface go the same way: `staging` brings the image into the form that the network
knows, `TrainedNetwork.restore` gives the result strip by strip, in the units of the image. The functions that take a
folder and an image are in `networks`.
"""

import copy
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, overload

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import FloatImage, Mask, describe
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.record import Record
from emdenoise.errors import DataError, ModelError, SettingsError
from emdenoise.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from emdenoise.models.checkpoints import TrainedModel
    from emdenoise.tools.staging import StagedImages

PIXEL_SIZE_TOLERANCE = 0.03
"""An image whose pixel size differs by no more than this share from that of the training is left as it is."""
LARGEST_ZOOM = 4.0
"""An image is made larger or smaller by at most this factor."""


class Signal(Protocol):
    """An image with axes, as HyperSpy has it."""

    data: Any
    axes_manager: Any


AnySignal = TypeVar("AnySignal", bound=Signal)
ArrayLike: TypeAlias = npt.NDArray[Any] | Record | str | os.PathLike[str]
"""What gives an array."""


class TrainedNetwork:
    """A trained network that is ready for images of any size; `emdenoise.load_network` gives one.

    Attributes
    ----------
    name : str
        Of the architecture, such as ``"unet"``.
    workload : str
        What it was trained for, ``"denoise"`` or ``"segment"``.
    weights_sha256 : str
        Hash of the weights; it is in the records and in the score tables.
    settings : RunConfig
        All settings of the training.
    pixel_size_angstrom : (float, float) or None
        Between which pixel sizes the images of the training were [Å]; None where nobody knows.
    label_names : list of str
        Of the labels 0, 1, … that it gives; empty where it gives none.

    Examples
    --------
    >>> from emdenoise import load_network
    >>> network = load_network("workspace/model")
    >>> network
    <TrainedNetwork unet, denoise, 0.14 to 0.17 Å a pixel, weights ...>
    >>> network.denoise(np.ones((40, 30))).shape
    (40, 30)
    """

    def __init__(self, settings: RunConfig, trained: "TrainedModel") -> None:
        from emdenoise.models.fusion import fuse_upsampling
        from emdenoise.models.tiling import TiledMethod, run_keras
        from emdenoise.sources import SOURCES

        inputs, self.head = trained.network.inputs, trained.ports.head
        if len(inputs) > 1:
            raise ModelError(f"the network needs {' and '.join(inputs)}; it cannot do with one image.")
        self.name, self.workload, self.settings = settings.model.name, settings.workload, settings
        self.weights_sha256 = trained.weights_sha256
        source = SOURCES[settings.data.source]
        self.pixel_size_angstrom = source.find_pixel_size(settings)
        self.label_names = source.label_names(settings) if self.head.kind == "labels" else []
        self._input = inputs[0]
        self._method = TiledMethod(trained.network, self.head, run_keras(fuse_upsampling(trained.network.model)))

    def __repr__(self) -> str:
        size = self.pixel_size_angstrom
        pixels = f"{size[0]:g} to {size[1]:g} Å a pixel" if size else "pixel size unknown"
        return f"<TrainedNetwork {self.name}, {self.workload}, {pixels}, weights {self.weights_sha256[:12]}>"

    @overload
    def denoise(
        self, image: ArrayLike, *, pixel_size_angstrom: float | None = None, signal: str | None = None
    ) -> FloatImage: ...
    @overload
    def denoise(self, image: AnySignal, *, pixel_size_angstrom: float | None = None) -> AnySignal: ...
    def denoise(self, image: Any, *, pixel_size_angstrom: float | None = None, signal: str | None = None) -> Any:
        """Remove the noise of an image or of a stack of images; see `emdenoise.denoise`."""
        if not self.head.has_intensity:
            raise self._refuse("denoise")
        return self._apply(image, pixel_size_angstrom, signal)

    @overload
    def segment(
        self, image: ArrayLike, *, pixel_size_angstrom: float | None = None, signal: str | None = None
    ) -> Mask: ...
    @overload
    def segment(self, image: AnySignal, *, pixel_size_angstrom: float | None = None) -> AnySignal: ...
    def segment(self, image: Any, *, pixel_size_angstrom: float | None = None, signal: str | None = None) -> Any:
        """Label each pixel of an image or of a stack of images; see `emdenoise.segment`."""
        if self.head.kind != "labels":
            raise self._refuse("segment")
        return self._apply(image, pixel_size_angstrom, signal)

    def restore(self, staged: "StagedImages", progress: Progress) -> Iterator[npt.NDArray[Any]]:
        """Give the results of staged images, strip by strip from the first image to the last.

        Parameters
        ----------
        staged : StagedImages
            Of `stage_images` or `stage_arrays`, which got the `settings` of this network.
        progress : Progress

        Yields
        ------
        ndarray, shape (strip_height, width)
            Labels as they are, intensities in the units of the image.
        """
        num_images, height, _ = staged.noisy.shape
        done = 0
        for index, scale in enumerate(staged.scales):
            for (strip,) in self._method.predict_strips({self._input: _One(staged.noisy, index)}):
                done += len(strip)
                progress.step("predict", done, num_images * height, "rows")
                yield scale.restore(strip) if self.head.has_intensity else strip

    def _apply(self, image: Any, pixel_size_angstrom: float | None, signal: str | None) -> Any:
        """Give the result of an image of any kind, as the kind that it is."""
        from emdenoise.tools.staging import check_is_file, stage_arrays, stage_images

        zoom = self._choose_zoom(pixel_size_angstrom)
        if isinstance(image, str | os.PathLike):
            path = Path(image)
            check_is_file(path)
            with (
                tempfile.TemporaryDirectory(prefix="emdenoise-") as folder,
                stage_images(
                    path.absolute(), Path(folder, "noisy.h5"), self.settings, zoom=zoom, signal=signal
                ) as staged,
            ):
                if len(staged) > 1:
                    names = ", ".join(of_signal.signal for of_signal in staged)
                    raise DataError(f"{path.name}: holds the signals {names}; expected one; choose with signal.")
                results = self._collect(staged[0])
            return results if len(results) > 1 else results[0]
        if signal is not None:
            raise DataError(f"signal is {signal}, but the image is no file; only files hold several signals.")
        images = _find_images(image)
        stack = images.reshape(-1, *images.shape[-2:])
        is_stored = isinstance(image, Record)
        results = self._collect(stage_arrays(stack, self.settings, zoom=zoom, is_stored=is_stored))
        results = results.reshape(images.shape)
        if not hasattr(image, "axes_manager"):
            return results
        restored = copy.deepcopy(image)
        restored.data = results
        return restored

    def _collect(self, staged: "StagedImages") -> npt.NDArray[Any]:
        """Give the results of staged images as one array of the size that the images had."""
        from emdenoise.dataset.tiles import resize_image

        strips = list(self.restore(staged, SilentProgress()))
        results = np.concatenate(strips).reshape(staged.noisy.shape)
        if results.shape[1:] == staged.own_shape:
            return results
        return np.stack([resize_image(result, staged.own_shape, self.head.kind) for result in results])

    def _choose_zoom(self, pixel_size_angstrom: float | None) -> float:
        """Choose by how much an image is made larger, so that the network sees a pixel size that it knows."""
        if pixel_size_angstrom is None:
            return 1.0
        if not (math.isfinite(pixel_size_angstrom) and pixel_size_angstrom > 0):
            raise SettingsError(f"pixel_size_angstrom is {pixel_size_angstrom}; it must be a number of Å above 0.")
        if self.pixel_size_angstrom is None:
            raise SettingsError(
                f"pixel_size_angstrom is {pixel_size_angstrom:g}, but nobody knows the pixel size of the images that "
                f"this network was trained with (source {self.settings.data.source}); leave pixel_size_angstrom out."
            )
        low, high = self.pixel_size_angstrom
        zoom = pixel_size_angstrom / min(max(pixel_size_angstrom, low), high)
        if not 1 / LARGEST_ZOOM <= zoom <= LARGEST_ZOOM:
            raise SettingsError(
                f"pixel_size_angstrom is {pixel_size_angstrom:g}; the network was trained from {low:g} to {high:g} Å "
                f"and an image is resampled by at most {LARGEST_ZOOM:g} times; train a network for this pixel size."
            )
        return 1.0 if abs(zoom - 1) <= PIXEL_SIZE_TOLERANCE else zoom

    def _refuse(self, verb: Literal["denoise", "segment"]) -> ModelError:
        return ModelError(
            f"network {self.name} was trained for workload {self.workload}; it cannot {verb} an image; "
            f"call {self.workload}, or give a network that was trained for workload {verb}."
        )


class _One:
    """One image of a stack as a stack of one that is read by slices."""

    def __init__(self, images: Any, index: int) -> None:
        self._images, self._index = images, index
        self.shape = (1, *images.shape[1:], 1)

    def __getitem__(self, place: tuple[slice, slice, slice]) -> Any:
        return self._images[(slice(self._index, self._index + 1), *place[1:3])][..., None]


def _find_images(image: Any) -> FloatImage:
    """Give the pixels of an array or a signal as float32; refuse what is no image or stack of images."""
    given = image
    if hasattr(image, "axes_manager"):
        if getattr(image, "_lazy", False):
            raise DataError("the image is a lazy signal; call its method compute() first.")
        dimensions = getattr(image.axes_manager, "signal_dimension", 2)
        if dimensions != 2:
            raise DataError(f"the image is a signal of {dimensions} dimensions; expected 2, as Signal2D has.")
        given = image.data
    elif isinstance(image, Record):
        given = image.noisy
    elif not hasattr(image, "__array__"):
        raise DataError(f"the image is a {type(image).__name__}; expected an array, a path or a signal of HyperSpy.")
    pixels = np.asarray(given)
    if pixels.ndim not in (2, 3) or not pixels.size or pixels.dtype.kind not in "buif":
        raise DataError(
            f"the image is {describe(pixels)}; expected real numbers of shape (height, width) or (num_images, height, "
            "width); give one channel, without empty axes."
        )
    with np.errstate(over="ignore"):  # becomes infinite and is refused
        return pixels.astype(np.float32)
