"""The script for a GPU machine, rehearsed on the processor in a small form."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRECISIONS = ("float32", "tensorfloat32", "mixed_bfloat16")
CASES = {f"{network} batch 2 {precision}" for network in ("unet", "resunet") for precision in PRECISIONS}


def rehearse(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the script in its small form without wheels: this Python has everything."""
    command = [ROOT / "run" / "accelerator.sh", folder, "", "--small", *options]
    environment = os.environ | {"PYTHON": sys.executable, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=900)


@pytest.mark.slow
def test_a_rehearsal_on_the_processor_writes_every_part(tmp_path: Path) -> None:
    done = rehearse(tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    report = json.loads((tmp_path / "accelerator.json").read_text(encoding="utf-8"))
    parts = report["parts"]
    assert not [name for name, part in parts.items() if {"failed", "left_out", "stopped_after_s"} & part.keys()]
    assert parts["device"]["device"]["platform"] == "cpu"
    assert set(parts["limit"]["peak_operations_per_s"]) == set(PRECISIONS)
    assert parts["limit"]["training unet float32"]["together"] > 0
    for name in ("training", "prediction"):
        assert set(parts[name]) >= CASES
        assert all(parts[name][case]["own_images_per_s"] > 0 for case in CASES)
    assert all(parts["training"][case]["kept_images_per_s"] > 0 for case in CASES)
    assert [epoch["value"] for epoch in parts["target seed 0"]["epochs"]]
    assert parts["target seed 0"]["target"]["quantity"] == "validation_psnr_db"
    # The same device twice: the same bits.
    for agreement in report["agreement"].values():
        assert {network["largest_relative_difference"] for network in agreement.values()} == {0.0}


@pytest.mark.long
def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    done = rehearse(tmp_path, "--parts=device,speed")
    assert done.returncode == 2
    assert "--parts names speed" in done.stderr
