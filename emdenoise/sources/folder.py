"""The source `folder`: the user's own micrographs, with or without truth and labels (`sources/layout.py`).

A file is a specimen: all its frames and tiles are in one split. Files with the same truth or the same labels show one
specimen, and so do those that ``specimens.csv`` puts together.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import FloatImage, Mask, describe
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.intensity import IntensityScale, RowImage, choose_scale, choose_scale_by_blocks
from emdenoise.dataset.record import STATED_RANGE, Record, Source, Split
from emdenoise.dataset.splits import split_names
from emdenoise.dataset.tiles import cut_record, scale_record
from emdenoise.errors import DataError, DownloadError, SettingsError
from emdenoise.files.atomic import hash_file, write_json
from emdenoise.files.formats import Micrograph, read_masks, read_micrographs
from emdenoise.files.sandbox import read_sandboxed
from emdenoise.progress import CountedProgress, Progress
from emdenoise.seeding import make_generator
from emdenoise.simulation.detector import apply_shot_noise
from emdenoise.sources.fetching import CHECKSUMS, fetch_files, find_locations, read_checksums
from emdenoise.sources.layout import ImageFiles, describe_left_out, find_images, list_names

ALL_SIGNALS = "all"  # as data.signal: each signal of a file


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
    images = find_images(folder)
    _check_use(images, config)
    _refuse_copies(images, hashes, folder)
    with_clean = sum(image.clean is not None for image in images)
    with_mask = sum(image.mask is not None for image in images)
    progress.say(f"folder: {len(images)} images, {with_clean} with truth, {with_mask} with labels")
    for line in describe_left_out(_find_place(config, raw_dir)):
        progress.say(f"folder: {line}")
    return {f"folder/{name}": digest for name, digest in hashes.items()}


def read_folder(config: RunConfig, raw_dir: Path) -> dict[Split, Iterable[Record]]:
    """Read the tiles of each split, file by file.

    Stored intensity is that of the file less ``intensity_offset``, times ``intensity_scale`` (both attributes).

    Raises
    ------
    DataError
        If images are missing, too few, damaged, or do not fit their truth or labels.
    """
    images = find_images(raw_dir / "folder")
    _check_use(images, config)
    splits = _split_specimens(group_images(images), config)
    return {split: _read_split(members, config) for split, members in splits.items()}


def group_images(images: Sequence[ImageFiles]) -> dict[str, list[ImageFiles]]:
    """Put the images of each specimen together: those of one truth, of the same labels, or of one name in the table.

    Truth and labels of a single value tell nothing.

    Returns
    -------
    dict of str to list of ImageFiles
        By specimen: the name of its first file, or that of the table.
    """
    first_of_mark: dict[tuple[str, str], int] = {}
    earlier = list(range(len(images)))  # of each image another one of its specimen; the first one names itself

    def find_first(index: int) -> int:
        while earlier[index] != index:
            index = earlier[index]
        return index

    for index, image in enumerate(images):
        for mark in _list_marks(image):
            first, other = sorted((find_first(first_of_mark.setdefault(mark, index)), find_first(index)))
            earlier[other] = first
    groups: dict[int, list[ImageFiles]] = {}
    for index, image in enumerate(images):
        groups.setdefault(find_first(index), []).append(image)
    named: dict[str, list[ImageFiles]] = {}
    for group in groups.values():
        name = next((image.specimen for image in group if image.specimen), group[0].noisy.name)
        named.setdefault(name, []).extend(group)
    return named


def _list_marks(image: ImageFiles) -> list[tuple[str, str]]:
    """List what images of one specimen have in common."""
    marks = [("table", image.specimen)] if image.specimen else []
    for kind, path, read in (("clean", image.clean, read_micrographs), ("mask", image.mask, read_masks)):
        if path is not None:
            marks += [(kind, digest) for digest in read_sandboxed(partial(_hash_frames, read), path)]
    return marks


def _hash_frames(read: Callable[[Path], Sequence[Micrograph | Mask]], path: Path) -> list[str]:
    """Hash the pixels of each frame that has more than one value, in the reading process."""
    frames = [frame.image if isinstance(frame, Micrograph) else frame for frame in read(path)]
    return [
        hashlib.sha256(f"{frame.shape}".encode() + frame.tobytes()).hexdigest()
        for frame in frames
        if frame.min() < frame.max()
    ]


def make_tiles(image: Record, config: RunConfig) -> Iterator[Record]:
    """Magnify a whole image, add noise with the image as truth, as the settings ask for it, and cut it into tiles.

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
    yield from _cut_tiles(_magnify(image, config), config)


