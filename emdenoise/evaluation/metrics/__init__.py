"""METRICS: the scores by name. A new one is a module, or a part of one, and a line here.

The functions `mse`, `mse_inside`, `psnr`, `ssim`, `dice_per_label`, `iou_per_label` and `score_atoms` may be used on
their own.
"""

from emdenoise.dataset.fields import Kind
from emdenoise.evaluation.metrics.atoms import ATOM_ERROR, ATOM_F1, ATOM_RECALL, FALSE_ATOMS, score_atoms
from emdenoise.evaluation.metrics.contract import Case, Metric
from emdenoise.evaluation.metrics.defects import MSE_DEFECT, PSNR_DEFECT, mse_inside
from emdenoise.evaluation.metrics.instances import (
    AP50_COCO,
    AP50_EMPS,
    AP75_COCO,
    AP75_EMPS,
    ARI,
    MEDIAN_DIAMETER_ERROR,
    PQ,
    SIZE_DISTANCE,
)
from emdenoise.evaluation.metrics.intensity import MSE, PSNR, SSIM, mse, psnr, ssim
from emdenoise.evaluation.metrics.masks import DICE, IOU, dice_per_label, iou_per_label

__all__ = [
    "METRICS",
    "Case",
    "Metric",
    "dice_per_label",
    "find_metric",
    "iou_per_label",
    "list_metrics",
    "mse",
    "mse_inside",
    "psnr",
    "score_atoms",
    "ssim",
]

METRICS: dict[str, Metric] = {
    "mse": MSE,
    "psnr_db": PSNR,
    "ssim": SSIM,
    "mse_defect": MSE_DEFECT,
    "psnr_defect_db": PSNR_DEFECT,
    "atom_f1": ATOM_F1,
    "atom_error_angstrom": ATOM_ERROR,
    "atom_recall": ATOM_RECALL,
    "false_atoms_per_nm2": FALSE_ATOMS,
    "dice": DICE,
    "iou": IOU,
    "ap50_coco": AP50_COCO,
    "ap75_coco": AP75_COCO,
    "ap50_emps": AP50_EMPS,
    "ap75_emps": AP75_EMPS,
    "pq": PQ,
    "ari": ARI,
    "median_diameter_error": MEDIAN_DIAMETER_ERROR,
    "size_distance": SIZE_DISTANCE,
}


def list_metrics(kind: Kind) -> list[Metric]:
    """List the metrics that judge a kind of field."""
    return [metric for metric in METRICS.values() if kind in metric.kinds]


def find_metric(name: str) -> tuple[Metric, str] | None:
    """Find the metric of a name in ``scores.json``, with the label that follows; None for what is no metric.

    Examples
    --------
    >>> metric, label = find_metric("dice_vacuum")
    >>> metric.name, label
    ('dice', 'vacuum')
    """
    if name in METRICS:
        return METRICS[name], ""
    for metric in METRICS.values():
        if metric.is_by_label and name.startswith(f"{metric.name}_"):
            return metric, name.removeprefix(f"{metric.name}_")
    return None
