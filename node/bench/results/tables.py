"""The tables of docs/results.md: which reports they are made of, by which command, and what code these measure."""

from __future__ import annotations

from node.bench.results.table import Column, Table
from node.bench.sapo.population import GYM_TASKS

_SHARING = (
    "node/runtime",
    "node/bench/sapo",
    "policies",
    "swarm/gossip",
    "swarm/sampling",
    "swarm/admission",
)
_TASKS = ("sort", "reverse", "maximum", "shift", "add", "binary")
_GYM_TASKS = tuple(str(task["name"]) for task in GYM_TASKS)
_TWO_ARMS = "--case '8/0 resampled' --case '4/4 positive'"
_ARMS = (
    Column("seeds", "seeds", 0),
    Column("own reward", "own_reward", 1),
    Column("held-out, 1 try", "pass_1"),
    Column("in 8", "pass_8"),
    Column("tokens sampled", "tokens", 0),
    Column("own groups made", "generated", 0),
    Column("CPU s", "cpu_seconds", 1),
    Column("the paper", "paper"),
)
_RATES = (
    Column("learning rate", "rate", 5),
    Column("own reward at it", "own_reward", 1),
    Column("held-out, 1 try", "pass_1"),
)
_AGAINST = (
    Column("own reward at equal rounds", "equal_rounds", percent=True),
    Column("at equal tokens", "equal_tokens", percent=True),
    Column("at equal CPU s", "equal_cpu", percent=True),
    Column("held-out, 1 try", "judged", signed=True),
    Column("without its best task", "judged_but_best", signed=True),
    Column("which is", "best_task"),
)


_BARS = (Column("measured", "ours"), Column("bar", "bar"), Column("holds", "holds"))


def _by_case(benchmark: str, *cases: str, also: str = "") -> dict[str, str]:
    """A cell for each case, so that a table can be made piece by piece. `also`: options of all of them."""
    return {f"{benchmark}-{case}": f"{benchmark} {also}--case {case}" for case in cases}


def _sharing(name: str, options: str, tasks: tuple[str, ...] = _TASKS) -> tuple[Table, ...]:
    """The tables of one call of `murmur bench sapo`: its arms, their comparisons, and held-out rewards by task."""
    command = {name: f"sapo {options} --dir results/{name}"}
    by_task = tuple(Column(task.removeprefix("rg:"), task) for task in tasks)
    return (
        Table(name, command, _SHARING, ("arm",), _ARMS),
        Table(f"{name}-pairs", command, _SHARING, ("compared", "with"), _AGAINST),
        Table(f"{name}-tasks", command, _SHARING, ("held_out_by_task",), by_task),
    )


def _population(name: str, rates: str) -> tuple[Table, ...]:
    """The same of embedded policies that begin as `name` says, with the learning rate that each arm has of `rates`."""
    options = f"--population {name} --first-seed 30 --rates {rates}"
    tables = _sharing(f"sapo-{name}", options)
    commands = tables[0].commands
    chosen = Table(f"sapo-{name}-rates", commands, _SHARING, ("rate_of",), _RATES, where={"chosen": True})
    return (*tables, chosen)


_ENGINE = _by_case(
    "engine", "equal16", "longtail", "one_prompt_128", "long_prompt_64", also="--dtype bfloat16 "
)
_STEP = _by_case("step", "prompt57", "prompt256")
_ROUND, _START = {"round": "round"}, {"start": "start"}

_ARENA_COMMAND = "arena --first-seed 10 --dir results/arena"
_ARENA = ("swarm/admission", "swarm/sampling", "node/runtime", "policies", "node/bench/arena")

