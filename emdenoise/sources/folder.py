"""The source `folder`: the user's own micrographs, with or without truth and labels.

Images lie in the folder itself or in ``noisy/`` (or ``raw/``), their truth under the same names in ``clean/`` (or
``truth/``), their labels in ``mask/``; the endings may differ. A file is a specimen: all its frames and tiles are in
one split.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import FloatImage, Mask, describe
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.intensity import IntensityScale, RowImage, choose_scale, choose_scale_by_blocks
from emdenoise.dataset.record import Record, Source, Split
from emdenoise.dataset.splits import split_names
from emdenoise.dataset.tiles import cut_record, scale_record
from emdenoise.errors import DataError, DownloadError, SettingsError
from emdenoise.files.atomic import hash_file, write_json
from emdenoise.files.formats import Micrograph, is_image_file, read_masks, read_micrographs
from emdenoise.files.sandbox import read_sandboxed
from emdenoise.progress import Progress
from emdenoise.seeding import make_generator
from emdenoise.simulation.detector import apply_shot_noise
from emdenoise.sources.fetching import CHECKSUMS, fetch_files, find_locations, read_checksums

NOISY_FOLDERS, CLEAN_FOLDERS, MASK_FOLDERS = ("noisy", "raw"), ("clean", "truth"), ("mask",)
SUBFOLDERS = (*NOISY_FOLDERS, *CLEAN_FOLDERS, *MASK_FOLDERS)
NUM_NAMES_SHOWN = 5


@dataclass(frozen=True)
class Specimen:
    """The files of one specimen: a noisy image, and its truth and labels where there are some."""

    name: str
    noisy: Path
    clean: Path | None = None
    mask: Path | None = None


class CountedProgress:
    """Turns what is said of each file into one step of many, for sources of many small files."""

    def __init__(self, progress: Progress, phase: str, total: int) -> None:
        self._progress, self._phase, self._done, self._total = progress, phase, 0, total

    def say(self, message: str) -> None:
        """Count one file."""
        self._done += 1
        self._progress.step(self._phase, self._done, self._total, message.partition(":")[0])

    def step(self, phase: str, done: int, total: int, note: str = "") -> None:
        """Drop the bytes of a single file."""


def download_folder(config: RunConfig, raw_dir: Path, progress: Progress) -> dict[str, str]:
    """Copy the images from `data.mirror`, or take those that are in ``folder/``; record and compare their SHA-256.

    Parameters
    ----------
    config : RunConfig
    raw_dir : Path
        Images are in ``folder/`` in it.
    progress : Progress

    Returns
    -------
    dict of str to str
        SHA-256 of each file, by its path relative to `raw_dir`.

    Raises
    ------
    SettingsError
        If the mirror is no folder, or noise shall be added to images that have a truth.
    DownloadError
        If the mirror is not there.
    DataError
        If there are no images, one has no partner or is a copy of another, or a file has changed since the first run.
    """
    folder = raw_dir / "folder"
    if config.data.mirror is None:
        hashes = _record_hashes(folder)
    else:
        hashes = _copy_mirror(config.data.mirror, raw_dir, folder, progress)
    specimens = find_specimens(folder)
    _check_use(specimens, config)
    _refuse_copies(specimens, hashes, folder)
    with_clean = sum(specimen.clean is not None for specimen in specimens)
    with_mask = sum(specimen.mask is not None for specimen in specimens)
    progress.say(f"folder: {len(specimens)} images, {with_clean} with truth, {with_mask} with labels")
    others = sorted(path.name for path in _list_visible(folder) if path.is_file() and not is_image_file(path))
    if others:
        progress.say(f"folder: no images, left alone: {_join(others)}")
    return {f"folder/{name}": digest for name, digest in hashes.items()}


def read_folder(config: RunConfig, raw_dir: Path) -> dict[Split, Iterable[Record]]:
    """Read the tiles of each split, file by file.

    Stored intensity is that of the file less ``intensity_offset``, times ``intensity_scale`` (both attributes).

    Raises
    ------
    DataError
        If images are missing, too few, damaged, or do not fit their truth or labels.
    """
    specimens = find_specimens(raw_dir / "folder")
    _check_use(specimens, config)
    splits = _split_specimens(specimens, config)
    return {split: _read_split(members, config) for split, members in splits.items()}


def find_specimens(folder: Path) -> list[Specimen]:
    """Find the images of a folder and their partners, sorted by name.

    Raises
    ------
    DataError
        If there are no images, a name occurs twice, or an image, truth or mask has no partner.
    """
    direct = _list_images(folder)
    named = [folder / name for name in NOISY_FOLDERS if _list_images(folder / name)]
    if len(named) + bool(direct) > 1:
        places = [f"{folder.name}/{path.name}/" for path in named] + [f"{folder.name}/"] * bool(direct)
        raise DataError(f"{' and '.join(places)} all hold images; expected one of them; move the images together.")
    if not named and not direct:
        raise DataError(
            f"{folder.name}/ holds no images; put at least 3 micrographs (.dm4, .emd, .ser, .mrc, .tif, .png, …) there "
            f"or in {folder.name}/noisy/ in the raw data folder, or set data.mirror to their folder."
        )
    noisy = _name_images(direct or _list_images(named[0]))
    clean, masks = (_find_partners(folder, names, noisy) for names in (CLEAN_FOLDERS, MASK_FOLDERS))
    return [Specimen(name, noisy[name], clean.get(name), masks.get(name)) for name in sorted(noisy)]


def make_tiles(image: Record, config: RunConfig) -> Iterator[Record]:
    """Scale a whole image, add noise with the image as truth, as the settings ask for it, and cut it into tiles.

    Parameters
    ----------
    image : Record
        Its name decides the random numbers, so that they do not change when other images are added.
    config : RunConfig

    Yields
    ------
    Record

    Raises
    ------
    DataError
        If a tile is its own truth, as black ones are: where no electron arrives there is no counting noise.
    """
    electrons = config.data.added_noise_electrons_per_pixel
    image = scale_record(image, config.data.scale_factor)
    if electrons is not None:
        rng = make_generator(config.data.seed, f"added noise of {image.name}")
        image = dataclasses.replace(
            image,
            images={
                **image.images,
                "noisy": apply_shot_noise(image.noisy, electrons_per_pixel=electrons, rng=rng),
                "clean": image.noisy,
            },
            attributes=image.attributes | {"electrons_per_unit_intensity": electrons, "black_level": 0.0},
        )
    for tile in cut_record(image, config.data.tile_size_px):
        if "clean" in tile.images and np.array_equal(tile.noisy, tile.images["clean"]):
            raise DataError(
                f"{tile.name}: the tile of {config.data.tile_size_px} px is black or without noise and so its own "
                "truth; crop or remove the image."
            )
        yield tile


def _list_visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[!.]*") if path.name != CHECKSUMS) if folder.is_dir() else []


def _list_images(folder: Path) -> list[Path]:
    return [path for path in _list_visible(folder) if path.is_file() and is_image_file(path)]


def _list_names(folder: Path) -> list[str]:
    """List all images of the layout by their path in the folder."""
    places = [folder, *(folder / name for name in SUBFOLDERS)]
    return [path.relative_to(folder).as_posix() for place in places for path in _list_images(place)]


def _name_images(paths: list[Path]) -> dict[str, Path]:
    """Name images by the stem of their file. The ``.ser`` files of an ``.emi`` file are read through it."""
    series = {path.stem for path in paths if path.suffix.lower() == ".emi"}
    named: dict[str, Path] = {}
    for path in paths:
        if path.suffix.lower() == ".ser" and re.sub(r"_\d+$", "", path.stem) in series:
            continue
        other = named.setdefault(path.stem, path)
        if other is not path:
            raise DataError(
                f"{path.parent.name}/: {other.name} and {path.name} have the same name; expected one file an image, "
                "since two would come into two splits; remove one or rename it."
            )
    return named


def _find_partners(folder: Path, subfolders: Sequence[str], noisy: dict[str, Path]) -> dict[str, Path]:
    """Find truth or labels: for all images or for none."""
    places = [folder / name for name in subfolders if _list_images(folder / name)]
    if len(places) > 1:
        raise DataError(f"{folder.name}/: {' and '.join(subfolders)} both hold images; expected one; merge them.")
    if not places:
        return {}
    partners = _name_images(_list_images(places[0]))
    missing = [
        f"{path.name} has no partner in {places[0].name}/" for name, path in noisy.items() if name not in partners
    ]
    extra = [f"{places[0].name}/{path.name} has no image" for name, path in partners.items() if name not in noisy]
    if missing or extra:
        raise DataError(
            f"{folder.name}/: {_join([*missing, *extra])}; expected files of the same name; add or remove them."
        )
    return partners


def _record_hashes(folder: Path) -> dict[str, str]:
    """Record the SHA-256 of the user's own files at the first run; compare them ever after."""
    record = folder / CHECKSUMS
    remedy = f"put it back, or delete {folder.name}/{CHECKSUMS} to accept the images as they are now"
    recorded = read_checksums(folder, problem=" is damaged; delete it to record the images anew.")
    hashes = {name: hash_file(folder / name) for name in _list_names(folder)}
    for name, digest in recorded.items():
        if name not in hashes:
            raise DataError(f"{folder.name}/{name} was there at the first run and is missing; {remedy}.")
        if hashes[name] != digest:
            raise DataError(
                f"{folder.name}/{name}: SHA-256 is {hashes[name][:12]}…, expected {digest[:12]}… of the first run; "
                f"{remedy}."
            )
    if hashes and hashes != recorded:
        write_json(record, hashes)
    return hashes


