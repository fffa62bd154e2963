"""The source `emps`: real TEM and SEM images of particles with labels, from journal articles.

Laid out as its public repository, https://github.com/by256/emps: ``images/ID.png`` (RGB), ``segmaps/ID.png`` (number
of the particle of each pixel, 0 is background), ``train.csv`` and ``test.csv`` (one ID a line), and ``metadata.csv``
(file name, DOI of the article and more of each image).
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from emdenoise.arrays import Mask, describe
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.intensity import IntensityScale, RowImage, keep_scale
from emdenoise.dataset.record import PARTICLE_LABEL, Record, Source, Split
from emdenoise.dataset.splits import split_names
from emdenoise.errors import DataError, DownloadError, MissingInputError
from emdenoise.files.formats import read_micrographs
from emdenoise.files.sandbox import read_sandboxed
from emdenoise.progress import CountedProgress, Progress
from emdenoise.seeding import make_generator
from emdenoise.sources.fetching import Location, fetch_files, find_locations
from emdenoise.sources.folder import make_tiles

LISTS = ("train.csv", "test.csv")
METADATA, IMAGE_COLUMN, ARTICLE_COLUMN = "metadata.csv", "filename", "doi"
UNKNOWN_ARTICLES = ("", "nan")
HOW_TO_GET = (
    "run `git clone https://github.com/by256/emps` in the raw data folder, or set data.mirror to a folder or URL of "
    "that layout"
)
BACKGROUND, PARTICLE = 0, 1
WHITE = 255
INTENSITY = IntensityScale(scale=2.0**-8)
"""Images have 8 bits; a power of two keeps every digit."""


def download_emps(config: RunConfig, raw_dir: Path, progress: Progress) -> dict[str, str]:
    """Copy the repository's images from `data.mirror`, or take those that are in ``emps/``; verify all of them.

    Parameters
    ----------
    config : RunConfig
    raw_dir : Path
        Files are in ``emps/`` in it.
    progress : Progress

    Returns
    -------
    dict of str to str
        SHA-256 of each file, by its path relative to `raw_dir`.

    Raises
    ------
    DownloadError
        If files are missing and the mirror does not have them.
    DataError
        If a file is not what was recorded, a list is damaged, or some test images are there and others are not.
    """
    folder = raw_dir / "emps"
    locations = find_locations(config.data.mirror, raw_dir, [])
    has_articles = any((place / METADATA).is_file() for place in _list_places(folder, locations))
    hashes = _fetch([*LISTS, METADATA] if has_articles else list(LISTS), folder, locations, progress)
    if not has_articles:
        progress.say("emps: metadata.csv is not here, so images of one article may be in training and in test")
    train, test = (_read_list(folder / name) for name in LISTS)
    _check_lists(train, test)
    expected = [*train, *test]
    if not _has_test_images(test, folder, locations):
        expected = train
        progress.say(
            f"emps: none of the {len(test)} official test images is here; "
            f"test images are taken from the {len(train)} official training images"
        )
    names = [f"{kind}/{identifier}.png" for identifier in expected for kind in ("images", "segmaps")]
    hashes |= _fetch(names, folder, locations, CountedProgress(progress, "verify emps", len(names)))
    progress.say(f"emps: {len(expected)} images with labels")
    return {f"emps/{name}": digest for name, digest in hashes.items()}


def read_emps(config: RunConfig, raw_dir: Path) -> dict[Split, Iterable[Record]]:
    """Read the tiles of each split, image by image.

    The official test images are the test; where they are not there, and always for validation, images are drawn from
    the official training images, article by article if ``metadata.csv`` is there.

    Raises
    ------
    MissingInputError
        If the lists or images are not there.
    DataError
        If a list or an image is damaged.
    """
    folder = raw_dir / "emps"
    train, test = (_read_list(folder / name) for name in LISTS)
    _check_lists(train, test)
    has_test = _has_test_images(test, folder, [])
    articles = _read_articles(folder, [*train, *test])
    by_article = split_names(
        list(dict.fromkeys(articles[name] for name in train)),
        validation_fraction=config.data.validation_fraction,
        test_fraction=0.0 if has_test else config.data.test_fraction,
        rng=make_generator(config.data.seed, "emps split"),
    )
    split_of = {article: split for split, chosen in by_article.items() for article in chosen}
    splits = {split: [name for name in train if split_of[articles[name]] == split] for split in by_article}
    if has_test:
        splits["test"] = test
    return {split: _read_split(names, articles, folder, config) for split, names in splits.items()}


def _fetch(names: list[str], folder: Path, locations: list[Location], progress: Progress) -> dict[str, str]:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing and not locations:
        raise DownloadError(
            f"emps/{missing[0]} is missing, with {len(missing) - 1} more of {len(names)} files; {HOW_TO_GET}, and run "
            "the download task again."
        )
    return fetch_files(dict.fromkeys(names), locations, folder, progress)


def _read_list(path: Path) -> list[str]:
    if not path.is_file():
        raise MissingInputError(f"emps/{path.name} is not in the raw data folder; run the download task first.")
    identifiers = path.read_text(encoding="utf-8", errors="replace").split()
    wrong = [identifier for identifier in identifiers if not re.fullmatch(r"\w{1,64}", identifier)]
    if wrong or not identifiers:
        found = f"{wrong[0][:40]!r}" if wrong else "nothing"
        raise DataError(
            f"emps/{path.name} holds {found}; expected one image ID a line; delete it and download it again."
        )
    return identifiers


def _check_lists(train: list[str], test: list[str]) -> None:
    twice = sorted(identifier for identifier, count in Counter([*train, *test]).items() if count > 1)
    if twice:
        raise DataError(
            f"emps/train.csv and test.csv name the image {twice[0]} twice; expected every image in one split only; "
            "delete both and download them again."
        )


def _has_test_images(test: list[str], folder: Path, locations: list[Location]) -> bool:
    """Tell whether the official test images can be had: all or none of them. A server is taken to have them."""
    if any(location.is_web or location.endpoint for location in locations):
        return True
    places = _list_places(folder, locations)
    present = [name for name in test if any((place / "images" / f"{name}.png").is_file() for place in places)]
    if present and len(present) < len(test):
        raise DataError(
            f"emps/images holds {len(present)} of the {len(test)} images of test.csv; expected all or none; "
            f"{HOW_TO_GET}."
        )
    return bool(present)


def _list_places(folder: Path, locations: list[Location]) -> list[Path]:
    """List the folders where files may lie already; what a server has, is not asked for."""
    near = (location for location in locations if not location.is_web and not location.endpoint)
    return [folder, *(Path(location.address) for location in near)]


def _read_articles(folder: Path, identifiers: list[str]) -> dict[str, str]:
    """Read the DOI of the article of each image; an image whose article nobody knows stands for itself."""
    articles = dict(zip(identifiers, identifiers, strict=True))
    if not (folder / METADATA).is_file():
        return articles
    csv.field_size_limit(max(csv.field_size_limit(), (folder / METADATA).stat().st_size))
    with (folder / METADATA).open(newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.DictReader(file)
        columns = list(rows.fieldnames or [])
        if not {IMAGE_COLUMN, ARTICLE_COLUMN} <= set(columns):
            raise DataError(
                f"emps/{METADATA} has the columns {', '.join(columns)[:100]}; expected {IMAGE_COLUMN}, "
                f"{ARTICLE_COLUMN}; delete it and download it again."
            )
        for row in rows:
            name, article = str(row[IMAGE_COLUMN]).removesuffix(".png"), str(row[ARTICLE_COLUMN] or "").strip()
            if name in articles and article not in UNKNOWN_ARTICLES:
                articles[name] = article
    return articles


def _read_split(identifiers: list[str], articles: dict[str, str], folder: Path, config: RunConfig) -> Iterator[Record]:
    for identifier in identifiers:
        yield from make_tiles(_read_image(folder, identifier, articles[identifier]), config)


def _read_image(folder: Path, identifier: str, article: str) -> Record:
    paths = [folder / kind / f"{identifier}.png" for kind in ("images", "segmaps")]
    for path in paths:
        if not path.is_file():
            raise MissingInputError(f"emps/{path.parent.name}/{path.name} is missing; run the download task again.")
    image, particles = (read_sandboxed(read_micrographs, path)[0].image for path in paths)
    if particles.shape != image.shape:
        raise DataError(
            f"segmaps/{identifier}.png: is {describe(particles)}, its image is {describe(image)}; "
            "expected the same height and width; delete both and run the download task again."
        )
    if image.max() > WHITE:
        raise DataError(f"images/{identifier}.png: has values up to {image.max():g}; expected 8 bits, at most {WHITE}.")
    mask: Mask = np.where(particles > 0, PARTICLE, BACKGROUND).astype(np.uint8)
    return Record(
        {"noisy": INTENSITY.apply(image), "mask": mask, "instances": particles.astype(np.int32)},
        specimen=article,
        name=f"{identifier}.png",
        attributes=INTENSITY.to_attributes(),
    )


def choose_emps_scales(images: Sequence[RowImage], config: RunConfig, name: str) -> tuple[IntensityScale, ...]:
    """Keep the scale of 8 bits; raises `DataError` where a value has more."""
    return keep_scale(images, INTENSITY, (0, WHITE), name=name, source="emps")


EMPS = Source(
    description="Real TEM and SEM images of particles with labels (EMPS), luminance, cut into tiles.",
    licence="https://opensource.org/license/mit",
    citation=(
        "B. Yildirim, J. M. Cole, Bayesian Particle Instance Segmentation for Electron Microscopy Image "
        "Quantification, J. Chem. Inf. Model. 61 (2021), doi:10.1021/acs.jcim.0c01455"
    ),
    download=download_emps,
    read=read_emps,
    label_names=lambda config: ["background", PARTICLE_LABEL],
    choose_scales=choose_emps_scales,
    needs_network=True,
)
