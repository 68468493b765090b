"""The time to an event, censored for some, in discrete time, with competing causes."""

import torch

from models.objectives.objective import ObjectiveModule

FLOAT32_STEP = 2**-23  # cohorts keep hours as float32: closer than this to an interval's end is at its end


class SurvivalObjective(ObjectiveModule):
    """J x R logits: in each of J intervals, of each of R causes against "nothing happens".

    A softmax over (nothing, cause 1 ... R) gives the hazards of those who reach the interval (Tutz & Schmid 2016,
    ch. 8; with one cause the discrete-time hazard of Gensheimer & Narasimhan 2019, eq. 1-3). outcome (..., 2): hours
    until the event or the censoring, and the cause, 0 where censored. Who is censored counts for the intervals that he
    lived through whole. Time ends at the horizon. probabilities: by cause, the cumulative incidence at each
    interval's end.
    """

    columns = 2

    def __init__(self, causes: tuple[str, ...], risk: str, horizon_hours: float, intervals: int) -> None:
        super().__init__()
        self.causes, self.intervals, self.horizon_hours = len(causes), intervals, horizon_hours
        self.risk = causes.index(risk)
        self.outputs = intervals * len(causes)
        self.groups = (slice(0, self.outputs),)
        self.end_hours = tuple(horizon_hours * (j + 1) / intervals for j in range(intervals))
        self.names = tuple(f"{cause} by {hours:g} h" for cause in causes for hours in self.end_hours)

    def prior(self, outcome: torch.Tensor) -> torch.Tensor:
        """The life table: the log ratio of events of each cause to survivors, half an event added to all of them."""
        at_risk, event = self._table(outcome)
        events = event.sum(0)
        survivors = at_risk.sum(0) - events.sum(-1)
        return ((events + 0.5 / self.causes) / (survivors[:, None] + 0.5)).log().reshape(-1).float()

    def loss(self, logits: torch.Tensor, outcome: torch.Tensor) -> torch.Tensor:
        """Minus the log-likelihood of the intervals lived through, and of the event where there is one."""
        nothing, cause = self._log_hazards(logits)
        at_risk, event = (each.to(logits.dtype) for each in self._table(outcome))
        lived = at_risk - event.sum(-1)
        return -(nothing * lived).sum(-1) - (cause * event).sum((-2, -1))

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """(..., R x J) cumulative incidences, cause by cause."""
        return self._incidence(logits).cumsum(-2).transpose(-1, -2).flatten(-2)

    def risk_logit(self, logits: torch.Tensor) -> torch.Tensor:
        """The log-odds of the cause that is the risk, by the horizon."""
        nothing, cause = self._log_hazards(logits)
        each = cause + _before(nothing)[..., None]  # log-probability of cause r in interval j
        mine = each[..., self.risk].logsumexp(-1)
        others = torch.cat([each[..., :, : self.risk], each[..., :, self.risk + 1 :]], -1).flatten(-2)
        rest = torch.cat([others, nothing.sum(-1, keepdim=True)], -1).logsumexp(-1)
        return mine - rest

    def _log_hazards(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of nothing (..., J) and of each cause (..., J, R) in an interval, once it is reached."""
        each = logits.reshape(*logits.shape[:-1], self.intervals, self.causes)
        every = torch.cat([torch.zeros_like(each[..., :1]), each], -1).log_softmax(-1)
        return every[..., 0], every[..., 1:]

    def _incidence(self, logits: torch.Tensor) -> torch.Tensor:
        """(..., J, R) the probability of each cause in each interval."""
        nothing, cause = self._log_hazards(logits)
        return (cause + _before(nothing)[..., None]).exp()

    def _table(self, outcome: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Which intervals count for a case (..., J), and in which what happened (..., J, R); 1 or 0."""
        hours, cause = outcome[..., 0].double(), outcome[..., 1]
        width, near = self.horizon_hours / self.intervals, FLOAT32_STEP * self.horizon_hours
        number = torch.arange(self.intervals, device=outcome.device)
        # An event at the very end of an interval is in it; the first interval has its own beginning too.
        place = (((hours - near) / width).ceil() - 1).clamp(min=0)[..., None]
        happened = ((cause > 0) & (hours <= self.horizon_hours + near))[..., None]
        lived_whole = ((hours + near) / width).floor()[..., None]
        at_risk = torch.where(happened, number <= place, number < lived_whole)
        at_cause = cause[..., None] == torch.arange(1, self.causes + 1, device=outcome.device)
        event = (happened & (number == place))[..., None] & at_cause[..., None, :]
        return at_risk.double(), event.double()


def _before(nothing: torch.Tensor) -> torch.Tensor:
    """(..., J) the log-probability of reaching each interval."""
    return nothing.cumsum(-1) - nothing
