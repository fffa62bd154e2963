"""The workload `segment`: from the detector image to the label of every pixel."""

from emdenoise.training.targets import Target
from emdenoise.workloads.contract import Workload

SEGMENT = Workload(
    name="segment",
    description="Name what each pixel of the detector image shows.",
    inputs=("noisy",),
    truth="mask",
    main_metric="dice",
    baselines=("otsu", "multi_otsu", "local_threshold", "random_forest", "gradient_boosting"),
    closed={"training.loss": "dice_cross_entropy"},
    target=Target("dice", 0.6),
)
