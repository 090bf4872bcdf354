"""`murmur rollouts`, `runs`, `stats`, `replay`: what they tell of a run; no text of a peer gets through raw."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import unicodedata
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from kept_rollouts import HOSTILE, IMAGE, PEER, TASK, rollout
from sample_events import ROUND
from typer.testing import CliRunner

from node.cli import app
from node.config.reading import load_config
from node.storage.events import ProblemEvent, Store
from node.storage.rollout_rows import RoundRollouts, ScoredGroup
from node.storage.run_folder import RunFolder
from node.ui.inspect import rollout_list
from policies.rollout import Group
from swarm.visible_text import UNSAFE_CATEGORIES, one_line, plain_json, visible

run = CliRunner().invoke


def told(*arguments: object) -> str:
    result = run(app, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def as_json(*arguments: object) -> dict[str, object]:
    found: dict[str, object] = json.loads(told(*arguments, "--json"))
    return found


def ids(*arguments: object) -> list[int]:
    return [each["id"] for each in as_json("rollouts", *arguments)["rollouts"]]  # type: ignore[attr-defined]


def test_more_of_a_group_than_a_page_holds_is_counted(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of rollouts a prompt are nothing unusual (BroRL)."""
    first = next(number for number in range(5, 13) if len(whole(number)) > 2)  # a peer's group of several
    monkeypatch.setattr("node.ui.inspect.rollout_page.GROUP_LIMIT", 2)
    others = whole(first)
    page = told("rollouts", "show", first)
    shown = sum(f"\n{other:>8}  " in page for other in others)
    assert shown < len(others) and f"and {len(others) - shown} more, whose ids --json lists too" in page


def whole(number: int) -> list[int]:
    return as_json("rollouts", "show", number)["others"]  # type: ignore[return-value]


def test_the_filters_choose_and_order(folder: RunFolder) -> None:
    assert ids() == [13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1] == ids("runs/swim-1")
    assert ids("--round", 1) == [4, 3, 2, 1] and ids("runs/swim-1", "--round", 1, "--limit", 1) == [4]
    assert ids("--task", "digits") == [13] and ids("--external", "--peer", "…lePeer1") == list(
        range(12, 4, -1)
    )
    assert ids("--own", "--best", "--limit", 2) == [1, 13] and ids("--worst", "--limit", 1) == [4]


def test_rollouts_are_chosen_by_reward_and_by_what_became_of_them(folder: RunFolder) -> None:
    assert ids("--right") == [1] and ids("--wrong", "--own") == [13, 4, 3, 2]
    assert ids("--verdict", "trained") == [*range(13, 4, -1), 2, 1] and ids("--verdict", "untrained") == [
        4,
        3,
    ]
    for words in ("equal rewards", "equal rewards (all wrong)"):
        assert ids("--verdict", words) == [4, 3]
    assert ids("--verdict", "All wrong") == [4, 3] and ids("--verdict", "down-sampled") == []
    assert [each["reason"] for each in as_json("rollouts", "--refused", "--verdict", "stale")["refused"]] == [  # type: ignore[attr-defined]
        "stale"
    ]
    assert as_json("rollouts", "--refused", "--verdict", "size")["refused"] == []
    assert "kept is of task digits and wrong and equal rewards (all right)." in told(
        *("rollouts", "--task", "digits", "--wrong", "--verdict", "all_right")
    )


