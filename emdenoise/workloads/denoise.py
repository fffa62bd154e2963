"""The workload `denoise`: from the detector image to the noise-free intensity."""

from emdenoise.training.targets import Target
from emdenoise.workloads.contract import Workload

DENOISE = Workload(
    name="denoise",
    description="Restore the noise-free intensity from the detector image.",
    inputs=("noisy",),
    truth="clean",
    main_metric="psnr_db",
    baselines=("wiener", "absf", "bragg", "butterworth", "gaussian", "median", "tv", "nlm", "wavelet"),
    closed={"training.loss": "mean_squared_error"},
    closed_sources=("graphene", "em_graphene_sim"),
    target=Target("psnr_db", 33.2),
)
