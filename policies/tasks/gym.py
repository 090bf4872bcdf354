"""reasoning-gym datasets as tasks: `rg:<dataset>`, verified by our own pure verifiers.

The library runs in a process of its own (`gym_process`); its scorers do not run there either. In 0.1.25, on the
text of a completion,
  `eval`             binary_matrix, n_queens, spiral_matrix, string_insertion: any Python runs;
  sympy `parse_expr` countdown, intermediate_integration, polynomial_multiplication, puzzle24,
                     simple_integration: `eval` with a rewritten token stream;
  `eval` fallback    number_sorting, on the dataset's own answer: harmless text, kept away all the same;
  unbounded parsing  codeio, game_of_life, graph_color, group_anagrams, jugs, knight_swap, boxnet,
                     palindrome_partitioning: `json.loads` of any depth; propositional_logic: recursion.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from types import MappingProxyType

from policies.install_hints import install_extras
from policies.rollout import Problem
from policies.tasks.gym_process import PROCESS
from policies.tasks.held_out import DrawnProblems
from policies.tasks.sandbox import SandboxScorer
from policies.tasks.task import HELD_OUT_SEED, Param, TaskError, TaskPackageMissing, TaskSpec
from policies.tasks.verifiers.answer import AnswerCheck, answer_part, ends_with_text, last_number_is

PREFIX = "rg:"
SANDBOX_PARAM = "sandbox"
DRAW = 2  # raised when the same seed gives another problem of an unchanged library: peers match on the name
_OWN_PARAMS = frozenset({SANDBOX_PARAM, "seed", "size"})

# Datasets with one right answer, so that comparing with it decides.
_NUMBERS = """
    aiw basic_arithmetic binary_alternation chain_sum circuit_logic count_bits count_primes
    decimal_arithmetic decimal_chain_sum gcd gsm_symbolic largest_island lcm leg_counting letter_counting maze
    number_format number_sequence products rectangle_count rotten_oranges self_reference simple_equations
    simple_geometry
"""
_TEXTS = """
    acre arc_1d base_conversion binary_matrix bitwise_arithmetic caesar_cipher calendar_arithmetic
    color_cube_rotation course_schedule family_relationships figlet_font fraction_simplification
    game_of_life_halting letter_jumble mahjong_puzzle needle_haystack pool_matrix rotate_matrix
    sentence_reordering spell_backward spiral_matrix string_insertion string_manipulation string_splitting
    string_synthesis syllogism word_sequence_reversal word_sorting zebra_puzzles
"""
ALLOWED: Mapping[str, AnswerCheck] = MappingProxyType(
    dict.fromkeys(_NUMBERS.split(), last_number_is) | dict.fromkeys(_TEXTS.split(), ends_with_text)
)

# Equal seeds give other problems in another process, so that peers cannot rebuild them: all iterate over sets
# in hash order, except time_intervals, which starts from today's date.
_IRREPRODUCIBLE = """
    isomorphic_strings knight_swap list_functions polynomial_multiplication ransom_note time_intervals
    word_ladder
"""
IRREPRODUCIBLE = frozenset(_IRREPRODUCIBLE.split())


@dataclass(frozen=True, slots=True)
class GymTask:
    """One reasoning-gym dataset with fixed parameters, scored by an own verifier or in the sandbox."""

    name: str
    dataset: str
    params: Mapping[str, Param]
    scorer: AnswerCheck | SandboxScorer
    drawn: DrawnProblems = field(compare=False, repr=False)

    def problem(self, seed: int) -> Problem:
        return self.drawn.problem(seed)

    def canonical_seed(self, seed: int) -> int:
        return self.drawn.canonical_seed(seed)

    def first_draw(self, seed: int, within: float | None = None) -> Problem:
        return self.drawn.first_draw(seed, within)

    def score(self, problem: Problem, completion: str) -> float | None:
        """1.0 or 0.0 by an own verifier; a share of 1, or no verdict, where the sandboxed scorer gives that."""
        if isinstance(self.scorer, SandboxScorer):
            return self.scorer.score(self.canonical_seed(problem.seed), answer_part(completion).strip())
        return float(self.scorer(completion, problem.answer))


def build_gym_task(spec: TaskSpec) -> GymTask:
    """The task that `spec` names.

    Raises TaskError for an unknown dataset, parameter or value, TaskTimeoutError for values that take too long.
    """
    dataset = spec.name.removeprefix(PREFIX)
    params = {key: value for key, value in spec.params.items() if key != SANDBOX_PARAM}
    known = _datasets()
    _check_dataset(dataset, known)
    _check_params(dataset, params, known)
    name = f"{spec.name}@{metadata.version('reasoning-gym')}-{DRAW}{spec.fingerprint()}"
    drawn = DrawnProblems(name, lambda seed, within: PROCESS.problem(dataset, seed, params, within))
    task = GymTask(name, dataset, MappingProxyType(params), _scorer(spec, dataset, params), drawn)
    task.problem(HELD_OUT_SEED)  # a dataset of few problems is refused before a run begins
    return task


def _scorer(spec: TaskSpec, dataset: str, params: Mapping[str, Param]) -> AnswerCheck | SandboxScorer:
    if spec.params.get(SANDBOX_PARAM, False):
        return SandboxScorer(dataset, params)
    if dataset not in ALLOWED:
        raise TaskError(
            f"{spec.name} has answers that only the library's own scorer can judge, and that may run what a "
            f"peer wrote; choose another dataset, or set {SANDBOX_PARAM} = true to score it in a process of "
            "its own"
        )
    return ALLOWED[dataset]


def known_gym_tasks() -> tuple[str, ...]:
    """Names that need no sandbox. Answers without the library being installed."""
    return tuple(PREFIX + name for name in sorted(ALLOWED))


def gym_installed() -> bool:
    """Whether `rg:` tasks can be built here. Does not import the library, which takes 2 s."""
    return importlib.util.find_spec("reasoning_gym") is not None


def _datasets() -> Mapping[str, Sequence[str]]:
    """The library's datasets and the names of their parameters."""
    if not gym_installed():
        raise TaskPackageMissing(f"`{PREFIX}` tasks need the package reasoning-gym: {install_extras('envs')}")
    return PROCESS.parameters()


def _check_dataset(dataset: str, known: Mapping[str, Sequence[str]]) -> None:
    if dataset not in known:
        near = difflib.get_close_matches(dataset, known, n=1, cutoff=0.6)
        hint = f"the nearest is {PREFIX}{near[0]}" if near else "`murmur tasks` lists those it has"
        raise TaskError(f"reasoning-gym has no dataset {dataset!r}; {hint}")
    if dataset in IRREPRODUCIBLE:
        raise TaskError(
            f"{PREFIX}{dataset} draws other problems in every process, so peers cannot rebuild them; "
            "choose another dataset"
        )


def _check_params(dataset: str, params: Mapping[str, Param], known: Mapping[str, Sequence[str]]) -> None:
    """A first problem is made, so that what cannot be made, or not in time, is refused before a run begins."""
    takes = [name for name in known[dataset] if name not in _OWN_PARAMS]
    for key in params:
        if key not in takes:
            near = difflib.get_close_matches(key, takes, n=1, cutoff=0.6)
            hint = f"; the nearest is {near[0]!r}" if near else f": it takes {', '.join(takes) or 'none'}"
            raise TaskError(f"{PREFIX}{dataset} takes no parameter {key!r}{hint}")
    PROCESS.problem(dataset, 0, params)