def _copy_mirror(mirror: str, raw_dir: Path, folder: Path, progress: Progress) -> dict[str, str]:
    (location,) = find_locations(mirror, raw_dir, [])
    if location.is_web or location.endpoint:
        raise SettingsError(
            f"data.mirror is {mirror}; the source folder cannot list what a server holds: give a folder, "
            f"or put the images into {folder.name}/ in the raw data folder."
        )
    place = Path(location.address)
    names = dict.fromkeys(_list_names(place) + _list_names(folder))
    if not names:
        if place.is_dir():
            find_specimens(place)  # says what is expected there
        raise DownloadError(f"data.mirror is {mirror}, which is no folder; give the folder of the images.")
    return fetch_files(names, [location], folder, CountedProgress(progress, "copy images", len(names)))


def _check_use(specimens: list[Specimen], config: RunConfig) -> None:
    """Check before any image is read that the files can be split and used as the settings say."""
    electrons, clean = config.data.added_noise_electrons_per_pixel, specimens[0].clean
    if electrons is not None and clean is not None:
        raise SettingsError(
            f"data.added_noise_electrons_per_pixel is {electrons:g}, but {clean.parent.name}/ holds the truth of noisy "
            "images; remove the setting, or take the noise-free images alone as source."
        )
    _split_specimens(specimens, config)