def _magnify(image: Record, config: RunConfig) -> Record:
    """Magnify an image and add the noise."""
    electrons = config.data.added_noise_electrons_per_pixel
    image = scale_record(image, config.data.scale_factor)
    if electrons is None:
        return image
    rng = make_generator(config.data.seed, f"added noise of {image.name}")
    noisy = apply_shot_noise(image.noisy, electrons_per_pixel=electrons, rng=rng)
    return dataclasses.replace(
        image,
        images={**image.images, "noisy": noisy, "clean": image.noisy},
        attributes=image.attributes | {"electrons_per_unit_intensity": electrons, "black_level": 0.0},
    )


def _cut_tiles(image: Record, config: RunConfig) -> Iterator[Record]:
    for tile in cut_record(image, config.data.tile_size_px):
        if "clean" in tile.images and np.array_equal(tile.noisy, tile.images["clean"]):
            raise DataError(
                f"{tile.name}: the tile of {config.data.tile_size_px} px is black or without noise and so its own "
                "truth; crop or remove the image."
            )
        yield tile


def _find_place(config: RunConfig, raw_dir: Path) -> Path:
    """Find the folder that the person filled: the mirror where there is one."""
    if config.data.mirror is not None:
        (location,) = find_locations(config.data.mirror, raw_dir, [])
        if Path(location.address).is_dir():
            return Path(location.address)
    return raw_dir / "folder"


def _record_hashes(folder: Path) -> dict[str, str]:
    """Record the SHA-256 of the user's own files at the first run; compare them ever after."""
    record = folder / CHECKSUMS
    remedy = f"put it back, or delete {folder.name}/{CHECKSUMS} to accept the images as they are now"
    recorded = read_checksums(folder, problem=" is damaged; delete it to record the images anew.")
    hashes = {name: hash_file(folder / name) for name in list_names(folder)}
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
    names = dict.fromkeys(list_names(place := Path(location.address)) + list_names(folder))
    if not names:
        if place.is_dir():
            find_images(place)  # says what is expected there
        raise DownloadError(f"data.mirror is {mirror}, which is no folder; give the folder of the images.")
    return fetch_files(names, [location], folder, CountedProgress(progress, "copy images", len(names)))


def _check_use(images: Sequence[ImageFiles], config: RunConfig) -> None:
    """Check before any image is read that the files can be split and used as the settings say."""
    electrons, clean = config.data.added_noise_electrons_per_pixel, images[0].clean
    if electrons is not None and clean is not None:
        raise SettingsError(
            f"data.added_noise_electrons_per_pixel is {electrons:g}, but {clean.parent.name}/ holds the truth of noisy "
            "images; remove the setting, or take the noise-free images alone as source."
        )
    _split_specimens({image.specimen or image.name: [image] for image in images}, config)


def _refuse_copies(images: Sequence[ImageFiles], hashes: dict[str, str], folder: Path) -> None:
    """Refuse the same image under two names: it would be in the test and in the training."""
    seen: dict[str, str] = {}
    for image in images:
        name = image.noisy.relative_to(folder).as_posix()
        other = seen.setdefault(hashes[name], name)
        if other != name:
            raise DataError(
                f"{folder.name}/{name} is a copy of {other}; expected every image once; remove one of them."
            )


def _split_specimens(
    specimens: dict[str, list[ImageFiles]], config: RunConfig
) -> dict[Split, dict[str, list[ImageFiles]]]:
    splits = split_names(
        list(specimens),
        validation_fraction=config.data.validation_fraction,
        test_fraction=config.data.test_fraction,
        rng=make_generator(config.data.seed, "folder split"),
    )
    return {split: {name: specimens[name] for name in names} for split, names in splits.items()}


def _read_split(specimens: dict[str, list[ImageFiles]], config: RunConfig) -> Iterator[Record]:
    for specimen, images in specimens.items():
        for image in images:
            for signal in _read_signals(image, specimen, config):
                frames = [_magnify(frame, config) for frame in signal]
                for frame in _state_range(_rescale_added_noise(frames, config)):
                    yield from _cut_tiles(frame, config)


