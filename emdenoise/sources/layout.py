"""Where the source `folder` finds images, their truth and labels, and the names of the specimens.

Images lie in the folder itself or in ``noisy/`` (or ``raw/``), their truth under the same names in ``clean/`` (or
``truth/``), their labels in ``mask/``; the endings may differ, and capitals do not matter. ``specimens.csv`` may say
which images show one specimen.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emdenoise.errors import DataError
from emdenoise.files.formats import is_image_file
from emdenoise.sources.fetching import CHECKSUMS

NOISY_FOLDERS, CLEAN_FOLDERS, MASK_FOLDERS = ("noisy", "raw"), ("clean", "truth"), ("mask",)
SUBFOLDERS = (*NOISY_FOLDERS, *CLEAN_FOLDERS, *MASK_FOLDERS)
SPECIMENS_FILE = "specimens.csv"
COLUMNS = ["image", "specimen"]
NUM_NAMES_SHOWN = 5


@dataclass(frozen=True)
class ImageFiles:
    """The files of one image: the noisy one, and its truth and labels where there are some.

    Attributes
    ----------
    name : str
        Of the file, without its ending.
    noisy : Path
    clean, mask : Path or None
    specimen : str or None
        As ``specimens.csv`` names it.
    """

    name: str
    noisy: Path
    clean: Path | None = None
    mask: Path | None = None
    specimen: str | None = None


def find_images(folder: Path) -> list[ImageFiles]:
    """Find the images of a folder and their partners, sorted by name.

    Raises
    ------
    DataError
        If there are no images, a name occurs twice, an image, truth or mask has no partner, or the table of the
        specimens does not fit.
    """
    direct = _list_images(folder)
    named = _find_subfolders(folder, NOISY_FOLDERS)
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
    specimens = _read_specimens(folder, noisy)
    return [
        ImageFiles(name, noisy[name], clean.get(name), masks.get(name), specimens.get(name)) for name in sorted(noisy)
    ]


def list_names(folder: Path) -> list[str]:
    """List all files of the layout by their path in the folder: images and the table of the specimens."""
    places = [folder, *_find_subfolders(folder, SUBFOLDERS)]
    names = [path.relative_to(folder).as_posix() for place in places for path in _list_images(place)]
    return [*names, SPECIMENS_FILE] if names and (folder / SPECIMENS_FILE).is_file() else names


def describe_left_out(folder: Path) -> list[str]:
    """Say which files the layout does not take: those that look like images, and those of the folder that do not."""
    used = {folder / name for name in (*list_names(folder), CHECKSUMS)}
    found = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path not in used and path.is_file()]
    others = [path for path in found if not any(part.startswith(".") for part in path.parts)]
    images = [path.as_posix() for path in others if is_image_file(path)]
    rest = [path.name for path in others if not is_image_file(path) and len(path.parts) == 1]
    said = []
    if images:
        said.append(
            f"images left alone: {join_names(images)}; images are read from the folder itself or noisy/, their "
            "partners from clean/ and mask/"
        )
    return [*said, f"no images, left alone: {join_names(rest)}"] if rest else said


def join_names(names: Sequence[str]) -> str:
    """Name a few and count the others."""
    more = f" and {len(names) - NUM_NAMES_SHOWN} more" if len(names) > NUM_NAMES_SHOWN else ""
    return ", ".join(names[:NUM_NAMES_SHOWN]) + more


def _list_images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = sorted(path for path in folder.glob("[!.]*") if path.is_file() and is_image_file(path))
    for path in found:
        if any("\ud800" <= character <= "\udfff" for character in path.name):  # bytes that are no text
            shown = path.name.encode(errors="backslashreplace").decode()
            raise DataError(f"{folder.name}/: the name of {shown} is not UTF-8, as records must be; rename the file.")
    return found


def _find_subfolders(folder: Path, names: Sequence[str]) -> list[Path]:
    """Find the folders of these names that hold images, in the order of the names."""
    found = sorted(path for path in folder.glob("[!.]*") if path.is_dir() and path.name.lower() in names)
    return sorted((path for path in found if _list_images(path)), key=lambda path: names.index(path.name.lower()))


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
    places = _find_subfolders(folder, subfolders)
    if len(places) > 1:
        found = " and ".join(place.name for place in places)
        raise DataError(f"{folder.name}/: {found} both hold images; expected one; merge them.")
    if not places:
        return {}
    partners = _name_images(_list_images(places[0]))
    missing = [
        f"{path.name} has no partner in {places[0].name}/" for name, path in noisy.items() if name not in partners
    ]
    extra = [f"{places[0].name}/{path.name} has no image" for name, path in partners.items() if name not in noisy]
    if missing or extra:
        raise DataError(
            f"{folder.name}/: {join_names([*missing, *extra])}; expected files of the same name; add or remove them."
        )
    return partners


def _read_specimens(folder: Path, noisy: dict[str, Path]) -> dict[str, str]:
    """Read which image shows which specimen; images that the table does not name are specimens of their own."""
    path = folder / SPECIMENS_FILE
    if not path.is_file():
        return {}
    problem = f"{folder.name}/{SPECIMENS_FILE}"
    try:
        heading, *rows = csv.reader(path.read_text(encoding="utf-8-sig").splitlines())
    except (ValueError, csv.Error) as error:
        raise DataError(f"{problem}: cannot be read ({error}); expected the columns image,specimen.") from error
    if heading != COLUMNS or any(len(row) != 2 or not all(row) for row in rows if row):
        raise DataError(
            f"{problem}: has the columns {','.join(heading)} or a line without two entries; expected image,specimen "
            "in the first line and two entries in each; correct it."
        )
    names = {path.name: name for name, path in noisy.items()} | {name: name for name in noisy}
    found: dict[str, str] = {}
    for image, specimen in filter(None, rows):
        if image not in names or names[image] in found:
            trouble = "is named twice" if image in names else "is not there"
            raise DataError(f"{problem}: the image {image} {trouble}; expected each image once; correct the table.")
        found[names[image]] = specimen
    return found
