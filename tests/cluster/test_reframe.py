"""The tests for sites by ReFrame, on this machine and on a real Slurm: its report has the figures and the faults."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.container.engine import PARAMETERS, ROOT, needs, read_results, run

REFRAME = os.environ.get("REFRAME", "reframe")
SETTINGS = ROOT / "run" / "reframe" / "settings.yaml"
FIGURES = {"training": "images/s", "prediction": "images/s", "psnr_db": "dB"}
# The images of the closed division, which have a target, and a recipe that is there after one or two epochs.
AIMED = """
division: open
model: {name: unet, batch_norm_momentum: 0.9, intensity_mean: 0.5, intensity_std: 0.125}
training: {epochs: 3, batch_size: 8, learning_rate: 0.003, schedule: cosine, crop_size_px: 128, flip: true}
evaluation: {num_tuning_images: 1, baselines: [gaussian], num_latency_images: 10}
"""
SITE = {
    "systems": [
        {
            "name": "site",
            "hostnames": [".*"],
            "partitions": [
                {
                    "name": "slurm",
                    "scheduler": "squeue",
                    "launcher": "srun",
                    "environs": ["builtin"],
                    "features": ["bare", "apptainer"],
                }
            ],
        }
    ]
}
pytestmark = [pytest.mark.cluster, needs(REFRAME)]


@pytest.fixture
def slurm_site(slurm: None, tmp_path: Path) -> Path:
    """Write the settings of the cluster of this machine."""
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(SITE))
    return path


def run_reframe(folder: Path, settings: Path, *options: str | Path, parameters: str = PARAMETERS) -> dict[str, Any]:
    """Run the suite with a tiny parameters file; returns the only case of the report."""
    file = folder / "tiny.parameters.yaml"
    file.write_text(parameters)
    report = folder / "report.json"
    environment = {**os.environ, "HOME": str(folder)}
    if os.geteuid() == 0:
        environment["APPTAINER_NO_PRIVS"] = "1"
    done = run(
        *(REFRAME, "-C", settings, "-c", "run/reframe", f"--prefix={folder}", f"--report-file={report}", "-r"),
        *("-S", f"parameters_file={file}", *options),
        env=environment,
    )
    assert report.exists(), done.stdout + done.stderr
    (case,) = json.loads(report.read_text())["runs"][0]["testcases"]
    assert (done.returncode == 0) == (case["result"] != "fail")
    return case


def read_figures(case: dict[str, Any]) -> dict[str, str]:
    """Give the units of the figures that are numbers above zero."""
    place = f"{case['system']}:{case['partition']}:"
    return {name.removeprefix(place): found[4] for name, found in case["perfvalues"].items() if found[0] > 0}


def test_a_run_on_this_machine_passes_with_figures_and_units(tmp_path: Path) -> None:
    case = run_reframe(tmp_path, SETTINGS, "-n", "launcher=bare$")
    assert case["result"] == "pass", case["fail_reason"]
    assert (case["scheduler"], case["launcher"]) == ("local", "bare")
    assert read_figures(case) == FIGURES


def test_a_run_as_a_job_of_slurm_passes_with_figures_and_units(tmp_path: Path, slurm_site: Path) -> None:
    case = run_reframe(tmp_path, slurm_site, "-n", "launcher=bare$")
    assert case["result"] == "pass", case["fail_reason"]
    assert (case["scheduler"], case["job_exitcode"]) == ("squeue", None)
    assert read_figures(case) == FIGURES


@pytest.mark.slow
def test_a_run_in_apptainer_as_a_job_of_slurm_gives_the_numbers_of_the_bare_machine(
    tmp_path: Path, slurm_site: Path, sif: Path, bare_results: dict[str, Any]
) -> None:
    case = run_reframe(tmp_path, slurm_site, "-n", "launcher=apptainer$", "-S", f"sif={sif}")
    assert case["result"] == "pass", case["fail_reason"]
    assert (case["scheduler"], case["launcher"]) == ("squeue", "apptainer")
    assert read_figures(case) == FIGURES
    (workspace,) = (path.parent for path in tmp_path.glob("output/**/output") if (path / "scores.json").exists())
    assert read_results(workspace) == bare_results


def test_apptainer_without_an_image_is_skipped_and_says_so(tmp_path: Path) -> None:
    case = run_reframe(tmp_path, SETTINGS, "-n", "launcher=apptainer$", "-S", f"sif={tmp_path / 'absent.sif'}")
    assert case["result"] == "skip"


def test_a_run_with_a_wrong_parameters_file_fails_and_names_the_reason(tmp_path: Path, slurm_site: Path) -> None:
    case = run_reframe(tmp_path, slurm_site, "-n", "launcher=bare$", parameters="epochz: 3")
    assert (case["result"], case["fail_phase"]) == ("fail", "sanity")
    assert (
        "no result of download, preprocess, train, test: emdenoise download: tiny.parameters.yaml"
        in (case["fail_reason"])
    )
    assert "epochz is not a setting" in case["fail_reason"]


def write_references(folder: Path, **bounds: list[float | None]) -> Path:
    path = folder / "references.yaml"
    path.write_text(yaml.safe_dump({"tiny": {"local": bounds}}))
    return path


@pytest.mark.slow
def test_a_run_below_the_reference_of_the_site_fails_and_names_the_figure(tmp_path: Path) -> None:
    references = write_references(tmp_path, training=[1e6, -0.5, None])
    case = run_reframe(tmp_path, SETTINGS, "-n", "launcher=bare$", "-S", f"references_file={references}")
    assert (case["result"], case["fail_phase"]) == ("fail", "performance")
    assert "training" in case["fail_reason"]


@pytest.mark.slow
def test_the_time_to_the_target_is_measured_where_the_images_have_one(tmp_path: Path) -> None:
    references = write_references(tmp_path, time_to_target=[3600.0, None, 0])
    options = ("-n", "launcher=bare$", "-S", f"references_file={references}")
    case = run_reframe(tmp_path, SETTINGS, *options, parameters=AIMED)
    assert case["result"] == "pass", case["fail_reason"]
    assert read_figures(case) == {**FIGURES, "time_to_target": "s"}
    case = run_reframe(tmp_path, SETTINGS, *options)
    assert (case["result"], case["fail_phase"]) == ("fail", "sanity")
    assert "the run has no time_to_target" in case["fail_reason"]