def _read_signals(files: ImageFiles, specimen: str, config: RunConfig) -> Iterator[list[Record]]:
    """Read the frames of one file, signal by signal: detectors have units of their own.

    The noisy ones alone decide the scale, as in `predict`. What gets noise added is truth until then.
    """
    noisy = _choose_signal(read_sandboxed(read_micrographs, files.noisy), files.noisy, config)
    clean = _choose_signal(read_sandboxed(read_micrographs, files.clean), files.clean, config) if files.clean else []
    masks = read_sandboxed(read_masks, files.mask) if files.mask else []
    _check_partners(files, noisy, [micrograph.image for micrograph in clean], files.clean)
    _check_partners(files, noisy, masks, files.mask)
    for signal in dict.fromkeys(micrograph.signal for micrograph in noisy):
        members = [index for index, micrograph in enumerate(noisy) if micrograph.signal == signal]
        frames = [noisy[index].image for index in members]
        if config.data.added_noise_electrons_per_pixel is None:
            scale = choose_folder_scales(frames, config, files.noisy.name)[0]
        else:
            scale = choose_scale([], frames)
        yield [_make_record(noisy, clean, masks, index, specimen=specimen, scale=scale) for index in members]


def _choose_signal(micrographs: list[Micrograph], path: Path, config: RunConfig) -> list[Micrograph]:
    """Take the signal that the settings name; a file with one signal leaves no choice."""
    names, chosen = list(dict.fromkeys(micrograph.signal for micrograph in micrographs)), config.data.signal
    if len(names) == 1 or chosen == ALL_SIGNALS:
        return micrographs
    if chosen not in names:
        raise DataError(
            f"{path.parent.name}/{path.name}: holds the signals {', '.join(names)}, and data.signal is "
            f"{chosen or 'null'}; set it to one of them, or to {ALL_SIGNALS}."
        )
    return [micrograph for micrograph in micrographs if micrograph.signal == chosen]


def _make_record(
    noisy: Sequence[Micrograph],
    clean: Sequence[Micrograph],
    masks: Sequence[Mask],
    index: int,
    *,
    specimen: str,
    scale: IntensityScale,
) -> Record:
    micrograph = noisy[index]
    pixel_size_angstrom = micrograph.pixel_size_angstrom or (clean[index].pixel_size_angstrom if clean else None)
    images: dict[str, npt.NDArray[Any]] = {"noisy": scale.apply(micrograph.image)}
    if clean:
        images["clean"] = scale.apply(clean[index].image)
    if masks:
        images["mask"] = masks[index]
    return Record(
        images,
        specimen=specimen,
        name=micrograph.name,
        attributes={"pixel_size_angstrom": pixel_size_angstrom or math.nan, **scale.to_attributes()},
    )


def _rescale_added_noise(frames: list[Record], config: RunConfig) -> list[Record]:
    """Scale the frames of a signal with added noise as `predict` scales noisy ones, which have no truth there."""
    if config.data.added_noise_electrons_per_pixel is None:
        return frames
    scales = choose_folder_scales([frame.noisy for frame in frames], config, frames[0].name)
    return [
        dataclasses.replace(
            frame,
            images={name: scale.apply(image) for name, image in frame.images.items()},
            attributes=frame.attributes
            | {
                "intensity_scale": frame.attributes["intensity_scale"] * scale.scale,
                "electrons_per_unit_intensity": frame.attributes["electrons_per_unit_intensity"] / scale.scale,
            },
        )
        for frame, scale in zip(frames, scales, strict=True)
    ]


def _state_range(frames: list[Record]) -> list[Record]:
    """State the range of the truth of a signal, from zero or its lowest value to its largest, in stored intensity."""
    truth = [frame.images["clean"] for frame in frames if "clean" in frame.images]
    if not truth:
        return frames
    found = max(float(image.max()) for image in truth) - min(0.0, *(float(image.min()) for image in truth))
    return [
        dataclasses.replace(frame, attributes=frame.attributes | {STATED_RANGE: found or math.nan}) for frame in frames
    ]


def _check_partners(
    files: ImageFiles, noisy: list[Micrograph], partners: Sequence[FloatImage | Mask], path: Path | None
) -> None:
    if path is None:
        return
    name = f"{path.parent.name}/{path.name}"
    if len(partners) != len(noisy):
        raise DataError(
            f"{name}: holds {len(partners)} images, {files.noisy.name} holds {len(noisy)}; expected as many."
        )
    for micrograph, partner in zip(noisy, partners, strict=True):
        if partner.shape != micrograph.image.shape:
            raise DataError(
                f"{name}: is {describe(partner)}, the image {micrograph.name} is {describe(micrograph.image)}; "
                "expected the same height and width."
            )
        if path == files.clean and np.array_equal(partner, micrograph.image):
            raise DataError(
                f"{name}: is identical to the image {micrograph.name}; expected its noise-free truth; remove the pair."
            )


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
