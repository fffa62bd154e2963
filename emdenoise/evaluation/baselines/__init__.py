"""BASELINES: the classical methods by name. A new one is a module, or a part of one, and a line here.

Each is given what a careful microscopist would give it; all is chosen on validation images, and nothing sees test data.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from emdenoise.evaluation.baselines import filters, fourier
from emdenoise.evaluation.baselines.classifiers import GRADIENT_BOOSTING, RANDOM_FOREST, fit_classifier
from emdenoise.evaluation.baselines.contract import Baseline, Examples, FittedMethod
from emdenoise.evaluation.baselines.thresholds import fit_local_threshold, fit_multi_otsu, fit_otsu
from emdenoise.evaluation.baselines.tuning import fit_filter
from emdenoise.processes import count_processors

__all__ = ["BASELINES", "Baseline", "Examples", "FittedMethod", "fit_baselines"]

BASELINES: dict[str, Baseline] = {
    "wiener": Baseline("Wiener filter of the spectrum (Marks 1996).", "intensity", partial(fit_filter, fourier.WIENER)),
    "absf": Baseline(
        "Average background subtraction of the spectrum (Kilaas 1998).", "intensity", partial(fit_filter, fourier.ABSF)
    ),
    "bragg": Baseline("Bragg peaks and low frequencies only.", "intensity", partial(fit_filter, fourier.BRAGG)),
    "butterworth": Baseline("Butterworth low-pass filter.", "intensity", partial(fit_filter, fourier.BUTTERWORTH)),
    "gaussian": Baseline("Gaussian filter.", "intensity", partial(fit_filter, filters.GAUSSIAN)),
    "median": Baseline("Median filter.", "intensity", partial(fit_filter, filters.MEDIAN)),
    "tv": Baseline("Total variation (Chambolle 2004).", "intensity", partial(fit_filter, filters.TV)),
    "nlm": Baseline("Non-local means (Buades 2011).", "intensity", partial(fit_filter, filters.NLM)),
    "wavelet": Baseline("Wavelets, BayesShrink (Chang 2000).", "intensity", partial(fit_filter, filters.WAVELET)),
    "bm3d": Baseline("BM3D (Dabov 2007); needs the extra bm3d.", "intensity", partial(fit_filter, filters.BM3D)),
    "bmnd": Baseline(
        "BM3D for Poisson noise (Duhme 2026); needs the extra bmnd.", "intensity", partial(fit_filter, filters.BMND)
    ),
    "otsu": Baseline("Otsu's threshold (1979).", "labels", fit_otsu),
    "multi_otsu": Baseline("Otsu's thresholds between several regions.", "labels", fit_multi_otsu),
    "local_threshold": Baseline("A threshold that follows the local mean.", "labels", fit_local_threshold),
    "random_forest": Baseline(
        "Random forest of local features (Breiman 2001).", "labels", partial(fit_classifier, RANDOM_FOREST), learns=True
    ),
    "gradient_boosting": Baseline(
        "Gradient boosting on local features (Friedman 2001).",
        "labels",
        partial(fit_classifier, GRADIENT_BOOSTING),
        learns=True,
    ),
}


def fit_baselines(
    names: Sequence[str],
    examples: Examples,
    *,
    on_method: Callable[[int, str], None] = lambda num_done, name: None,
) -> dict[str, FittedMethod]:
    """Choose everything about each method on validation images.

    Parameters
    ----------
    names : sequence of str
        Entries of `BASELINES`.
    examples : Examples
    on_method : callable
        Called with the number of methods that are done and the next one's name.

    Returns
    -------
    dict of str to FittedMethod

    Raises
    ------
    PackageError
        If a method needs a package that is not installed.
    ValueError
        If examples do not fit together, or a segmentation has no image with any contrast to be tuned on.

    Examples
    --------
    >>> import numpy as np
    >>> mask = np.zeros((1, 32, 32), np.uint8)
    >>> mask[0, 8:24, 8:24] = 1
    >>> examples = Examples({"noisy": mask[..., None].astype(np.float32)}, mask, ["background", "particle"])
    >>> otsu = fit_baselines(["otsu"], examples)["otsu"]
    >>> bool((otsu(examples.inputs) == mask).all())
    True
    >>> otsu.describe()
    'beam left in, intensity smoothed over 0 px; 2 regions by Otsu; from lowest to highest: label 0, 1'
    """
    fitted = {}
    with ThreadPoolExecutor(
        count_processors()
    ) as pool:  # the work is done in compiled code, beside which other threads run
        futures = {name: pool.submit(BASELINES[name].fit, examples) for name in names}
        for number, (name, future) in enumerate(futures.items()):
            on_method(number, name)
            fitted[name] = future.result()
    return fitted
