"""The search: trial after trial in a study that is kept, so that the same command goes on where it was stopped."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ingest.cohort import Cohort
from ingest.errors import ModelError, TelltaleError
from models.config import ModelConfig, model_config
from models.training.run import Epoch
from models.tune.encoders import AloneEncoders, Hopeless
from models.tune.overlay import Overlay, laid_over, write_overlay
from models.tune.space import Parameters, Space, Value, build_space
from models.tune.study import opened_study
from models.tune.trials import Judged, splits_of, train_and_judge

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

Objective = Literal["log-loss", "auroc"]
RANDOM_TRIALS = 8  # before the sampler believes what it has seen
ENCODERS_EVERY = 3  # trials; in between, other fusions are tried on the best encoders so far
SAME_AT_MOST = 30  # proposals in a row that were tried before, until there is nothing new to try
# What a library raises where a configuration cannot be trained; anything else (a full disk, a kill) ends the search.
FAILURES = (TelltaleError, RuntimeError, ValueError, ArithmeticError, MemoryError)


@dataclass(frozen=True)
class Tried:
    """One trial. parameters: by name (`models.tune.space`). judged: of a complete one; why: of the others."""

    number: int
    state: Literal["complete", "given up", "failed"]
    parameters: Parameters
    judged: Judged | None
    why: str
    seconds: float

    def value(self, objective: Objective) -> float:
        """What is made small; without end where the trial was not complete."""
        if self.judged is None:
            return float("inf")
        return self.judged.loss if objective == "log-loss" else 1 - self.judged.auroc


@dataclass(frozen=True)
class Found:
    """The trials of a study, the first with the task's own configuration, and the best of them."""

    study: str
    objective: Objective
    trials: tuple[Tried, ...]
    overlay: Overlay

    @property
    def best(self) -> Tried:
        """The complete trial with the lowest value, the earlier one of equals."""
        return min(self.trials, key=lambda tried: tried.value(self.objective))


@dataclass(frozen=True)
class Listener:
    """Who hears of a search. on_trial: (trials done, of). on_epoch: (stream or "", epoch)."""

    on_trial: Callable[[int, int], None] = lambda done, of: None
    on_epoch: Callable[[str, Epoch], None] = lambda stream, epoch: None


def tune(
    cohort: Cohort,
    folder: Path,
    *,
    trials: int = 20,
    seed: int = 0,
    fusions: Sequence[str] | None = None,
    encoders: bool = True,
    objective: Objective = "log-loss",
    timeout_s: float | None = None,
    space: Space | None = None,
    listener: Listener | None = None,
) -> Found:
    """Try configurations until there are so many trials, and write the best to `folder/best.yaml`.

    The test split is not looked at. A study is named by what must be the same for it to go on: task, space, objective,
    seed and cases. One that was stopped, in the middle of a trial too, comes to the same trials as one that never was.
    timeout_s: no trial but the first begins after it. space: in place of that of `build_space`. Raises ModelError where
    no trial was complete, or where another process tunes in this folder.
    """
    splits = splits_of(cohort)
    space = space or build_space(cohort, fusions, encoders=encoders)
    alone = AloneEncoders(cohort, splits, folder / "encoders", seed)
    said = [model_config(cohort.task).model_dump(mode="json"), dict(space.choices), seed, alone.cases]
    name = f"{objective}-{hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]}"
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    with opened_study(folder, name) as study:
        search = Search(study, cohort, space, alone, objective, listener or Listener())
        search.go_on(trials, deadline)
        found = _found(name, objective, search.tried(), space)
    write_overlay(folder / "best.yaml", found.overlay)
    return found