def _refuse_copies(specimens: list[Specimen], hashes: dict[str, str], folder: Path) -> None:
    """Refuse the same image under two names: it would be in the test and in the training."""
    seen: dict[str, str] = {}
    for specimen in specimens:
        name = specimen.noisy.relative_to(folder).as_posix()
        other = seen.setdefault(hashes[name], name)
        if other != name:
            raise DataError(
                f"{folder.name}/{name} is a copy of {other}; expected every image once; remove one of them."
            )


def _split_specimens(specimens: list[Specimen], config: RunConfig) -> dict[Split, list[Specimen]]:
    by_name = {specimen.name: specimen for specimen in specimens}
    splits = split_names(
        list(by_name),
        validation_fraction=config.data.validation_fraction,
        test_fraction=config.data.test_fraction,
        rng=make_generator(config.data.seed, "folder split"),
    )
    return {split: [by_name[name] for name in names] for split, names in splits.items()}


def _read_split(specimens: list[Specimen], config: RunConfig) -> Iterator[Record]:
    for specimen in specimens:
        for image in _read_specimen(specimen, is_truth=config.data.added_noise_electrons_per_pixel is not None):
            yield from make_tiles(image, config)


def _read_specimen(specimen: Specimen, *, is_truth: bool) -> Iterator[Record]:
    """Read the frames of one file as whole images, those of a signal scaled alike; what gets noise added is truth."""
    noisy = read_sandboxed(read_micrographs, specimen.noisy)
    clean = read_sandboxed(read_micrographs, specimen.clean) if specimen.clean else []
    truth = [micrograph.image for micrograph in clean]
    masks = read_sandboxed(read_masks, specimen.mask) if specimen.mask else []
    _check_partners(specimen, noisy, truth, specimen.clean)
    _check_partners(specimen, noisy, masks, specimen.mask)
    scales = _choose_signal_scales(noisy, truth, is_truth=is_truth)
    for index, micrograph in enumerate(noisy):
        scale = scales[micrograph.signal]
        pixel_size_angstrom = micrograph.pixel_size_angstrom or (clean[index].pixel_size_angstrom if clean else None)
        images: dict[str, npt.NDArray[Any]] = {"noisy": scale.apply(micrograph.image)}
        if truth:
            images["clean"] = scale.apply(truth[index])
        if masks:
            images["mask"] = masks[index]
        yield Record(
            images,
            specimen=specimen.noisy.name,
            name=micrograph.name,
            attributes={"pixel_size_angstrom": pixel_size_angstrom or math.nan, **scale.to_attributes()},
        )