def test_new_rollouts_are_followed_until_no_process_plays_the_run(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder, group = folder.lock(), Group(TASK.problem(5), (rollout("later", 1.0),))

    def play_on(seconds: float) -> None:
        with closing(Store(folder.events, 10**7)) as store:
            kept = RoundRollouts(3, [ScoredGroup(group, (0.5,))])
            store.append(replace(ROUND, round=3), rollouts=kept)
        holder.close()

    monkeypatch.setattr(rollout_list.time, "sleep", play_on)
    lines = told("rollouts", "--follow", "--own", "--limit", 2).splitlines()
    firsts = [line.split(" ")[0] for line in lines]
    assert firsts == [
        "runs/swim-1",
        "id",
        "4",
        "13",
        "14",
        "runs/swim-1:",
    ]  # one heading for the same columns
    assert "later" in lines[-2] and "no process plays this run now" in lines[-1]
    followed = told("rollouts", "--follow", "--right", "--json").splitlines()
    assert [json.loads(line)["id"] for line in followed] == [1, 14]


def test_the_list_says_what_was_trained_on_and_why_not(folder: RunFolder) -> None:
    lines = told("rollouts", "--round", 1).splitlines()
    assert any("+0.500" in line and TASK.problem(3).answer in line for line in lines)
    assert sum("all wrong" in line for line in lines) == 2
    assert any(
        "stale" in line and "announced 700 s ago" in line
        for line in told("rollouts", "--refused").splitlines()
    )


def test_of_a_round_the_own_rollouts_come_first_and_all_are_listed(folder: RunFolder) -> None:
    assert ids("--round", 2) == [13, *range(12, 4, -1)] and ids("--round", 2, "--worst")[0] == 12
    group = Group(TASK.problem(6), tuple(rollout(str(each), 0.0) for each in range(60)))
    with closing(Store(folder.events, 10**7)) as store:
        scored = ScoredGroup(group, (None,) * 60, "all_wrong")
        store.append(replace(ROUND, round=3), rollouts=RoundRollouts(3, [scored]))
    assert len(ids("--round", 3)) == 60 and len(ids()) == 20


def test_groups_are_shown_with_their_problems(folder: RunFolder) -> None:
    page = told("rollouts", "--round", 1, "--show")
    lines = [" ".join(line.split()) for line in page.splitlines()]
    first = lines.index(f"round 1, own, {TASK.name}, seed 3")
    assert TASK.problem(3).prompt in page and f"right answer: {TASK.problem(3).answer}" in lines[first:]
    assert "rollout 1, reward 1.000, advantage +0.500" in lines[first:]
    assert "rollout 4, reward 0.000, not trained on: equal rewards (all wrong)" in lines[:first]
    assert as_json("rollouts", "--show")["fitting"] == 13
    assert "kept is of task binary." in told("rollouts", "--show", "--task", "binary")


def test_a_peers_zero_advantages_are_explained_where_only_positive_ones_count(folder: RunFolder) -> None:
    why = "of peers this run takes only positive advantages"
    assert told("rollouts", "--round", 2, "--show").count(why) == 1 and why not in told(
        "rollouts", "--round", 1, "--show"
    )


def test_one_rollout_is_shown_whole_with_its_problem_and_group(folder: RunFolder) -> None:
    page = told("rollouts", "show", 1)
    assert TASK.problem(3).prompt in page and "reward 1.000, advantage +0.500" in page
    assert "       2  0.000        -0.500  own  no" in page.splitlines()
    assert as_json("rollouts", "show", 1, "runs/swim-1")["others"] == [2]


def test_an_image_is_written_as_a_file_that_others_read(folder: RunFolder, tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    assert "an image of 2 x 2" in told("rollouts", "show", 13, "--image", "three.png")
    with pillow.open(tmp_path / "three.png") as opened:
        assert (opened.size, opened.mode, opened.tobytes()) == ((2, 2), "RGB", IMAGE.pixels)
    refused = run(app, ["rollouts", "show", "1", "--image", "text.png"])
    assert refused.exit_code == 2 and "leave out --image" in refused.output and not Path("text.png").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rollouts", "show", "99"], "keeps no rollout 99"),
        (["rollouts", "--own", "--external"], "--own or --external"),
        (["rollouts", "--best", "--worst"], "--best or --worst"),
        (["rollouts", "--refused", "--best"], "leave out"),
        (["rollouts", "runs/none"], "holds no run"),
        (["replay", "runs/swim-1", "99"], "keeps no rollout 99"),
        (["replay", "runs/swim-1", "13"], "digits@1 cannot be scored again"),
    ],
)
def test_what_cannot_be_shown_is_said(folder: RunFolder, arguments: list[str], words: str) -> None:
    result = run(app, arguments)
    assert result.exit_code == 2 and words in " ".join(result.output.split())


