"""The networks of the two public STFC codes beside ours: the same files, the same recipe, several seeds.

    python benchmarks/comparability                                  # simulated graphene, 600 + 100 images, 5 seeds
    python benchmarks/comparability --num_train=60 --num_test=20 --epochs=3 --seeds=0,1
    python benchmarks/comparability --images=FOLDER                  # images of your own in STFC's layout

The codes are cloned at a pinned commit and run unchanged (codes.py says from where); PyTorch and Keras 2 go into a
cache folder. Each training leaves a JSON file; a second call does what is missing. The summary is
``benchmarks/results/comparability.json``. docs/benchmark/comparability.md explains the columns.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from codes import MLCUBE_EXAMPLES, SCIML_BENCH, fetch_code, make_legacy_keras, make_torch
from images import read_stfc_images, write_pictures
from ours import ROOT, prepare_images, simulate_images
from scores import score
from tables import print_tables
from trainings import Side, hash_images, is_done, run

from emdenoise.files.atomic import write_json
from emdenoise.results.environment import describe_environment

OURS = "emdenoise"
RECIPE = {"epochs": 10, "batch_size": 10, "learning_rate": 0.01, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
"""STFC's; `epochs` and `batch_size` are what its codes are told, see docs/benchmark/comparability.md."""
USUAL_SPEEDS = {OURS: 30.0, MLCUBE_EXAMPLES.name: 19.0, SCIML_BENCH.name: 20.0}
"""Images/s on two cores, for the first estimate of the time."""
OVERHEAD_S = 60.0
"""Of a training: start, test, predictions."""


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


if __name__ == "__main__":
    main()
