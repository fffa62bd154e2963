"""The trials of a search in a journal that several workers share; the only module that knows Optuna.

The journal is a file of lines, which Optuna writes under a lock that works on network file systems, too. A worker holds
the folder of its trial with a lock of the system, which ends with the process. So the next worker finds a trial that
runs and that nobody holds, and goes on with it: Optuna's own heartbeats do not work with a journal.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdenoise.config.searches import SearchConfig, write_choice
from emdenoise.errors import PackageError, SettingsError, explain_os_errors
from emdenoise.files.locks import HeldError, lock_file, lock_folder
from emdenoise.seeding import make_generator

if TYPE_CHECKING:
    import optuna

JOURNAL_FILE = "journal.log"
TRIALS_FOLDER = "trials"
MAX_STARTS = 3
"""Of a trial whose process dies, perhaps because of the trial: it may need more memory than there is."""
WAS_KILLED = f"its process was killed {MAX_STARTS} times"
IDENTITY, STARTS, REASON = "settings_sha256", "starts", "reason"
"""What the journal keeps of a search, and of a trial."""


@dataclass(frozen=True)
class Space:
    """What a search may try.

    Attributes
    ----------
    search : SearchConfig
    whole_numbers : frozenset of str
        Settings whose range holds whole numbers only.
    first : dict of str to Any, or None
        Values of the first trial, those of the parameters file; None where the search may not give them.
    identity : str
        Hash of all that makes the scores of two trials comparable.
    is_larger_better : bool
        Of the metric.
    """

    search: SearchConfig
    whole_numbers: frozenset[str]
    first: dict[str, Any] | None
    identity: str
    is_larger_better: bool


@dataclass(frozen=True)
class Trial:
    """What is known of one trial.

    Attributes
    ----------
    number : int
    state : str
        ``complete``, ``pruned``, ``failed`` or ``running``.
    chosen : dict of str to Any
        Values by setting.
    values : tuple of float
        Score, and images per second where speed counts; empty unless it is complete.
    num_epochs : int
        Epochs whose score was looked at.
    facts : dict
        What `RunningTrial.keep` was given.
    """

    number: int
    state: str
    chosen: dict[str, Any]
    values: tuple[float, ...]
    num_epochs: int
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of its folder."""
        return name_trial(self.number)


def name_trial(number: int) -> str:
    """Name the folder of a trial.

    Examples
    --------
    >>> name_trial(7)
    '0007'
    """
    return f"{number:04d}"


class PrunedError(Exception):
    """The trial is worse than others were after as many epochs."""


class RunningTrial:
    """A trial that this worker holds."""

    def __init__(self, space: Space, study: "optuna.Study", trial: "optuna.Trial") -> None:
        self._space, self._study, self._trial = space, study, trial
        self.number = trial.number
        self.name = name_trial(trial.number)
        self.chosen = _choose(space, trial)

    def report(self, scores: Sequence[float]) -> None:
        """Take the score after each epoch so far, larger or smaller being better as that of the search.

        Raises
        ------
        PrunedError
            If the trial is worse than the median of the others.
        """
        search = self._space.search
        if search.speed:  # Optuna prunes by one score only
            return
        known = self._study.get_trials(deepcopy=False)[self.number].intermediate_values
        for epoch, score in enumerate(scores, start=1):
            if epoch not in known and not math.isnan(score):
                self._trial.report(score, epoch)
        if search.prune and self._trial.should_prune():
            raise PrunedError

    def keep(self, facts: Mapping[str, Any]) -> None:
        """Keep facts of the trial, as JSON values."""
        for name, value in facts.items():
            self._trial.set_user_attr(name, value)

    def complete(self, values: Sequence[float]) -> None:
        """End the trial with its score, and the images per second where speed counts."""
        self._study.tell(self.number, list(values))

    def prune(self) -> None:
        """End the trial early."""
        _end(self._study, self.number, "PRUNED")

    def fail(self, reason: str) -> None:
        """End the trial without a score."""
        self._trial.set_user_attr(REASON, reason)
        _end(self._study, self.number, "FAIL")