def _choose_signal_scales(
    noisy: list[Micrograph], truth: list[FloatImage], *, is_truth: bool
) -> dict[str, IntensityScale]:
    """Choose one scale for each signal of a file: detectors have units of their own."""
    scales = {}
    for signal in dict.fromkeys(micrograph.signal for micrograph in noisy):
        members = [index for index, micrograph in enumerate(noisy) if micrograph.signal == signal]
        frames, clean = [noisy[index].image for index in members], [truth[index] for index in members if truth]
        scales[signal] = choose_scale([], frames) if is_truth else choose_scale(frames, clean)
    return scales


def _check_partners(
    specimen: Specimen, noisy: list[Micrograph], partners: Sequence[FloatImage | Mask], path: Path | None
) -> None:
    if path is None:
        return
    name = f"{path.parent.name}/{path.name}"
    if len(partners) != len(noisy):
        raise DataError(
            f"{name}: holds {len(partners)} images, {specimen.noisy.name} holds {len(noisy)}; expected as many."
        )
    for micrograph, partner in zip(noisy, partners, strict=True):
        if partner.shape != micrograph.image.shape:
            raise DataError(
                f"{name}: is {describe(partner)}, the image {micrograph.name} is {describe(micrograph.image)}; "
                "expected the same height and width."
            )
        if path == specimen.clean and np.array_equal(partner, micrograph.image):
            raise DataError(
                f"{name}: is identical to the image {micrograph.name}; expected its noise-free truth; remove the pair."
            )


def _join(names: Sequence[str]) -> str:
    more = f" and {len(names) - NUM_NAMES_SHOWN} more" if len(names) > NUM_NAMES_SHOWN else ""
    return ", ".join(names[:NUM_NAMES_SHOWN]) + more


def choose_folder_scales(images: Sequence[RowImage], config: RunConfig, name: str) -> tuple[IntensityScale, ...]:
    """Choose one power of two for all images of a signal."""
    return len(images) * (choose_scale_by_blocks(images),)


FOLDER = Source(
    description="Micrographs of the person who runs the benchmark, cut into tiles.",
    licence="https://rightsstatements.org/vocab/UND/1.0/",
    citation="EMDenoise, source folder: the images of the person who ran it",
    download=download_folder,
    read=read_folder,
    label_names=lambda config: list(config.data.mask_labels),
    choose_scales=choose_folder_scales,
    needs_network=False,
)
