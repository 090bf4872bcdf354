"""The config of a run: TOML presets, `--set a.b=c` laid over them, unknown keys refused.

Defaults are the vetted setting. Every field's docstring is its documentation (`murmur config schema`).
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationError, model_validator

from node.config.data_files import make_paths_absolute
from node.config.explain import explain
from node.config.reporting import MetricsConfig, TrackingConfig
from node.config.swarm import DhtConfig, SiloConfig
from policies.diffusion.pipeline.settings import PipelineSettings
from policies.diffusion.settings import DiffusionSettings, DigitsSource
from policies.settings import Settings
from policies.strategies.settings import AprilSettings, BrorlSettings, DarsSettings, GrpoSettings
from policies.tasks.data_task import is_data
from policies.tasks.task import Param, TaskSpec
from policies.text.settings import EmbeddedSettings, ModelSettings, TextSettings
from swarm.errors import DecodeError
from swarm.wire.identity import peer_bytes

# Keys of before -> their names of today: refused with the new one named.
RENAMED = {
    "relief": "retry_unsolved",
    "keep_silent": "keep_zero_advantage",
    "over": "oversample",
    "foreign_share": "external_share",
    "twin": "silo_baseline",
}
MAX_GROUPS = 4096  # of a kind in a round; more is a slip of the finger that never ends
PRESETS = [Path(__file__).parents[1] / "presets", Path(__file__).parents[2] / "configs"]


# Keys of a task that only a data task has.
DATA_KEYS = ("path", "subset", "split", "revision", "prompt", "answer", "verifier")


class ConfigError(ValueError):
    """A config that cannot be used; the message names the key and what to write instead."""


class TaskConfig(Settings):
    """One task that the policy is trained on; `[[tasks]]` once for each."""

    name: str
    """Embedded family (`sort`), `digits`, `pickscore`, `hpsv2` or `imagereward` for images, reasoning-gym dataset
    (`rg:chain_sum`), or `data:NAME` for own questions."""
    params: dict[str, Param] = Field(default_factory=dict)
    """Parameters of the generator; they are part of the task's full name, so peers must share them."""
    weight: float = Field(default=1.0, gt=0)
    """How often this node draws the task, relative to its others. A node's own choice."""
    path: str = ""
    """Of a data task: file of its rows (.jsonl, .csv, either in .gz, or .parquet), seen from the config's folder, or
    `hf:OWNER/NAME` for a data set of the hub. Never leaves this machine."""
    subset: str = ""
    """Of a data set of the hub: its part, where it has several."""
    split: str = "train"
    """Of a data set of the hub: its split."""
    revision: str = ""
    """Of a data set of the hub: the commit, 40 hex digits, so that its rows stay what they are."""
    prompt: str = "{question}"
    """Of a data task: what is asked, with names of columns in braces; `{{` and `}}` stand for braces."""
    answer: str = "{answer}"
    """Of a data task: the right answer, likewise."""
    verifier: str | dict[str, Any] | list[dict[str, Any]] = "exact"
    """Of a data task: `exact`, `number`, `choice`, `regex` or `json`; with options a table of `name` and those; a sum
    is a list of tables, each with a `weight`."""

    @property
    def spec(self) -> TaskSpec:
        """All that the task is built from on this machine."""
        if not is_data(self.name):
            return self.shared
        own: dict[str, Param] = {key: getattr(self, key) for key in DATA_KEYS if key != "verifier"}
        described = self.verifier if isinstance(self.verifier, str) else json.dumps(self.verifier)
        return TaskSpec(self.name, {**self.params, **own, "verifier": described})

    @property
    def shared(self) -> TaskSpec:
        """What an invite says of the task: of a data task its digests, never a path."""
        return TaskSpec(self.name, self.params)

    @property
    def key(self) -> tuple[str, str]:
        """What tells tasks apart: name and parameters, of a data task the name alone."""
        return self.name, "" if is_data(self.name) else self.shared.fingerprint()

    @model_validator(mode="after")
    def _rows_are_for_data_tasks(self) -> TaskConfig:
        given = [key for key in DATA_KEYS if getattr(self, key) != type(self).model_fields[key].default]
        if given and not is_data(self.name):
            raise ValueError(
                f"{self.name} takes no {', '.join(given)}: these are for own questions, whose name is data:NAME"
            )
        return self


class EmbeddedPolicyConfig(TextSettings):
    """A tiny language model that murmur makes itself, for any CPU."""

    type: Literal["embedded"] = "embedded"
    """The tiny policy that murmur makes itself: nothing is downloaded."""
    warm_start: EmbeddedSettings = EmbeddedSettings()
    """How its weights are made before the first round."""


class TextPolicyConfig(TextSettings):
    """A pretrained language model, from the hub or from files."""

    type: Literal["text"] = "text"
    """A Hugging Face causal language model."""
    model: ModelSettings
    """Which one, and how it is loaded."""


def _type_or(default: str) -> Discriminator:
    """Picks the variant by its `type`, and `default` where a section leaves it out."""

    def variant(value: Any) -> Any:
        return value.get("type", default) if isinstance(value, dict) else getattr(value, "type", None)

    return Discriminator(variant)