TABLES = (
    *_population("specialists", "1.5e-4,3e-4,6e-4,1.2e-3"),
    *_population("alike", "3e-4,6e-4"),
    *_sharing("sapo-long", f"--rounds 200 --first-seed 40 --seeds 2 {_TWO_ARMS}"),
    *_sharing(
        "sapo-smollm2",
        "--policy smollm2 --nodes 4 --first-seed 30 --seeds 1 --case '4/4 positive'",
        _GYM_TASKS,
    ),
    Table(
        "strategies",
        _by_case("strategies", "grpo", "brorl", "brorl-pods", "dars", "dars-b", "april", "april-dars"),
        ("policies/strategies", "policies/text", "node/runtime"),
        ("strategy",),
        (
            Column("after 24 updates: 1 try", "steps_pass_1"),
            Column("in 8", "steps_pass_8"),
            Column("tokens sampled", "tokens", 0),
            Column("after 30,000 tokens: 1 try", "tokens_pass_1"),
            Column("in 8", "tokens_pass_8"),
            Column("usable groups", "usable_share"),
        ),
    ),
    Table(
        "branch",
        {"branch": "branch"},
        ("policies/diffusion", "policies/tasks", "node/bench/branch"),
        ("arm",),
        (
            Column("reward", "reward", 3),
            Column("judge", "judge"),
            Column("evaluations", "evaluations", 0),
            Column("roll-out CPU s", "rollout_cpu_s", 1),
            Column("training CPU s", "training_cpu_s", 1),
        ),
        last="iteration",
    ),
    Table(
        "papers",
        {name: name for name in ("brorl", "dars", "april", "branch")},
        (
            "policies/strategies",
            "policies/text/engine",
            "policies/diffusion",
            "node/bench/strategies",
            "node/bench/branch",
        ),
        ("check",),
        (Column("the paper", "paper"), *_BARS),
    ),
    Table(
        "engine",
        _ENGINE,
        ("policies/text/engine", "node/bench/engine"),
        ("case", "contender", "arithmetic"),
        (Column("tokens a second", "tokens_per_s", 1), Column("rollouts a second over TRL", "over_trl", 1)),
    ),
    Table("speed", {**_ENGINE, **_STEP, **_ROUND, **_START}, ("policies/text", "node"), ("check",), _BARS),
    Table(
        "step",
        _STEP,
        ("policies/text", "node/bench/step"),
        ("case",),
        (Column("TRL, s", "trl_s", 1), Column("ours, s", "ours_s", 1), Column("ratio", "ratio", 1)),
    ),
    Table(
        "round",
        _ROUND,
        ("policies/text", "node/runtime", "node/bench/round"),
        ("prompts",),
        (
            Column("a round, CPU s", "round_cpu_s", 1),
            Column("of it sampling", "sampling_share"),
            Column("update", "update_share"),
            Column("start, CPU s", "start_cpu_s", 1),
            Column("resident, GB", "peak_gb", 1),
        ),
    ),
    Table(
        "start",
        _START,
        ("policies/text", "node", "swarm/extras.py"),
        ("start",),
        (
            Column("CPU s", "cpu_s"),
            Column("beyond the libraries' import", "beyond_imports_s"),
            Column("resident, MB", "peak_mb", 0),
        ),
    ),
    Table(
        "gossip",
        _by_case("gossip", "n4", "n8", "n16", "n32", "n64", "cliff"),
        ("swarm", "node/bench/gossip"),
        ("case", "nodes", "side"),
        (Column("MB a node and round", "mb"), Column("delivered", "delivered")),
    ),
    Table(
        "faults",
        {"faults": "faults"},
        ("swarm", "node/runtime", "node/bench/faults"),
        ("case",),
        (
            Column("longest gap between rounds, in median rounds", "longest_gap", 1),
            Column("delivery is back after, s", "recovery_s", 0),
            Column("groups trained twice", "trained_twice", 0),
        ),
    ),
    Table(
        "verifier",
        {"verifier": "verifier"},
        ("swarm/admission", "swarm/wire", "policies/text", "policies/tasks", "node/bench/attacks"),
        ("body",),
        (
            Column("groups a second", "groups_per_s", 0),
            Column("bytes", "wire_bytes", 0),
            Column("CPU ms", "cpu_ms", 1),
            Column("beyond what it brings", "cpu_ms_beyond", 1),
            Column("verdicts", "verdicts"),
        ),
    ),
    Table(
        "measures",
        _by_case("attacks", "sybil_share", "group_weight", "replay_flush", "front_running", "honest_cpu"),
        ("swarm", "node/bench/attacks"),
        ("measure",),
        (Column("figure", "figure"),),
    ),
    Table(
        "attacks",
        {"attacks": "attacks --seconds 210"},
        ("swarm", "node/bench/attacks"),
        ("case",),
        (
            Column("groups a minute before", "before", 0),
            Column("during", "during", 0),
            Column("after", "after", 0),
            Column("kept", "kept"),
        ),
    ),
    Table(
        "arena-checks",
        {"arena": _ARENA_COMMAND},
        _ARENA,
        ("check",),
        (Column("measured", "ours", 3), *_BARS[1:], Column("remark", "paper")),
    ),
    Table(
        "arena",
        {"arena": _ARENA_COMMAND},
        _ARENA,
        ("attack", "defence"),
        (
            Column("seeds", "seeds", 0),
            Column("success", "success"),
            Column("counts", "counts"),
            Column("held-out reward", "held_out"),
            Column("lost", "lost", signed=True),
            Column("groups of attackers", "from_attackers"),
            Column("habit found", "flagged"),
            Column("honest blamed", "blamed"),
            Column("kB fetched", "kB_fetched", 0),
            Column("CPU s", "cpu_s", 1),
        ),
    ),
)
