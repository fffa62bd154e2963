"""The networks of the two public STFC codes beside ours: the same files, the same recipe, several seeds.

    python benchmarks/comparability                                  # simulated graphene, 600 + 100 images, 5 seeds
    python benchmarks/comparability --num_train=60 --num_test=20 --epochs=3 --seeds=0,1
    python benchmarks/comparability --images=FOLDER                  # images of your own in STFC's layout

The codes are cloned at a pinned commit and run unchanged (codes.py says from where); PyTorch and Keras 2 go into a
cache folder. Each training leaves a JSON file; a second call does what is missing. The summary is
``benchmarks/results/comparability.json``. docs/benchmark/comparability.md explains the columns.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from codes import MLCUBE_EXAMPLES, SCIML_BENCH, Code, fetch_code, make_legacy_keras, make_torch
from images import read_stfc_images, write_pictures
from layers import compare_network
from ours import ROOT, prepare_images, simulate_images, train_ours
from scores import measure_speed, score, score_run

from emdenoise.files.atomic import hash_file, write_json
from emdenoise.results.environment import describe_code, describe_environment
from emdenoise.sources.em_graphene_sim import FILES

OURS = "emdenoise"
RECIPE = {"epochs": 10, "batch_size": 10, "learning_rate": 0.01, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
"""STFC's; `epochs` and `batch_size` are what its codes are told, see docs/benchmark/comparability.md."""
USUAL_SPEEDS = {OURS: 30.0, MLCUBE_EXAMPLES.name: 19.0, SCIML_BENCH.name: 20.0}
"""Images/s on two cores, for the first estimate of the time."""
OVERHEAD_S = 60.0
"""Of a training: start, test, predictions."""


@dataclass(frozen=True)
class Side:
    """One of the codes that are compared: what runs its training, None for ours."""

    name: str
    code: Code | None = None
    folder: Path | None = None
    command: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="comparability", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work_dir", type=Path, default=ROOT / "workspace" / "comparability")
    parser.add_argument("--cache_dir", type=Path, default=ROOT / ".cache" / "comparability")
    parser.add_argument("--mlcube-examples", default=MLCUBE_EXAMPLES.address, help="path or URL of the repository")
    parser.add_argument("--sciml-bench", default=SCIML_BENCH.address, help="path or URL of the repository")
    parser.add_argument("--torch_python", type=Path, help="a Python that has PyTorch; without it one is installed")
    parser.add_argument("--images", type=Path, help="folder in STFC's layout instead of simulated images")
    parser.add_argument("--num_train", type=int, default=600)
    parser.add_argument("--num_test", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=RECIPE["epochs"])
    parser.add_argument("--seeds", type=lambda text: [int(word) for word in text.split(",")], default=list(range(5)))
    return parser.parse_args()


def list_sides(options: argparse.Namespace) -> list[Side]:
    """Fetch the codes and what they need."""
    cache, here = options.cache_dir.resolve(), Path(__file__).parent
    mlcube = fetch_code(MLCUBE_EXAMPLES, options.mlcube_examples, cache)
    sciml = fetch_code(SCIML_BENCH, options.sciml_bench, cache)
    keras, torch = make_legacy_keras(cache), options.torch_python or make_torch(cache)
    return [
        Side(OURS),
        Side(
            MLCUBE_EXAMPLES.name,
            MLCUBE_EXAMPLES,
            mlcube,
            (sys.executable, str(here / "train_mlcube_examples.py")),
            (("PYTHONPATH", str(keras)), ("TF_USE_LEGACY_KERAS", "1")),
        ),
        Side(
            SCIML_BENCH.name,
            SCIML_BENCH,
            sciml,
            (str(torch), str(here / "train_sciml_bench.py")),
            # Its inference loads the whole network, which PyTorch refuses by default since 2.6.
            (("PYTHONPATH", ""), ("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")),
        ),
    ]


def train_other(side: Side, settings: dict[str, Any]) -> dict[str, Any]:
    """Train by a public code in a process of its own; gives what was found."""
    work = Path(settings["work_dir"])
    log = work / "log.txt"
    with log.open("w") as file:
        done = subprocess.run(
            [*side.command, json.dumps(settings | {"code": str(side.folder)})],
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
            env={**os.environ, **dict(side.variables)},
            cwd=work,
        )
    if done.returncode:
        last = (log.read_text().strip().splitlines() or ["nothing said"])[-1]
        sys.exit(f"comparability: {side.name} failed: {last}; its log is {log}")
    found: dict[str, Any] = json.loads((work / "found.json").read_text())
    return found


def run(side: Side, settings: dict[str, Any], mirror: Path) -> dict[str, Any]:
    """Train one seed of one code, and score it."""
    images, work = Path(settings["images"]), Path(settings["work_dir"])
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    found = train_ours(settings, mirror) if side.code is None else train_other(side, settings)
    scored = score_run(work, images, found["loss_by_epoch"])
    if side.code is not None:
        found["comparison_with_ours"] = compare_network(found["layers"], work / "probe.npz")
    num_images = len(read_stfc_images(images, "train", "clean"))
    return {
        "code": side.name,
        "commit": side.code.commit if side.code else describe_code()[0],
        "seed": settings["seed"],
        "images_per_second": measure_speed(found["epoch_s"], num_images),
        **found,
        **scored,
        "legacy": {**scored["legacy"], "printed_by_the_code": found["legacy"]},
    }