COMMANDS = [
    ["rollouts", "--limit", "99"],
    ["rollouts", "--refused"],
    ["rollouts", "--show", "--limit", "99"],
    ["rollouts", "--limit", "99", "--json"],
    ["rollouts", "--refused", "--json"],
    *(["rollouts", "show", str(number)] for number in range(5, 13)),
    ["rollouts", "show", "5", "--json"],
    ["stats"],
    ["runs"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_nothing_of_a_peer_is_printed_raw(folder: RunFolder, arguments: list[str]) -> None:

    shown = told(*arguments)
    unsafe = {c for c in shown if unicodedata.category(c) in UNSAFE_CATEGORIES} - {"\n"}
    assert unsafe == set() and "\u0301" * 3 not in shown and "\u3164" not in shown
    assert max(map(len, shown.splitlines())) < 400 or "--json" in arguments


def test_markup_stays_text_and_forged_lines_stay_behind_a_bar(folder: RunFolder) -> None:
    assert HOSTILE[3] in told("rollouts", "show", 8)
    page = told("rollouts", "show", 12).splitlines()
    assert page.count("  │ reward 1.000, advantage +9.000") == 3
    assert "reward 1.000, advantage +9.000" not in page and page[0] == f"rollout 12, round 2, from {PEER}"


def test_json_keeps_texts_exact(folder: RunFolder) -> None:
    found = as_json("rollouts", "--external", "--limit", 99)["rollouts"]
    assert [each["text"] for each in found] == list(reversed(HOSTILE))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[0m", r"\x1b[0m"),
        ("a\tb\r\u202e", r"a\tb\r\u202e"),
        ("\U000e0041", r"\U000e0041"),
        ("ä é 数 🙂", "ä é 数 🙂"),
        ("x\ny", "x\ny"),
        ("y" * 20, "y" * 12 + "… (8 more characters)"),
    ],
)
def test_texts_are_made_visible(text: str, shown: str) -> None:
    assert visible(text, 12) == shown
    assert "\n" not in one_line(text) and len(one_line(text * 99)) <= 160


def test_json_is_printable_ascii() -> None:
    text = "".join(map(chr, range(0x250))) + "\u202e\ud800"
    assert json.loads(plain_json(text)) == text and all(" " <= c <= "~" for c in plain_json(text))


def test_stats_tell_phases_rewards_and_peers(folder: RunFolder) -> None:
    stats = as_json("stats")
    phases = {"sampling": 1.0, "scoring": 0.2, "exchange": 0.0, "update": 0.6, "other": 0.2}
    assert stats["phases"] == pytest.approx(phases)
    assert stats["tasks"]["sort@1"]["first"] == 0.25 and stats["tasks"][TASK.name]["last"] == 0.75  # type: ignore[index]
    assert [row["peer"] for row in stats["peers"]] == [PEER]  # type: ignore[attr-defined]
    assert as_json("stats", "--last", 1)["tasks"].keys() == {TASK.name}  # type: ignore[attr-defined]
    page = told("stats", "runs/swim-1")
    assert (
        "sampling" in page and "50%" in page and "lePeer1" in page and "equal rewards (all wrong) 2" in page
    )


def test_stats_say_whether_it_learns_and_where_its_weights_are(folder: RunFolder) -> None:
    assert "weights: none saved yet" in told("stats", "runs/swim-1")
    for name in ("round-00000002", "best-00000001"):
        (folder.checkpoints / name).mkdir()
        (folder.checkpoints / name / "state.json").write_text("{}")
    page = told("stats", "runs/swim-1")
    assert "Too few to say whether it learns: 2 rounds" in page and "0.500 after round 2" in page
    assert "weights: runs/swim-1/checkpoints/round-00000002, after round 2; the best" in page
    assert "take them away" not in page  # as for images, which are not exported
    (folder.checkpoints / "round-00000002" / "policy" / "weights").mkdir(parents=True)
    page = told("stats", "runs/swim-1")
    command = page.partition("take them away: ")[2].splitlines()[0]
    assert command.endswith("export runs/swim-1 my-model")
    Path("my-model").mkdir()
    Path("my-model-2").mkdir()
    assert (
        told("stats", "runs/swim-1")
        .rstrip()
        .partition("take them away: ")[2]
        .splitlines()[0]
        .endswith("my-model-3")
    )
    stats = as_json("stats")
    assert stats["trend"]["state"] == "unknown" and stats["weights"]["best_round"] == 1  # type: ignore[index]


def test_one_problem_is_found_by_its_seed(folder: RunFolder) -> None:
    assert ids("--task", "maximum", "--seed", 3) == [*range(12, 4, -1), 2, 1]  # of the peer, and own ones
    assert ids("--seed", 99) == []


def test_a_replayed_rollout_agrees_or_says_that_it_does_not(folder: RunFolder) -> None:
    assert "the rewards agree" in told("replay", "runs/swim-1", 1)
    wrong = run(app, ["replay", "runs/swim-1", "5"])  # kept with 0.25, which no text of this task earns
    assert wrong.exit_code == 1 and "DIFFER" in wrong.output
    assert json.loads(run(app, ["replay", "runs/swim-1", "5", "--json"]).stdout)["agrees"] is False


def test_a_round_is_replayed_with_its_groups_advantages_and_update(folder: RunFolder) -> None:
    with closing(Store(folder.events)) as store:
        store.append(ProblemEvent(1, TASK.name, 3, 1, 2, 2, 0.5, None))
    page = told("replay", folder.path, "--round", 1)
    for words in (
        "runs/swim-1, round 1: own reward 0.250, 100 tokens, 1.00 s (sampling 0.50, scoring 0.10",
        ", other 0.",
        "update: 4 own groups and 2 of peers, 2 places left empty; loss +0.1000, gradient norm 1.5, entropy 0.7",
        "4 rollouts scored again: all agree with what is kept",
    ):
        assert words in page
    lines = [" ".join(line.split()) for line in page.splitlines()]
    assert f"1 own {TASK.name} 3 1 of 2 1 0 +0.500 -0.500 agrees" in lines
    assert f"3 own {TASK.name} 4 - 0 0 equal rewards (all wrong) agrees" in lines
    second = run(
        app, ["replay", "runs/swim-1", "--round", "2"]
    )  # rewards that the texts do not earn; an image
    assert second.exit_code == 1 and "these DIFFER: 5, 6, 7" in second.stdout
    assert "refused of peers: 1 (stale 1)" in second.stdout
    assert "digits@1 cannot be scored again" in second.stdout
    told_of = json.loads(run(app, ["replay", "runs/swim-1", "--round", "2", "--json"]).stdout)
    assert [group["agrees"] for group in told_of["groups"]] == [False, True]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--round", "9"], "Round 9 was not played: the newest is 2."),
        ([], "replay takes the id of a rollout, or --round with the number of a round"),
        (["1", "--round", "1"], "replay takes the id of a rollout, or --round"),
    ],
)
def test_what_cannot_be_replayed_is_said(folder: RunFolder, arguments: list[str], words: str) -> None:
    refused = run(app, ["replay", "runs/swim-1", *arguments])
    assert refused.exit_code == 2 and words in " ".join(refused.output.split())


