"""Under which conditions each test image was taken, as far as its source knows: what scores are broken down by."""

from typing import Any

import numpy as np

from emdenoise.dataset.record_file import RecordFile

CONDITIONS = ("doses_e_per_angstrom2", "classes")
"""Names in the record of a test, each with one value an image."""


def read_conditions(records: RecordFile) -> dict[str, Any]:
    """Read the conditions of all images, as JSON values.

    Parameters
    ----------
    records : RecordFile

    Returns
    -------
    dict
        ``doses_e_per_angstrom2``: list of float, to six digits, so that it is the same on every machine;
        ``classes``: list of str, empty where the class of an image is not known. A condition that the source does not
        know is not there; a dose must be known of every image.
    """
    firsts = [int(tiles[0]) for tiles in records.list_whole_images()]
    conditions: dict[str, Any] = {}
    doses = records.read_attribute("dose_e_per_angstrom2")[firsts]
    if (np.isfinite(doses) & (doses > 0)).all():
        conditions["doses_e_per_angstrom2"] = [float(f"{dose:.6g}") for dose in doses]
    class_names = records.class_names
    class_ids = records.read("class_id")[firsts].tolist()
    classes = [class_names[number] if 0 <= number < len(class_names) else "" for number in class_ids]
    if any(classes):
        conditions["classes"] = classes
    return conditions