def hash_images(images: Path) -> str:
    """Compute one SHA-256 of the four files."""
    return hashlib.sha256("".join(hash_file(images / name) for name in FILES).encode()).hexdigest()


def say_time(missing: list[tuple[int, str]], speeds: dict[str, float], num_images: int, epochs: int) -> None:
    """Print how long the rest will take."""
    seconds = sum(OVERHEAD_S + num_images * epochs / speeds[name] for _, name in missing)
    print(f"{len(missing)} trainings to do, about {seconds / 60:.0f} minutes on two cores", flush=True)


def main() -> None:
    """Train what is missing, and print the summary."""
    options = parse_options()
    work = options.work_dir.resolve()
    work.mkdir(parents=True, exist_ok=True)
    recipe = RECIPE | {"epochs": options.epochs}
    sides = list_sides(options)
    mirror = (options.images or simulate_images(work, options.num_train, options.num_test)).resolve()
    images = prepare_images(work, mirror)
    num_images = len(read_stfc_images(images, "train", "clean"))
    pictures = work / "pictures"
    if not pictures.exists():
        for name, kind in (("raw", "noise"), ("truth", "clean")):
            write_pictures(pictures / name, read_stfc_images(images, "test", kind))
    key = {"recipe": recipe, "images": hash_images(images)}
    paths = {(seed, side.name): work / "runs" / f"{side.name}-{seed}.json" for seed in options.seeds for side in sides}
    speeds = dict(USUAL_SPEEDS)
    for (seed, name), path in paths.items():
        missing = [pair for pair, other in paths.items() if not is_done(other, key)]
        if (seed, name) not in missing:
            continue
        say_time(missing, speeds, num_images, options.epochs)
        settings = {"seed": seed, "images": str(images), "pictures": str(pictures), "recipe": recipe}
        started = time.perf_counter()
        found = run(
            next(side for side in sides if side.name == name),
            settings | {"work_dir": str(work / "trainings" / f"{name}-{seed}")},
            mirror,
        )
        speeds[name] = found["images_per_second"]
        write_json(path, key | found | {"duration_s": time.perf_counter() - started})
    runs = [json.loads(path.read_text()) for path in paths.values()]
    noisy = score(read_stfc_images(images, "test", "noise"), read_stfc_images(images, "test", "clean"))
    summary = key | {"num_train": num_images, "noisy": noisy, "environment": describe_environment([]), "runs": runs}
    results = ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    write_json(results / "comparability.json", summary)
    print_tables(runs, noisy)


def is_done(path: Path, key: dict[str, Any]) -> bool:
    """Say whether a file holds a training with this recipe on these images."""
    if not path.exists():
        return False
    found = json.loads(path.read_text())
    return all(found.get(name) == value for name, value in key.items())


def print_tables(runs: list[dict[str, Any]], noisy: dict[str, float]) -> None:
    """Print what was found in our terms, and under the label `legacy` in those of STFC's codes, as Markdown."""
    names = list(dict.fromkeys(run["code"] for run in runs))
    rows = {name: [run for run in runs if run["code"] == name] for name in names}
    num_seeds = len(rows[names[0]])
    print(f"\nMeans of {num_seeds} seeds and their range; the noisy images have {noisy['psnr_db']:.2f} dB.\n")
    print("| code | loss of the last epoch [10⁻³] | train MSE [10⁻³] | test MSE [10⁻³] | test PSNR [dB] | images/s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, found in rows.items():
        cells = [
            show([1e3 * run["loss_by_epoch"][-1] for run in found]),
            show([1e3 * run["train"]["mse"] for run in found]),
            show([1e3 * run["test"]["mse"] for run in found]),
            show([run["test"]["psnr_db"] for run in found]),
            show([run["images_per_second"] for run in found]),
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    print("\nlegacy: the same trainings in the terms of STFC's codes, not comparable with any score of EMDenoise\n")
    print("| code | training loss [10⁻³] | PSNR, range 255 [dB] | against the noisy files: MSE [10⁻³] | PSNR [dB] |")
    print("| --- | --- | --- | --- | --- |")
    for name, found in rows.items():
        legacy = [run["legacy"] for run in found]
        against = [terms["against_noisy_files"] for terms in legacy]
        cells = [
            show([1e3 * terms["training_loss_of_the_last_epoch"] for terms in legacy]),
            show([terms["against_clean_files"]["psnr_range_255_db"] for terms in legacy]),
            show([1e3 * terms["mse"] for terms in against]),
            show([terms["psnr_range_255_db"] for terms in against]),
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def show(values: list[float]) -> str:
    """Show a mean and its range."""
    return f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
