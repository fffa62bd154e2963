"""What the best filter reaches on the validation images of the reference run: ``python benchmarks/target.py wiener``.

The target of `denoise` is this number (docs/benchmark/problems.md). Each image is scored by the filter as it is tuned
on the other half of the specimens. The simulation of the images is included and takes a few seconds.
"""

import sys
import tempfile
from pathlib import Path

from emdenoise.config.loading import load_config
from emdenoise.dataset.record_file import RecordFile
from emdenoise.evaluation.statistics import bootstrap_mean
from emdenoise.progress import SilentProgress
from emdenoise.seeding import make_generator
from emdenoise.tasks import download, preprocess
from emdenoise.workloads import WORKLOADS
from emdenoise.workloads.filter_target import score_across_halves


def main() -> None:
    """Print the mean score of the named filter, by default Wiener's, with its interval over specimens."""
    baseline = sys.argv[1] if len(sys.argv) > 1 else "wiener"
    config = load_config(Path("default"))
    workload, settings = WORKLOADS[config.workload], config.evaluation
    with tempfile.TemporaryDirectory() as name:
        raw_data_dir, data_dir = Path(name) / "raw_data", Path(name) / "data"
        download(parameters_file=Path("default"), raw_data_dir=raw_data_dir, progress=SilentProgress())
        preprocess(
            parameters_file=Path("default"), raw_data_dir=raw_data_dir, data_dir=data_dir, progress=SilentProgress()
        )
        with RecordFile(data_dir / "validation.h5") as records:
            scores, choices = score_across_halves(workload, baseline, workload.main_metric, records)
            specimens = records.read_text("specimen")
    interval = bootstrap_mean(
        scores,
        specimens,
        num_resamples=settings.num_resamples,
        confidence=settings.confidence,
        rng=make_generator(config.seed, "target"),
    )
    print(f"{baseline} {workload.main_metric}: {interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]")
    print(f"{len(scores)} validation images of {len(set(specimens))} specimens, each tuned on the other half:")
    for choice in choices:
        print(f"  {choice}")


if __name__ == "__main__":
    main()