class Journal:
    """All trials of a search.

    Parameters
    ----------
    space : Space
    search_dir : Path

    Raises
    ------
    PackageError
        If Optuna is not installed.
    SettingsError
        If the folder holds trials of another search.
    StorageError
        If the journal cannot be written.
    """

    def __init__(self, space: Space, search_dir: Path) -> None:
        optuna = import_optuna()
        self._space, self._dir = space, search_dir
        search, better = space.search, "maximize" if space.is_larger_better else "minimize"
        with self.hold():
            pruner = optuna.pruners.MedianPruner(
                n_startup_trials=search.warmup_trials, n_warmup_steps=search.warmup_epochs + 1
            )
            self._study = optuna.create_study(
                storage=_open_storage(search_dir / JOURNAL_FILE),
                study_name="search",
                load_if_exists=True,
                directions=[better, "maximize"] if search.speed else [better],
                pruner=pruner,
            )
            identity = self._study.user_attrs.get(IDENTITY)
            if identity is None:
                if space.first is not None:
                    self._study.enqueue_trial(_write_chosen(space, space.first), skip_if_exists=True)
                self._study.set_user_attr(IDENTITY, space.identity)
            elif identity != space.identity:
                raise SettingsError(
                    f"{search_dir.name} holds trials of another search: its parameters file, metric, settings or "
                    "version were others, so scores do not compare; give another --search_dir, or what it began with."
                )

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other workers from beginning a trial, or from writing what a search writes."""
        with lock_file(self._dir / JOURNAL_FILE, is_awaited=True):
            yield

    @contextmanager
    def begin_trial(self) -> Iterator[RunningTrial | None]:
        """Hold a trial: one whose process was killed, or a new one; None where there are enough."""
        with ExitStack() as stack:
            with self.hold():
                trial = self._find_abandoned(stack) or self._ask(stack)
            yield trial

    def list_trials(self) -> list[Trial]:
        """List all trials that have begun, in their order."""
        names = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
        return [
            Trial(
                number=trial.number,
                state=names[trial.state.name],
                chosen=_read_chosen(self._space, trial.params),
                values=tuple(trial.values) if trial.state.name == "COMPLETE" else (),
                num_epochs=len(trial.intermediate_values),
                facts=dict(trial.user_attrs),
            )
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state.name in names
        ]

    def find_best(self) -> list[int]:
        """Find the number of the best trial, or of those that none beats in score and speed, the best score first."""
        sign = -1 if self._space.is_larger_better else 1
        best = sorted(self._study.best_trials, key=lambda trial: (sign * trial.values[0], trial.number))
        return [trial.number for trial in (best if self._space.search.speed else best[:1])]

    def weigh_settings(self, index: int) -> dict[str, float]:
        """Compute which share of the spread of a value each setting explains (fANOVA, Hutter 2014).

        Parameters
        ----------
        index : int
            0 for the score, 1 for the speed.

        Returns
        -------
        dict of str to float
            Largest first, of the settings that all trials have; empty where the values of the trials do not differ.
        """
        optuna = import_optuna()
        values = {trial.values[index] for trial in self.list_trials() if trial.state == "complete"}
        if len(values) < 2:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self._space.search.seed)
        found = optuna.importance.get_param_importances(
            self._study, evaluator=evaluator, target=lambda trial: trial.values[index]
        )
        return {name: float(share) for name, share in found.items()}

    def _find_abandoned(self, stack: ExitStack) -> RunningTrial | None:
        """Find a trial that runs and that nobody holds, and hold it; one that was killed too often ends."""
        for number, trial_id in self._list_running().items():
            with ExitStack() as own:
                try:
                    self._hold_trial(number, own)
                except HeldError:
                    continue
                if number not in self._list_running():  # its worker ended it before it let go
                    continue
                self._seed(number)
                found = import_optuna().Trial(self._study, trial_id)
                if found.user_attrs.get(STARTS, 0) < MAX_STARTS:
                    stack.push(own.pop_all())
                    return self._start(found)
                found.set_user_attr(REASON, WAS_KILLED)
                _end(self._study, number, "FAIL")
        return None

    def _list_running(self) -> dict[int, int]:
        """List the identities of the trials that run, by number."""
        running = (import_optuna().trial.TrialState.RUNNING,)
        return {trial.number: trial._trial_id for trial in self._study.get_trials(deepcopy=False, states=running)}

    def _ask(self, stack: ExitStack) -> RunningTrial | None:
        number, limit = len(self.list_trials()), self._space.search.trials
        if limit is not None and number >= limit:
            return None
        self._seed(number)
        trial = self._study.ask()
        self._hold_trial(trial.number, stack)
        return self._start(trial)

    def _start(self, trial: "optuna.Trial") -> RunningTrial:
        trial.set_user_attr(STARTS, trial.user_attrs.get(STARTS, 0) + 1)
        return RunningTrial(self._space, self._study, trial)

    def _seed(self, number: int) -> None:
        """Let the values of a trial follow from the seed, its number and the trials so far, whichever worker it has."""
        optuna = import_optuna()
        seed = int(make_generator(self._space.search.seed, "trial", number).integers(2**31))
        self._study.sampler = optuna.samplers.TPESampler(seed=seed)

    def _hold_trial(self, number: int, stack: ExitStack) -> None:
        """Hold the folder of a trial until the stack ends; raises `HeldError` where somebody else does."""
        stack.enter_context(lock_folder(self._dir / TRIALS_FOLDER / name_trial(number), is_written=True))


def import_optuna() -> Any:
    """Import Optuna, without what it says of itself on the screen.

    Raises
    ------
    PackageError
        If it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise PackageError(
            "emdenoise search needs Optuna, which is not installed; pip install 'emdenoise[search]'."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _open_storage(path: Path) -> Any:
    """Open the journal; the half of a line that a worker left when the disk was full or the power failed is removed."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    # Not Optuna's other lock: with a relative path it waits for ever for a worker that was killed while it wrote.
    lock = JournalFileOpenLock(str(path))
    with explain_os_errors(path):
        backend = JournalFileBackend(str(path), lock_obj=lock)
        lock.acquire()
        try:
            content = path.read_bytes()
            if not content.endswith(b"\n"):
                with path.open("r+b") as file:
                    file.truncate(content.rfind(b"\n") + 1)
        finally:
            lock.release()
        return JournalStorage(backend)


def _end(study: "optuna.Study", number: int, state: str) -> None:
    study.tell(number, state=import_optuna().trial.TrialState[state])


def _choose(space: Space, trial: "optuna.Trial") -> dict[str, Any]:
    """Let the sampler choose the value of each setting that is searched; what was chosen before stays."""
    chosen: dict[str, Any] = {}
    for name, setting in space.search.settings.items():
        if not space.search.is_open(name, chosen):
            continue
        low: Any = setting.low
        high: Any = setting.high
        step: Any = setting.step
        if setting.choices is not None:
            texts = [write_choice(value) for value in setting.choices]
            chosen[name] = setting.choices[texts.index(trial.suggest_categorical(name, texts))]
        elif name in space.whole_numbers:
            chosen[name] = trial.suggest_int(name, low, high, step=int(step or 1), log=setting.log)
        else:
            chosen[name] = trial.suggest_float(name, low, high, step=step, log=setting.log)
    return chosen


def _write_chosen(space: Space, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Write values as Optuna keeps them: choices as text."""
    settings = space.search.settings
    return {name: value if settings[name].choices is None else write_choice(value) for name, value in chosen.items()}


def _read_chosen(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """Read what `_write_chosen` wrote."""
    chosen = dict(params)
    for name, setting in space.search.settings.items():
        if setting.choices is not None and name in chosen:
            chosen[name] = {write_choice(value): value for value in setting.choices}[chosen[name]]
    return chosen