def test_a_run_of_before_has_no_rollouts_and_says_so(folder: RunFolder) -> None:
    with closing(sqlite3.connect(folder.events)) as db, db:
        names = db.execute(
            "SELECT name FROM sqlite_master WHERE type='table' AND name != 'events'"
        ).fetchall()
        for (name,) in names:
            db.execute(f"DROP TABLE {name}")
    assert "No rollouts are kept here" in told("rollouts")
    assert "4 records of peers were refused, and none of them is kept here" in told("rollouts", "--refused")


def test_the_list_names_problems_and_counts_what_fits_the_filters(folder: RunFolder) -> None:
    page = told("rollouts", "--round", 1, "--limit", 3)
    assert "3 of 4 that fit; --limit N shows more." in page and "Kept in all: 13 rollouts" in page
    columns = [line.split()[:5] for line in page.splitlines() if line.startswith(("4 ", "2 ", "id"))]
    assert columns == [
        ["id", "round", "from", "task", "seed"],
        ["4", "1", "own", TASK.name, "4"],
        ["2", "1", "own", TASK.name, "3"],
    ]
    assert "4 that fit, all shown." in told("rollouts", "--round", 1)
    assert as_json("rollouts", "--round", 1, "--limit", 3)["fitting"] == 4
    assert "1 that fit, all shown." in told("rollouts", "--refused")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--external --round 3", "No group of a peer was in the update of round 3."),
        (
            "--external --task digits",
            "None of the 13 rollouts that are kept is of a peer and of task digits.",
        ),
        ("--refused --round 3", "Nothing of a peer was refused in round 3."),
        ("--refused --verdict size", "No group that was refused is size."),
    ],
)
def test_an_empty_answer_says_why(folder: RunFolder, arguments: str, words: str) -> None:
    with closing(Store(folder.events)) as store:
        store.append(replace(ROUND, round=3, trained_external=0, refused={}))
    assert words in told("rollouts", *arguments.split())


def test_a_run_without_peers_says_that_nothing_came_or_was_refused(folder: RunFolder) -> None:
    alone = RunFolder(Path("runs/alone-1"))
    alone.create(load_config("tiny"))
    with closing(Store(alone.events)) as store:
        store.append(replace(ROUND, trained_external=0, refused={}))
    assert "Nothing of a peer was refused at all." in told("rollouts", alone.path, "--refused")
    assert "No group of a peer was in any update so far." in told("rollouts", alone.path, "--external")


def test_nothing_heavy_is_loaded(folder: RunFolder) -> None:
    program = (
        "import json, sys; from typer.testing import CliRunner; from node.cli import app; "
        "told = CliRunner().invoke(app, sys.argv[1:]); assert told.exit_code == 0, told; "
        "print(json.dumps([m for m in ('torch', 'transformers', 'trl', 'hivemind') if m in sys.modules]))"
    )
    for arguments in (
        ["rollouts"],
        ["rollouts", "show", "1"],
        ["runs"],
        ["stats"],
        ["replay", "runs/swim-1", "1"],
    ):
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, check=True)
        assert json.loads(done.stdout) == []
