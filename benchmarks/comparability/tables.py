"""The tables of the comparison, as Markdown: our terms first, STFC's under the label `legacy`."""

import statistics
from typing import Any


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