DiffusionSource = Annotated[
    Annotated[DigitsSource, Tag("digits")] | Annotated[PipelineSettings, Tag("pipeline")],
    _type_or("digits"),
]


class DiffusionPolicyConfig(DiffusionSettings):
    """A model that draws images."""

    type: Literal["diffusion"] = "diffusion"
    """A diffusion model, sampled along trees (BranchGRPO, arXiv 2509.06040)."""
    source: DiffusionSource = DigitsSource()
    """Which one: `type` digits (a small one, made here) or pipeline (of diffusers: SD3, FLUX and others)."""


class SamplerConfig(Settings):
    """SAPO's I + J (arXiv 2509.08721): how many groups of each kind an update trains on."""

    local: int = Field(default=8, ge=1, le=MAX_GROUPS)
    """I: own groups that a round decides on; how many it opens for that is the strategy's choice."""
    external: int = Field(default=0, ge=0, le=MAX_GROUPS)
    """J: groups of peers a round. The paper's best split is I = J = 4; a silo has none."""
    draw: Literal["peers", "uniform"] = "peers"
    """Which external groups: peers: fair to networks, three quarters of the places for peers with a record. uniform:
    over groups, as published."""
    external_advantages: Literal["all", "positive"] = "all"
    """All rollouts of an external group against its mean (as published), or only those better than its mean."""
    split: Literal["fixed", "adaptive"] = "fixed"
    """Adaptive: I + J stays, and each kind gets places by how much it lately gave an update to learn from."""
    retry_unsolved: float = Field(default=0.0, ge=0, le=1)
    """Share of the own problems that are taken over from peers who sent a group in which nobody solved them: the
    swarm's second stage of DARS (arXiv 2508.13755)."""
    max_age: float = Field(default=600.0, gt=0)
    """Seconds after which a peer's group is too old to train on."""


PolicyConfig = Annotated[
    Annotated[EmbeddedPolicyConfig, Tag("embedded")]
    | Annotated[TextPolicyConfig, Tag("text")]
    | Annotated[DiffusionPolicyConfig, Tag("diffusion")],
    _type_or("embedded"),
]
SwarmConfig = Annotated[
    Annotated[SiloConfig, Tag("silo")] | Annotated[DhtConfig, Tag("dht")], _type_or("dht")
]
StrategyConfig = Annotated[
    Annotated[GrpoSettings, Tag("grpo")]
    | Annotated[BrorlSettings, Tag("brorl")]
    | Annotated[DarsSettings, Tag("dars")]
    | Annotated[AprilSettings, Tag("april")],
    _type_or("grpo"),
]


class EvaluationConfig(Settings):
    """Held-out problems: what the policy is judged on and never trained on."""

    problems: int = Field(default=20, ge=0, le=100_000)
    """Held-out problems of each task, one rollout each. 0 switches evaluation off."""
    every: int = Field(default=10, ge=0)
    """Rounds between evaluations; 0 evaluates at the start and at the end only."""


def _peer(text: str) -> str:
    try:
        peer_bytes(text)
    except DecodeError:
        raise ValueError("not a PeerID: it looks like 12D3KooW..., as `murmur peers` shows it") from None
    return text


PeerName = Annotated[str, AfterValidator(_peer)]


class TrustConfig(Settings):
    """Whom this node takes groups from, beside what each peer's record says."""

    allow: tuple[PeerName, ...] = ()
    """PeerIDs that always count as known: three quarters of the places for peers' groups are for such."""
    deny: tuple[PeerName, ...] = ()
    """PeerIDs that nothing is fetched from."""
    sandbox: bool = False
    """Take part in a swarm whose invite names tasks that are scored in the sandbox: there a library's own scorer may
    evaluate what a stranger wrote, in a process without files and network. Tasks of the own config need no word."""


class CheckpointConfig(Settings):
    """What a run goes on from after Ctrl-C or a crash."""

    every: int = Field(default=5, ge=1)
    """Rounds between checkpoints. One is always written at the end and on Ctrl-C."""
    keep: int = Field(default=2, ge=1)
    """Newest checkpoints that are kept."""
    keep_best: bool = False
    """Also keep the checkpoint with the best held-out evaluation, which `murmur export --best` takes. It is saved at
    every evaluation that beats those before; `evaluation.every` says how often one is made."""


class StoreConfig(Settings):
    """What is kept to look at: `murmur rollouts`, and the page of `murmur dashboard`."""

    rollout_bytes: int = Field(default=256 * 2**20, ge=0)
    """Bytes that rollouts may take, texts compressed: 256 MiB hold some 600,000 short ones. Beyond it the oldest rounds
    give way: the older half is thinned to one group of each task and peer, then they go wholly. 0 keeps none."""


