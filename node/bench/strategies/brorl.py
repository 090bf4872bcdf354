"""`murmur bench brorl`: gain and cost of many rollouts of one problem (arXiv 2510.01180).

Three parts: the token simulator at equal steps and at equal samples; how many groups are usable at N = 16 and 512;
and how many rollouts a second a real small model samples at N = 8 and 128.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from node.bench.kit import sampling_rate
from node.bench.kit.options import BenchOptions
from node.bench.kit.report import Check, Interrupted, Progress, Report, Row, spread
from node.bench.strategies.accuracy_mix import AccuracyMix, calibrated
from node.bench.strategies.token_simulator import TokenOutcome, TokenWorld, simulate
from policies.rollout import Finish, Group, Problem, Rollout, Segment
from policies.seeds import derive_generator
from policies.strategies import build_strategy
from policies.strategies.base import GroupDecision, StepInfo
from policies.strategies.settings import BrorlSettings

SEEDS = 3

ROLLOUTS = (4, 16, 64, 256, 512, 5_120)
STEPS = 1_000
LEARNING_RATE = 1e-3
BASE = 16  # ProRL's rollouts a problem, which BroRL sets out from
BASE_USABLE = 0.41  # of ProRL's groups are usable (table 2); 0.62 of BroRL's with N = 512
WIDE = 512  # BroRL's
# A loss below 3 % of what a correct token has at the start counts as none. At N = 64 the worst token of three seeds
# lost 3e-5 to 7e-5, at 512 every token of ten seeds gained; at 5,120 two of ten seeds lost up to 1.2e-5, late, when
# the anchor crowds the others out.
VANISHED = 2e-5
# The paper's rate at N = 16 fixes one number of the mix; how many problems are decided it leaves open.
DECIDED = (0.0, 0.1, 0.2, 0.3, 0.4)
USABLE_PROBLEMS = 2_000


@dataclass(frozen=True, slots=True)
class SimulatorSchedule:
    """One N of the simulator, for how long and how fast."""

    rollouts: int
    steps: int
    learning_rate: float

    @classmethod
    def at_equal_samples(cls, rollouts: int) -> SimulatorSchedule:
        """As many samples as BASE takes in STEPS steps, by BroRL's rule for the learning rate: sqrt(B / B0)."""
        wider = rollouts / BASE
        return cls(rollouts, int(STEPS / wider), LEARNING_RATE * math.sqrt(wider))


TokenOutcomes: TypeAlias = Mapping[SimulatorSchedule, Sequence[TokenOutcome]]  # one a seed

EQUAL_STEPS = [SimulatorSchedule(rollouts, STEPS, LEARNING_RATE) for rollouts in ROLLOUTS]
EQUAL_SAMPLES = [SimulatorSchedule.at_equal_samples(rollouts) for rollouts in ROLLOUTS if rollouts <= WIDE]


def run(options: BenchOptions, progress: Progress) -> Report:
    """All three parts, the model's last; `options.repeats` is the number of seeds of the first and the last.

    Raises PolicyError where the model cannot be loaded, Interrupted with what was measured when Ctrl-C comes.
    """
    seeds = range(options.repeats or SEEDS)
    rows: list[Row] = []
    checks: list[Check] = []
    report = Report("brorl", options.machine, seeds, rows, checks)
    try:
        equal_steps = simulate_all(EQUAL_STEPS, seeds, progress)
        rows += simulator_rows("equal steps", equal_steps)
        checks.append(simulator_check(equal_steps))
        rows += simulator_rows("equal samples", simulate_all(EQUAL_SAMPLES, seeds, progress))
        mixes = [calibrated(decided, BASE, BASE_USABLE) for decided in DECIDED]
        usable = [
            _usable_shares(mix, derive_generator(place, "bench", "usable")) for place, mix in enumerate(mixes)
        ]
        rows += usable_rows(mixes, usable)
        checks.append(usable_check(usable))
        rates = sampling_rate.measure(options.model, seeds, progress)
        rows += sampling_rate.rows(rates)
        checks.append(sampling_rate.check(rates))
    except KeyboardInterrupt:
        raise Interrupted(report) from None
    return report


def simulate_all(
    schedules: Iterable[SimulatorSchedule], seeds: Iterable[int], progress: Progress
) -> TokenOutcomes:
    """Every schedule in every seed."""
    outcomes: dict[SimulatorSchedule, list[TokenOutcome]] = {}
    for schedule in schedules:
        progress(f"token simulator: N = {schedule.rollouts}, {schedule.steps} steps")
        outcomes[schedule] = [_simulate(schedule, seed) for seed in seeds]
    return outcomes


