"""What the best classical method reaches on validation images, from which a target may be chosen."""

import numpy as np
import numpy.typing as npt

from emdenoise.dataset.record_file import RecordFile
from emdenoise.evaluation.baselines import fit_baselines
from emdenoise.evaluation.metrics import METRICS, Case
from emdenoise.workloads.contract import Workload
from emdenoise.workloads.evaluate import read_examples


def score_across_halves(
    workload: Workload, baseline: str, metric: str, records: RecordFile
) -> tuple[npt.NDArray[np.float64], list[str]]:
    """Score every image by a classical method that is tuned on the other half of the specimens.

    A network is judged on images that it has not learned from. So is the method: what it has to choose is chosen on
    images of other specimens.

    Parameters
    ----------
    workload : Workload
    baseline : str
        Entry of `BASELINES`.
    metric : str
        Entry of `METRICS`.
    records : RecordFile
        At least two specimens, of images that were not cut into tiles.

    Returns
    -------
    scores : ndarray of float64, shape (num_images,)
    choices : list of str
        What was chosen on each half, in words.

    Raises
    ------
    ValueError
        If there are fewer than two specimens, or tiles.
    """
    specimens, groups = np.unique(records.read_text("specimen"), return_inverse=True)
    if len(specimens) < 2 or records.has_tiles:
        raise ValueError(f"{records.name} has {len(specimens)} specimens; expected two or more, of uncut images")
    scores, choices = np.full(len(records), np.nan), []
    for half in (0, 1):
        is_tuned_on = groups % 2 == half
        tuned_on, scored = np.flatnonzero(is_tuned_on), np.flatnonzero(~is_tuned_on)
        method = fit_baselines([baseline], read_examples(workload, records, tuned_on))[baseline]
        result = method(records.read_sample(workload.inputs, scored))
        case = Case(result, records.read(workload.truth, scored), records.label_names)
        scores[scored] = METRICS[metric].collect(case)[metric]
        choices.append(method.describe())
    return scores, choices
