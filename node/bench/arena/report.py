"""Rows and checks of `murmur arena`: what each attack achieved against each defence, and what honest nodes paid."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from node.bench.arena.attacks import ATTACKS, Success
from node.bench.arena.cell import CALM, CALM_AT_USUAL_RATE, ArenaCell
from node.bench.arena.defences import DEFAULT, UNDEFENDED
from node.bench.kit.report import Check, Row, interval, spread

COUNTS = 0.6  # success against undefended nodes from which an attack is one
# Success against the default, from which the issue speaks of a miss; of `longest_correct` the added length.
GOALS = {"text_injection": 0.05, "code_injection": 0.05, "wrong_step": 0.15, "longest_correct": 0.2}
# What all defences may cost nodes that nobody attacks: shares of the undefended nodes' held-out reward, bytes and CPU.
HONEST_COSTS = {"honest_loss": 0.03, "honest_bytes": 0.05, "honest_cpu": 0.05}
PEER_RANKING = 0.9
PLANTED = "text_injection"  # the attack by whose author usefulness is judged


@dataclass(frozen=True, slots=True)
class Arena:
    """The finished cells of one plan, looked up by what was played."""

    cells: Sequence[ArenaCell]

    def of(self, attack: str, defence: str) -> list[ArenaCell]:
        return [cell for cell in self.cells if (cell.attack, cell.defence) == (attack, defence)]

    def calm(self, cell: ArenaCell) -> ArenaCell | None:
        """The cell of the same defence and seed in which nobody attacks."""
        return next((one for one in self.of(CALM, cell.defence) if one.seed == cell.seed), None)

    def success(self, cell: ArenaCell) -> float | None:
        """What the attack wanted, from 0; None while the cell it is compared with is not there."""
        measure = ATTACKS[cell.attack].success
        if measure is Success.MARKED:
            return cell.marked
        if measure is Success.TAKEN:
            return cell.taken
        calm = self.calm(cell)
        if calm is None:
            return None
        if measure is Success.LONGER:
            return max(0.0, cell.length / calm.length - 1.0)
        return max(0.0, lost(cell, calm))

    def successes(self, attack: str, defence: str) -> list[float]:
        found = (self.success(cell) for cell in self.of(attack, defence))
        return [success for success in found if success is not None]

    def counts(self, attack: str) -> bool | None:
        """Whether the attack works where nothing is done against it; None where that is not known."""
        undefended = self.successes(attack, UNDEFENDED.name)
        return statistics.fmean(undefended) >= COUNTS if undefended else None

    def ranked_last(self, attack: str) -> list[float]:
        """By seed, 1 where the default's nodes agree that the attacker is the least useful peer of all."""
        return [float(cell.last == 1.0) for cell in self.of(attack, DEFAULT.name) if cell.last is not None]

    def honest_costs(self, defence: str, calm: str = CALM_AT_USUAL_RATE) -> dict[str, list[float]]:
        """What the defence costs where nobody attacks, by seed, as shares; the names are those of HONEST_COSTS."""
        open_ones = {cell.seed: cell for cell in self.of(calm, UNDEFENDED.name)}
        pairs = [(c, open_ones[c.seed]) for c in self.of(calm, defence) if c.seed in open_ones]
        return {
            "honest_loss": [lost(cell, against) for cell, against in pairs],
            "honest_bytes": [cell.bytes / against.bytes - 1.0 for cell, against in pairs],
            "honest_cpu": [cell.cpu / against.cpu - 1.0 for cell, against in pairs],
        }


def lost(cell: ArenaCell, against: ArenaCell) -> float:
    """Share of the held-out reward that is missing."""
    return 1.0 - cell.reward / against.reward if against.reward else 0.0


def rows(arena: Arena) -> list[Row]:
    """One row an attack and defence: means over seeds with their range, of what was lost with its interval."""
    arms = dict.fromkeys((cell.attack, cell.defence) for cell in arena.cells)
    return [_row(arena, *arm) for arm in sorted(arms, key=lambda arm: arm[0] in ATTACKS)]


def checks(arena: Arena) -> list[Check]:
    """The goals: success against the default defence, and what that costs where nobody attacks."""
    found = []
    for name, most in GOALS.items():
        if figures := arena.successes(name, DEFAULT.name):
            words = "-" if arena.counts(name) is not False else "under 0.6 undefended: says nothing"
            found.append(Check.of(name, figures, paper=words, ceiling=most))
    for name, shares in arena.honest_costs(DEFAULT.name).items():
        if shares:
            found.append(Check.of(name, shares, ceiling=HONEST_COSTS[name]))
    if ranked := arena.ranked_last(PLANTED):
        found.append(Check.of("peer_ranking", [statistics.fmean(ranked)], floor=PEER_RANKING))
    return found


def _row(arena: Arena, attack: str, defence: str) -> Row:
    cells = arena.of(attack, defence)
    if attack in ATTACKS:
        successes = arena.successes(attack, defence)
        losses = [lost(cell, calm) for cell in cells if (calm := arena.calm(cell))]
    else:
        successes, losses = [], arena.honest_costs(defence, attack)["honest_loss"]
    return {
        "attack": attack,
        "defence": defence,
        "seeds": len(cells),
        **_spread("success", successes),
        "counts": arena.counts(attack) if attack in ATTACKS else None,
        **spread("held_out", [cell.reward for cell in cells]),
        **interval("lost", losses),
        "length": statistics.fmean(cell.length for cell in cells),
        "flagged": statistics.fmean(cell.flagged for cell in cells),
        "blamed": statistics.fmean(cell.blamed for cell in cells),
        "from_attackers": statistics.fmean(cell.taken for cell in cells),
        "kB_fetched": statistics.fmean(cell.bytes for cell in cells) / 1000,
        "cpu_s": statistics.fmean(cell.cpu for cell in cells),
    }


def _spread(column: str, figures: Sequence[float]) -> dict[str, float | None]:
    if not figures:
        return {column: None, f"{column}_low": None, f"{column}_high": None}
    return dict(spread(column, figures))