class Config(Settings):
    seed: int | None = Field(default=None, ge=0)
    """Every random choice of the run derives from it. Left out, it derives from the node's identity, so that no two
    nodes meet the same problems; the run's config.json holds it."""
    rounds: int = Field(default=100, ge=1)
    """Rounds to run: generate, publish, collect, sample, update."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the policy lives. `auto` takes cuda, then mps, then cpu."""
    threads: int = Field(default=0, ge=0, le=1024)
    """CPU threads for torch; 0 leaves torch's own choice."""
    identity: str = ""
    """Path of the key file. Empty: `identity.key` in the run folder."""
    tasks: tuple[TaskConfig, ...] = Field(min_length=1)
    """What the policy is trained on."""
    policy: PolicyConfig = EmbeddedPolicyConfig()
    """What is trained: `type` embedded (made here), text (a Hugging Face model) or diffusion (images)."""
    strategy: StrategyConfig = GrpoSettings()
    """How rollouts are made: `type` grpo, brorl, dars, or april round any of them."""
    sampler: SamplerConfig = SamplerConfig()
    """Which groups an update trains on."""
    swarm: SwarmConfig = SiloConfig()
    """Whom the node shares with: `type` dht, or silo for nobody. Without this section: silo."""
    silo_baseline: bool = False
    """Train a silo baseline beside a swarm node, on as many CPU seconds, and say at the end what sharing brought. It
    takes as much memory and time as the node."""
    trust: TrustConfig = TrustConfig()
    """Peers that the owner vouches for, and peers that nothing is taken from."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """When and on how much the policy is judged."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """When the run is saved."""
    store: StoreConfig = StoreConfig()
    """How much of the rollouts is kept."""
    metrics: MetricsConfig = MetricsConfig()
    """Where Prometheus, and whoever watches over the run, can ask how it goes."""
    tracking: TrackingConfig = TrackingConfig()
    """Which experiment trackers get the figures of every round."""

    @property
    def run_seed(self) -> int:
        """The seed of a run that has begun. Raises ConfigError while it is still to be derived."""
        if self.seed is None:
            raise ConfigError("seed is not set yet: it is derived when the run folder is made")
        return self.seed

    def seeded(self, derived: int) -> Config:
        """The same config with a seed: `derived` where none is set."""
        return self if self.seed is not None else self.model_copy(update={"seed": derived})

    @model_validator(mode="after")
    def _sharing_needs_a_swarm(self) -> Config:
        if self.swarm.type == "silo" and self.sampler.external:
            raise ValueError("sampler.external must be 0 in a silo: nobody sends groups there")
        return self


def load_config(source: str | Path, overrides: Sequence[str] = (), *, for_role: bool = False) -> Config:
    """Reads a TOML file or preset name, lays `key.path=value` overrides over it and checks the whole.

    `for_role`: a role is laid over it next (`node.config.roles`), so what only a swarm may have is no fault where
    the config names none. Raises ConfigError with the offending key and the nearest known one.
    """
    file = find_config(source)
    tree = _read_toml(file)
    make_paths_absolute(tree, file.parent)
    for override in overrides:
        _lay_over(tree, override)
    make_paths_absolute(tree, Path.cwd())
    if for_role and tree.get("swarm", {"type": "silo"}) == {"type": "silo"}:
        tree["swarm"] = {"type": "dht"}
    return parse_config(tree)


def parse_config(tree: Mapping[str, Any]) -> Config:
    """Checks a plain tree. Raises ConfigError."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error, Config, RENAMED)) from None


def find_config(source: str | Path) -> Path:
    """A file as given, else the preset of that name. Raises ConfigError with the presets there are."""
    given = Path(source)
    if given.is_file():
        return given
    for folder in PRESETS:
        if (preset := folder / f"{given.name.removesuffix('.toml')}.toml").is_file() and given.name == str(
            given
        ):
            return preset
    known = sorted({path.stem for folder in PRESETS for path in folder.glob("*.toml")})
    raise ConfigError(f"no config file or preset {str(source)!r}; presets: {', '.join(known)}")


def resolved_json(config: Config) -> str:
    """The whole config with every default filled in, as it is kept in the run folder."""
    return config.model_dump_json(indent=2)


def read_resolved(path: Path) -> Config:
    """Reads what `resolved_json` wrote, also under keys that were renamed since. Raises ConfigError."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is damaged ({error}): start a new run, or restore the file") from None
    return parse_config(_with_new_names(tree))


def _with_new_names(tree: Any) -> Any:
    """A stored tree with its keys of before under their names of today; a task's parameters are its own."""
    if isinstance(tree, list):
        return [_with_new_names(part) for part in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        RENAMED.get(key, key): part if key == "params" else _with_new_names(part)
        for key, part in tree.items()
    }


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def _lay_over(tree: dict[str, Any], override: str) -> None:
    """Applies one `a.b=value`; the value is read as TOML and, failing that, as a bare string."""
    path, separator, text = override.partition("=")
    if not separator or not path.strip():
        raise ConfigError(f"--set takes key=value, got {override!r}")
    *parents, last = path.strip().split(".")
    branch = tree
    for key in parents:
        branch = branch.setdefault(key, {})
        if not isinstance(branch, dict):
            raise ConfigError(f"--set {path}: {key} is a value, not a section")
    try:
        branch[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        branch[last] = text