class Search:
    """A study at work. All that it draws follows from the seed and from how many trials have ended."""

    def __init__(
        self, study: "Study", cohort: Cohort, space: Space, alone: AloneEncoders, objective: Objective, hear: Listener
    ) -> None:
        self.study, self.cohort, self.space, self.alone = study, cohort, space, alone
        self.objective, self.hear = objective, hear

    def go_on(self, trials: int, deadline: float | None) -> None:
        """Until there are so many trials, the time is over, or nothing new is proposed."""
        self._fail_the_dead()
        same = 0
        while (done := len(self.tried())) < trials and same < SAME_AT_MOST:
            if deadline is not None and done and time.monotonic() >= deadline:
                break
            self.hear.on_trial(done, trials)
            same = 0 if self._next() else same + 1

    def tried(self) -> tuple[Tried, ...]:
        """What was trained; proposals that had been tried before are left out."""
        ended = [trial for trial in self._ended() if "same" not in trial.user_attrs]
        return tuple(_tried(number, trial) for number, trial in enumerate(ended))

    def _next(self) -> bool:
        """Propose a configuration and try it; False where it had been tried."""
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        ended = self._ended()
        # A sampler of its own for each trial: one that lives on would have drawn other numbers before a kill.
        drawn = int(np.random.SeedSequence([self.alone.seed, len(ended)]).generate_state(1)[0])
        self.study.sampler = TPESampler(seed=drawn, n_startup_trials=RANDOM_TRIALS)
        given = self._given(len(ended))
        if given and not self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self.study.enqueue_trial(dict(given))
        trial = self.study.ask()
        parameters = self.space.choose(lambda name, values: _suggest(trial, name, values))
        trial.set_user_attr("parameters", parameters)
        former = next((past for past in ended if past.user_attrs["parameters"] == parameters), None)
        if former is None:
            self._try(trial, parameters)
            return True
        trial.set_user_attr("same", former.number)
        if "problem" in former.user_attrs:
            trial.set_user_attr("problem", former.user_attrs["problem"])
        self.study.tell(trial, former.value if former.state == TrialState.COMPLETE else None, state=former.state)
        return False

    def _given(self, ended: int) -> Mapping[str, Value]:
        """What a trial is told: all that the task says, or the best encoders; nothing where all may be varied."""
        if ended == 0:
            return self.space.own_choice()
        complete = [tried for tried in self.tried() if tried.judged is not None]
        if ended % ENCODERS_EVERY == 0 or not complete or self.space.encoding == set(self.space.choices):
            return {}
        best = min(complete, key=lambda tried: tried.value(self.objective))
        return {name: best.parameters[name] for name in self.space.encoding}

    def _try(self, trial: "Trial", parameters: Parameters) -> None:
        from optuna.trial import TrialState

        def on_together(epoch: int, loss: float) -> None:
            trial.report(loss, epoch)
            if trial.should_prune():
                raise Hopeless(f"the fusion, epoch {epoch}: {loss:.4f}")

        begun = time.monotonic()
        value, state = None, TrialState.FAIL
        try:
            config = self._config(parameters)
            trial.set_user_attr("encoders", {name: self.alone.key(config, name) for name in self.cohort.stream_names})
            judged = train_and_judge(
                self.cohort, config, self.alone, rivals=self._rivals(), on_together=on_together,
                on_epoch=self.hear.on_epoch,
            )  # fmt: skip
            trial.set_user_attr("judged", vars(judged))
            value, state = judged.loss if self.objective == "log-loss" else 1 - judged.auroc, TrialState.COMPLETE
        except Hopeless as reason:
            trial.set_user_attr("given up", str(reason))
            state = TrialState.PRUNED
        except FAILURES as error:
            trial.set_user_attr("problem", f"{type(error).__name__}: {' '.join(str(error).split())}")
        trial.set_user_attr("seconds", round(time.monotonic() - begun, 1))
        self.study.tell(trial, value, state=state)

    def _config(self, parameters: Parameters) -> ModelConfig:
        return model_config(laid_over(self.cohort.task, self.space.overlay(parameters)))

    def _rivals(self) -> dict[str, list[str]]:
        """Stream → the encoders that earlier trials of this study asked for."""
        rivals: dict[str, list[str]] = {}
        for trial in self._ended():
            for name, key in trial.user_attrs.get("encoders", {}).items():
                if key not in rivals.setdefault(name, []):
                    rivals[name].append(key)
        return rivals

    def _ended(self) -> "list[FrozenTrial]":
        """Trials that came to an end by themselves. One that was killed has failed without a problem."""
        trials = self.study.get_trials(deepcopy=False)
        return [t for t in trials if t.state.is_finished() and (t.state.name != "FAIL" or "problem" in t.user_attrs)]

    def _fail_the_dead(self) -> None:
        """Nobody else is at work here, so what still runs was killed."""
        from optuna.trial import TrialState

        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)


def _suggest(trial: "Trial", name: str, values: Sequence[Value]) -> Value:
    chosen: Value = trial.suggest_categorical(name, values)  # type: ignore[assignment]  # may be None, of such values
    return chosen


def _tried(number: int, trial: "FrozenTrial") -> Tried:
    said = trial.user_attrs
    state: Literal["complete", "given up", "failed"] = (
        "complete" if trial.state.name == "COMPLETE" else "given up" if trial.state.name == "PRUNED" else "failed"
    )
    return Tried(
        number=number,
        state=state,
        parameters=said["parameters"],
        judged=Judged(**said["judged"]) if state == "complete" else None,
        why=said.get("given up", said.get("problem", "")),
        seconds=said["seconds"],
    )


def _found(name: str, objective: Objective, trials: tuple[Tried, ...], space: Space) -> Found:
    best = min(trials, key=lambda tried: tried.value(objective))
    if best.judged is None:
        raise ModelError(f"tuning: expected a trial that can be trained, got {len(trials)} that failed; {best.why}")
    own = trials[0].judged
    found = {
        "study": name,
        "trial": best.number,
        "trials": len(trials),
        "log_loss": round(best.judged.loss, 6),
        "auroc": round(best.judged.auroc, 6),
        "log_loss_of_the_task": None if own is None else round(own.loss, 6),
    }
    return Found(name, objective, trials, space.overlay(best.parameters, found))