def _simulate(schedule: SimulatorSchedule, seed: int) -> TokenOutcome:
    generator = derive_generator(seed, "bench", "brorl", schedule.rollouts, schedule.steps)
    return simulate(TokenWorld(), schedule.rollouts, schedule.steps, schedule.learning_rate, generator)


def simulator_rows(comparison: str, outcomes: TokenOutcomes) -> Iterator[Row]:
    for schedule, runs in outcomes.items():
        yield {
            "simulator": comparison,
            "n": schedule.rollouts,
            "steps": schedule.steps,
            "learning_rate": schedule.learning_rate,
            "start": runs[0].start,
            **spread("q_pos", [run.q_pos for run in runs]),
            **spread("gained", [run.gained for run in runs]),
            **spread("worst", [run.worst for run in runs]),
        }


def simulator_check(outcomes: TokenOutcomes) -> Check:
    """The share of seeds in which the paper's picture comes out; it is asked of all."""
    by_seed = zip(*outcomes.values(), strict=True)
    wide = [schedule.rollouts >= WIDE for schedule in outcomes]
    held = statistics.fmean(_as_published(runs, wide) for runs in by_seed)
    paper = "Q_pos and gained tokens rise with N, no loss from N = 512"
    return Check.of("simulator", [held], paper=paper, floor=1)


def _as_published(runs: Sequence[TokenOutcome], wide: Sequence[bool]) -> bool:
    """Whether, with N rising through `runs`, Q_pos rises, no fewer tokens gain, and the wide lose none."""
    rises = all(narrow.q_pos < wider.q_pos for narrow, wider in pairwise(runs))
    spreads = all(narrow.gained <= wider.gained for narrow, wider in pairwise(runs))
    return (
        rises and spreads and all(run.worst > -VANISHED for run, safe in zip(runs, wide, strict=True) if safe)
    )


UsableShares: TypeAlias = Mapping[int, float]  # by rollouts a problem


def _usable_shares(mix: AccuracyMix, generator: np.random.Generator) -> UsableShares:
    """The share of groups that BroRL's admission trains on, of problems drawn from the mix."""
    decided = generator.random(USABLE_PROBLEMS) < mix.decided
    chances = np.where(decided, 0.0, generator.beta(mix.shape, mix.shape, USABLE_PROBLEMS))
    return {
        rollouts: _trained_share(rollouts, generator.binomial(rollouts, chances)) for rollouts in (BASE, WIDE)
    }


def _trained_share(rollouts: int, right: Iterable[int]) -> float:
    strategy = build_strategy(BrorlSettings(rollouts=rollouts))
    step = StepInfo(round=1, policy_version=0, wanted=USABLE_PROBLEMS)
    problem, good, bad = Problem("mix", 0, "", ""), _answered(1.0), _answered(0.0)
    groups = (Group(problem, (good,) * count + (bad,) * (rollouts - count)) for count in right)
    return statistics.fmean(strategy.admit(step, group).decision is GroupDecision.TRAIN for group in groups)


def _answered(reward: float) -> Rollout:
    return Rollout("", (Segment(0, (0,)),), Finish.STOP, reward=reward)


def usable_rows(mixes: Sequence[AccuracyMix], usable: Sequence[UsableShares]) -> Iterator[Row]:
    """What BroRL's admission took, beside what the mix has it take in the mean."""
    for mix, shares in zip(mixes, usable, strict=True):
        taken = {f"usable_{rollouts}": share for rollouts, share in shares.items()}
        expected = {f"expected_{rollouts}": mix.usable(rollouts) for rollouts in shares}
        yield {"decided": mix.decided, "beta_shape": mix.shape, **taken, **expected, "ratio": _gain(shares)}


def usable_check(usable: Sequence[UsableShares]) -> Check:
    """The mix's rate at N = 16 is fitted to the paper's; the ratio is counted, over what the paper leaves open."""
    gains = [_gain(shares) for shares in usable]
    return Check.of("usable_ratio", gains, paper="41 % -> 62 %: 1.51", floor=1.4, ceiling=1.75)


def _gain(shares: UsableShares) -> float:
    return shares[WIDE] / shares[BASE]
