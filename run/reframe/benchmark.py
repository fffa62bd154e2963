"""A whole run of the benchmark as a test of ReFrame, judged by the files that it leaves, never by an exit code.

``reframe -C run/reframe/settings.yaml -c run/reframe -r``; a site copies settings.yaml and references.yaml beside this.
"""

import json
import math
from pathlib import Path
from typing import Any

import reframe as rfm
import reframe.utility.sanity as sn
import yaml
from reframe.core.builtins import parameter, run_after, run_before, sanity_function, variable
from reframe.core.exceptions import SanityError

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("download", "preprocess", "train", "test")
UNITS = {"db": "dB", "angstrom": "Å"}
"""By the end of the name of a metric; others have none."""


@rfm.simple_test
class EMDenoise(rfm.RunOnlyRegressionTest):
    """Download, preprocess, train and test.

    Attributes
    ----------
    launcher : str
        Script of ``run/`` that the tasks run by; a partition names those that it has among its features.
    parameters_file, references_file : str
        Settings of the run, and what it must reach.
    sif : str
        Image of the launcher `apptainer`.
    """

    launcher = parameter(["bare", "apptainer"])
    parameters_file = variable(str, value=str(ROOT / "workspace" / "parameters" / "smoke.parameters.yaml"))
    references_file = variable(str, value=str(ROOT / "run" / "reframe" / "references.yaml"))
    sif = variable(str, value=str(ROOT / "emdenoise.sif"))

    descr = "A whole run of EMDenoise"
    sourcesdir = None
    num_tasks = 1
    time_limit = "30m"

    @run_after("init")
    def choose_launcher(self) -> None:
        """Set the command, and where it can run."""
        self.valid_systems, self.valid_prog_environs = [f"+{self.launcher}"], ["*"]
        self.keep_files = ["workspace/output"]
        self.executable = str(ROOT / "run" / f"{self.launcher}.sh")
        self.executable_opts = [",".join(TASKS), "workspace", str(Path(self.parameters_file).resolve())]
        if self.launcher == "apptainer":
            self.env_vars = {"SIF": str(Path(self.sif).resolve())}

    @run_after("setup")
    def skip_without_image(self) -> None:
        """Skip Apptainer where nobody made an image: a node of a cluster cannot."""
        is_missing = self.launcher == "apptainer" and not Path(self.sif).exists()
        self.skip_if(is_missing, f"the image {self.sif} is not there; make it by run/apptainer.sh, or give -S sif=FILE")

    @run_after("setup")
    def ask_for_gpu(self) -> None:
        """Take one GPU where the partition has them."""
        if any(device.device_type == "gpu" for device in self.current_partition.devices):
            self.num_gpus_per_node = 1
            if self.launcher == "apptainer":
                self.executable_opts = ["--nv", *self.executable_opts]

    @run_before("sanity")
    def read_references(self) -> None:
        """Take the references of this parameters file that are for this machine."""
        name = Path(self.parameters_file).name.removesuffix(".parameters.yaml")
        references = yaml.safe_load(Path(self.references_file).read_text(encoding="utf-8")) or {}
        places = {"*", self.current_system.name, self.current_partition.fullname}
        known = {place: figures for place, figures in references.get(name, {}).items() if place in places}
        self._judged = {figure for figures in known.values() for figure in figures}
        self.reference = {
            place: {figure: tuple(bounds) for figure, bounds in figures.items()} for place, figures in known.items()
        }

    @sanity_function
    def has_result(self) -> Any:
        """Check that the files of the result are there and belong to one run."""
        output = Path(self.stagedir) / "workspace" / "output"
        missing = [task for task in TASKS if not (output / "records" / f"{task}.json").exists()]
        if missing or not (output / "scores.json").exists():
            raise SanityError(f"no result of {', '.join(missing) or 'test'}: {self._find_reason()}")
        records = {task: _read(output / "records" / f"{task}.json") for task in TASKS}
        if len({record["settings_sha256"] for record in records.values()}) > 1:
            raise SanityError("the records are of several parameters files")
        if records["test"]["inputs"]["weights"] != records["train"]["outputs"]["weights"]:
            raise SanityError("the network that was tested is not the one that was trained")
        self._figures = _list_figures(records, _read(output / "scores.json"))
        wrong = [name for name, (value, _) in self._figures.items() if not _is_number(value)]
        if wrong:
            raise SanityError(f"{', '.join(wrong)} is no number")
        if unknown := self._judged - set(self._figures):
            goal = records["train"]["results"].get("target")
            raise SanityError(
                f"{Path(self.references_file).name}: the run has no {', '.join(sorted(unknown))}, only "
                f"{', '.join(self._figures)}; what it had to reach is {goal}"
            )
        return sn.assert_true(True)

    @run_before("performance")
    def set_figures(self) -> None:
        """Give ReFrame the figures of the run."""
        self.perf_variables = {
            name: sn.make_performance_function(sn.defer(value), unit) for name, (value, unit) in self._figures.items()
        }

    def _find_reason(self) -> str:
        """Find the line in which the launcher or the task says what is wrong."""
        path = Path(self.stagedir) / str(self.stderr.evaluate())
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        told = [line for line in lines if line.startswith(("emdenoise ", "run/"))] or [line for line in lines if line]
        return told[-1] if told else "nothing was said; the job may have been ended by its time or by a person"


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _list_figures(records: dict[str, dict[str, Any]], scores: dict[str, Any]) -> dict[str, tuple[float | None, str]]:
    """List the figures of a run with their units."""
    metric = records["test"]["results"]["main_metric"]
    network = scores["methods"]["network"]
    figures = {
        "training": (records["train"]["results"]["images_per_second"], "images/s"),
        "prediction": (network["images_per_second"], "images/s"),
        metric: (network[metric]["mean"], UNITS.get(metric.rpartition("_")[2], "1")),
    }
    time_s = _measure_time_to_target(records["train"]["results"])
    return figures if time_s is None else {**figures, "time_to_target": (time_s, "s")}


def _measure_time_to_target(results: dict[str, Any]) -> float | None:
    """Measure from the start of the first epoch to the end of the one that reached the target [s]."""
    target, first = results.get("target"), results["history"][0]
    for epoch in results["history"] if target is not None else ():
        sign, found = 1 if target["is_larger_better"] else -1, epoch[target["quantity"]]
        if found is not None and sign * found >= sign * target["value"]:
            waited_s = (epoch["started_at_ms"] - first["started_at_ms"]) / 1000
            return float(waited_s + epoch["train_s"] + epoch["validation_s"])
    return None
