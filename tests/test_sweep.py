from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from ruamel.yaml import YAML

from src.evaluation.ranking import Run
from src.evaluation.seeds import MoreSeeds
from src.experiments.git import head, lacks_ancestors, workspace_tree
from src.params import Params, parse, read
from src.runtime.errors import UserError
from src.sweep import queue, queue_sweep
from src.sweep.__main__ import MAX_WORKERS, main, open_sweep, parse_arguments, run_by_halving
from src.sweep.baseline import Baseline, uncommitted_code
from src.sweep.grid import Combination, as_ranges, parse_grid, without_repetitions
from src.sweep.queue import CommandError, Task
from src.sweep.queue_sweep import LOCK, QueueSweep
from src.sweep.sweep import ATTEMPTS, Sweep, end_of
from src.sweep.table import advice, conclusion, conclusions
from src.sweep.workers import queue_workers
from tests.conftest import ROOT, Clone, Command, output
from tests.experiments import Experiment, add_experiments


def test_every_combination_once_with_a_name_of_its_own(params: Params) -> None:
    grid = parse_grid(["lr=0.01,1e-3,0.01", "optimizer=SGD,Adam"], params.model_dump())
    assert [str(combination) for combination in grid] == [
        "lr=0.01 optimizer=SGD",
        "lr=0.01 optimizer=Adam",
        "lr=1e-3 optimizer=SGD",
        "lr=1e-3 optimizer=Adam",
    ]
    names = [combination.name for combination in grid]
    assert len(set(names)) == 4
    assert re.fullmatch(r"lr-0\.01-optimizer-SGD-[0-9a-f]{6}", names[0])
    for name in names:
        assert subprocess.run(("git", "check-ref-format", f"refs/exps/{name}"), check=False).returncode == 0


def test_a_name_stands_for_parameters_and_code(params: Params) -> None:
    def name(word: str, base: dict[str, object], code: str = "") -> str:
        return parse_grid([word], base, code)[0].name

    base = params.model_dump()
    assert name("val_fraction=1/6", base) == name("val_fraction=1/6", base)
    assert name("lr=0.01", base) != name("lr=0.01", base | {"epochs": 3})
    assert name("lr=0.01", base) != name("lr=0.01", base, code="+ a changed line")
    (first,), (second,) = (parse_grid(words, base) for words in (["seed=3", "lr=1"], ["lr=1", "seed=3"]))
    assert first.name == second.name
    long = [
        f"{key}={base[key]}" for key in ("optimizer", "lr", "momentum", "weight_decay", "init", "schedule")
    ]
    names = [combination.name for combination in parse_grid([*long, "epochs=5", "seed=0..999"], base)]
    assert len(set(names)) == 1000
    assert re.fullmatch(r"optimizer-.{70}_seed-0-[0-9a-f]{12}", names[0])
    assert parse_grid(
        ["epochs=1"] + [f"{key}={value}" for key, value in base.items() if key != "epochs"], base
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lr"], "'lr' is invalid; expected key=value,value,…"),
        (["=0.1"], "'=0.1' is invalid"),
        (["lr=0.1,"], "'lr=0.1,' is invalid"),
        (["lr=0.1", "lr=0.2"], "lr is given twice"),
        (["learning_rate=0.1"], "grid: unknown key 'learning_rate'; expected dataset"),
        (["optimizer=SGD,SGDX"], "grid: optimizer: 'SGDX' is invalid; expected one of SGD"),
        (["lr=0.1,[0.2"], "grid: lr: '[0.2' is invalid; expected a number > 0"),
        (["warmup_epochs=50"], "grid: warmup_epochs: 50 is invalid"),
        (["seed=4..0"], "seed: '4..0' is invalid; expected an integer ≥ 0 and ≤ 4294967295, or a range"),
        (["seed=0..1000"], "or a range of at most 1,000 values, the lowest first, such as 0..4"),
        (["seed=0..x"], "seed: '0..x' is invalid"),
        (["seed=0.." + 5000 * "9"], "9' is invalid; expected an integer ≥ 0"),
        (["seed=1,0..,5"], "seed: '0..' is invalid"),
        (["epochs=0..2"], "grid: epochs: 0 is invalid; expected an integer ≥ 1"),
        (["lr=0..1"], "grid: lr: '0..1' is invalid; expected a number > 0"),
        (["sed=0..4"], "grid: unknown key 'sed'"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_queued(params: Params, words: list[str], said: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_grid(words, params.model_dump())
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_ranges_of_integers_have_both_ends(params: Params) -> None:
    grid = parse_grid(["lr=0.01", "seed=0..2,7,1", "epochs=12..13"], params.model_dump())
    assert [combination.seed for combination in grid[::2]] == [0, 1, 2, 7]
    assert [combination.values["epochs"] for combination in grid[:2]] == ["12", "13"]
    assert {combination.setting for combination in grid} == {"lr=0.01 epochs=12", "lr=0.01 epochs=13"}
    assert parse_grid(["seed=0..999"], params.model_dump())[999].seed == 999
    listed = parse_grid(["seed=0,1,2"], params.model_dump())
    assert parse_grid(["seed=0..2"], params.model_dump()) == listed, "the same names, too"
    assert as_ranges([7, 0, 1, 2, 4, 5]) == "0..2,4,5,7"


def test_the_same_network_is_not_trained_twice(params: Params) -> None:
    def kept(*words: str) -> tuple[list[str], list[str]]:
        combinations, lines = without_repetitions(parse_grid(list(words), params.model_dump()))
        return [str(combination) for combination in combinations], lines

    assert kept("optimizer=SGD,Adam", "momentum=0.8,0.9") == (
        ["optimizer=SGD momentum=0.8", "optimizer=SGD momentum=0.9", "optimizer=Adam momentum=0.8"],
        ["momentum: Adam does not read it; skipped: 1 of 4 combinations"],
    )
    assert kept("lr=0.01,1e-2,0.02")[0] == ["lr=0.01", "lr=0.02"]
    assert kept("momentum=0.8", "lr=0.01,0.02")[1] == []
    with pytest.raises(UserError) as refusal:
        kept("model=convnet,lenet5_1998", "pooling=max,avg")
    assert str(refusal.value) == (
        "pooling: convnet does not read it; expected one value, since all would train the same network"
    )
    with pytest.raises(UserError, match="folds: only the cross-validation study reads it"):
        kept("folds=3,5", "seed=0..2")


def seeded_grid(
    words: list[str], params: Params
) -> tuple[list[Combination], Callable[[int], list[Combination]]]:
    """A grid, and what gives the same one with a seed."""
    base = params.model_dump()
    return parse_grid(words, base), lambda seed: parse_grid([*words, f"seed={seed}"], base)


def results(grid: list[Combination], accuracies: list[float]) -> dict[str, Run]:
    return {
        combination.name: Run(accuracy, 0.1) for combination, accuracy in zip(grid, accuracies, strict=True)
    }


def test_one_seed_each_is_said_and_ties_go_to_the_lower_loss(params: Params) -> None:
    grid = parse_grid(["lr=0.01,0.02,0.03"], params.model_dump())
    sweep = Settled({})
    for combination, accuracy, loss in zip(grid, [0.9, 0.95, 0.95], [0.1, 0.1, 0.09], strict=True):
        sweep._todo[combination.name] = combination
        sweep._finish(combination.name, {"val_accuracy": accuracy, "val_loss": loss})
    found = sweep.results
    lines = conclusion(grid, found).splitlines()
    assert lines[0].split() == ["experiment", "lr", "val_accuracy"]
    assert [line.split()[1:] for line in lines[1:4]] == [
        ["0.03", "95.00%"],
        ["0.02", "95.00%"],
        ["0.01", "90.00%"],
    ]
    assert lines[4:] == [
        "",
        "one seed each: another seed may order them otherwise (SEEDS=5, SEEDS=auto)",
        f"the best: dvc exp apply {grid[2].name}",
    ]


def test_what_differs_only_in_its_seed_is_one_setting(params: Params) -> None:
    grid = parse_grid(["lr=0.01,0.02,0.03", "seed=0..2"], params.model_dump())
    # Paired differences of 0.02 to the best: 1, 2 and 0 points; of 0.03: 40, 41 and 42.
    found = results(grid, [0.90, 0.91, 0.92, 0.89, 0.89, 0.92, 0.50, 0.50, 0.50])
    lines = conclusion(grid, found).splitlines()
    assert [line.split()[0] for line in lines[1:10]] == [
        grid[place].name for place in (2, 1, 0, 5, 3, 4, 6, 7, 8)
    ], "by setting, then by accuracy, loss and name"
    assert lines[11:15] == [
        "  lr val_accuracy   sd  n difference         interval  ",
        "0.01       91.00% 1.00  3                              ",
        "0.02       90.00% 1.73  3      -1.00   -3.48 to +1.48 *",
        "0.03       50.00% 0.00  3     -41.00 -45.42 to -36.58  ",
    ]
    assert lines[16:] == [
        "sd, differences to the best and their 95 % intervals in points, paired by seed, corrected for 3 "
        "settings (Holm)",
        "the intervals cover other seeds, not other images",
        "* not significantly different from the best: 1 of 2",
        "10 seeds each would tell lr=0.01 from lr=0.02, if the difference stays what it is:",
        "make sweep GRID='lr=0.01,0.02 seed=0..9'",
        f"the best run of the best setting: dvc exp apply {grid[2].name}",
    ]


def test_a_setting_is_not_compared_by_those_of_its_runs_that_went_well(params: Params) -> None:
    grid = parse_grid(["lr=0.01,1", "seed=0..2"], params.model_dump())
    found = results(grid, [0.90, 0.91, 0.92, 0.99, 0.99, 0.99])
    del found[grid[4].name]
    lines = conclusion(grid, found).splitlines()
    assert "not compared: lr=1, of which 1 of 3 runs have no result" in lines
    table = "\n".join(lines).split("\n\n")[1]
    assert [line.split()[0] for line in table.splitlines()] == ["lr", "0.01"]
    assert lines[-1] == f"the best run of the best setting: dvc exp apply {grid[2].name}"


def test_where_all_settings_lack_runs_they_are_compared_by_the_seeds_that_all_have(params: Params) -> None:
    grid = parse_grid(["lr=0.01,0.02", "seed=0..4"], params.model_dump())
    # The first seed is hard for both, and the second setting is better with every seed.
    found = results(grid, [0.80, 0.97, 0.98, 0.99, 0.98, 0.81, 0.975, 0.984, 0.994, 0.99])
    del found[grid[0].name], found[grid[9].name]
    *lines, last = conclusion(grid, found).splitlines()
    assert "compared by the seeds 1..3 alone: lr=0.01, of which 1 of 5 runs have no result" in lines
    assert last == f"the best run of the best setting: dvc exp apply {grid[8].name}"
    assert [line.split()[:4] for line in "\n".join(lines).split("\n\n")[1].splitlines()[1:]] == [
        ["0.02", "98.43%", "0.95", "3"],
        ["0.01", "98.00%", "1.00", "3"],
    ]
    # One that has failed with every seed stops no comparison of the others; alone, a setting has none.
    more = [*grid, *parse_grid(["lr=100", "seed=0..4"], params.model_dump())]
    assert "not compared: lr=100, of which 5 of 5 runs have no result" in conclusion(more, found).splitlines()
    assert conclusion(more, found).splitlines()[-1] == last
    alone = conclusion(grid[:5], found)
    assert alone.splitlines()[-1] == f"the best run of the best setting: dvc exp apply {grid[3].name}"
    assert "compared" not in alone
    for lost in (grid[1], grid[2], grid[7]):
        del found[lost.name]
    assert conclusion(grid, found).splitlines()[-2:] == [
        "not compared: lr=0.01, of which 3 of 5 runs have no result",
        "not compared: lr=0.02, of which 2 of 5 runs have no result",
    ]


def test_after_another_choice_the_advice_is_about_that_one(params: Params) -> None:
    grid = parse_grid(["lr=0.01,0.02,0.03", "seed=0..2"], params.model_dump())
    found = results(grid, [0.90, 0.91, 0.92, 0.89, 0.89, 0.92, 0.93, 0.91, 0.92])
    lines = conclusion(grid, found, chosen="lr=0.01").splitlines()
    assert any(" seeds each would tell lr=0.01 from lr=0.0" in line for line in lines)


def test_the_command_for_more_seeds_names_the_pair_or_the_whole_grid(params: Params) -> None:
    grid = parse_grid(["lr=0.01,0.02", "optimizer=SGD,Adam", "seed=3,4"], params.model_dump())

    def words(best: str, rival: str) -> str:
        return advice(MoreSeeds(best, rival, [3, 4, 5, 6]), grid).splitlines()[1]

    assert words("lr=0.01 optimizer=SGD", "lr=0.01 optimizer=Adam") == (
        "make sweep GRID='lr=0.01 optimizer=SGD,Adam seed=3..6'"
    )
    assert words("lr=0.01 optimizer=SGD", "lr=0.02 optimizer=Adam") == (
        "make sweep GRID='lr=0.01,0.02 optimizer=SGD,Adam seed=3..6'"
    )
    assert advice(None, grid).startswith("too few common seeds, or too small a difference")
    grid = [replace(each, values={"dataset": "my shapes", **each.values}) for each in grid]
    assert words("dataset=my shapes lr=0.01 optimizer=SGD", "dataset=my shapes lr=0.02 optimizer=SGD") == (
        "python -m src.sweep 'dataset=my shapes' lr=0.01,0.02 optimizer=SGD seed=3..6"
    )


def test_what_was_validated_on_other_images_is_not_compared(params: Params) -> None:
    grid = parse_grid(["split_seed=0,1", "lr=0.01,0.02", "seed=0..2"], params.model_dump())
    found = results(grid, [0.90, 0.91, 0.92, 0.89, 0.89, 0.92, 0.98, 0.98, 0.99, 0.99, 0.98, 0.99])
    said = conclusions(grid, found)
    assert said == (
        f"split_seed=0:\n{conclusion(grid[:6], found)}\n\nsplit_seed=1:\n{conclusion(grid[6:], found)}\n\n"
        "not compared with each other: they may have been validated on different images"
    )
    assert said.count("the best run of the best setting: dvc exp apply split-seed-") == 2
    only = {each.name: found[each.name] for each in grid[:6]}
    assert conclusions(grid, only).count("the best run") == 1
    assert "not compared" not in conclusions(grid, only)
    assert conclusions(grid[:6], found) == conclusion(grid[:6], found)
    sweep = Settled({})
    different_images, with_seed = seeded_grid(["dataset=Digits,MNIST"], params)
    with pytest.raises(
        UserError, match=r"^--seeds: 'auto' is invalid with several values of what decides the "
    ):
        run_by_halving(sweep, different_images, with_seed, None)


def test_the_names_follow_the_code_of_the_pipeline(
    clone: Clone, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone.path)
    params = read(Params).model_dump()

    def name() -> str:
        return parse_grid(["lr=0.01", "seed=0"], params, uncommitted_code())[0].name

    names = [name()]
    for path in ("src/networks/größe.py", "src/networks/lenet5.py", "stages/train.py", "dvc.yaml"):
        with (clone.path / path).open("a") as file:
            file.write("# changed\n")
        clone.git("add", path)
        names.append(name())
    assert len(set(names)) == 5
    for setting in ("diff.external=true", "diff.noprefix=true", "core.quotePath=false"):
        clone.git("config", *setting.split("="))
        assert name() == names[-1], "however a user's git shows a change"
    clone.replace("dvc.yaml", "      - stages/train.py\n", "      - stages/train.py\n      - extra.txt\n")
    (clone.path / "extra.txt").write_text("a list of words")
    clone.git("add", "extra.txt")
    names.append(name())
    (clone.path / "extra.txt").write_text("another list of words")
    names.append(name())
    assert len(set(names)) == 7
    (clone.path / "README.md").write_text("changed")
    (clone.path / "metrics/train.json").write_text("{}")
    with (clone.path / "src/serve/server.py").open("a") as file:
        file.write("# no stage runs it\n")
    assert name() == names[-1]
    # What an earlier version of the code has found is not taken for a result of this one.
    accuracies = zip(names, (0.1, 0.2, 0.3, 0.4, 0.45, 0.475, 0.5), strict=True)
    add_experiments(
        clone, [Experiment(earlier, {"lr": 0.01}, {"val_accuracy": each}) for earlier, each in accuracies]
    )
    found = command(clone, "src.sweep", "--seeds", "1", "lr=0.01").stdout
    assert "1 of 1 were done before" in found
    assert "50.00%" in found
    assert "10.00%" not in found


def test_experiments_are_queued_from_one_workspace(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.path)
    baseline = Baseline.now()
    baseline.refuse_changes()
    grid = parse_grid(["lr=0.01"], read(Params).model_dump(), baseline.code)
    sweep = QueueSweep(baseline, workers=1)
    clone.set_params(batch_size=32)
    clone.replace("stages/train.py", "import asdict", "import asdict  # edited")
    clone.git("commit", "--quiet", "--message=Later", "--allow-empty")
    with pytest.raises(UserError) as refusal:
        sweep.run(grid)
    assert str(refusal.value) == (
        "the commit and params.yaml and the code changed while experiments were still to be queued; expected "
        "no change before all are; those in the queue continue"
    )
    assert clone.dvc("queue", "status").stdout.splitlines()[0].startswith("No experiment tasks")


def test_a_module_that_git_does_not_know_is_refused(clone: Clone, command: Command) -> None:
    (clone.path / "src/networks/unknown.py").write_text("")
    refused = command(clone, "src.sweep", "lr=0.01", check=False)
    assert (refused.returncode, refused.stderr) == (
        1,
        "error: src/networks/unknown.py is not in git; expected `git add src/networks/unknown.py` "
        "before a sweep\n",
    )
    clone.git("add", "src/networks/unknown.py")
    assert uncommitted_code()
    (clone.path / "src/networks/größe.py").write_text("")
    with pytest.raises(UserError, match=r"^src/networks/größe\.py is not in git"):
        uncommitted_code()


def test_what_dvc_cannot_copy_for_its_queue_is_refused_before_anything_is_queued(
    clone: Clone, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_sweep, "dvc", lambda *words: pytest.fail(" ".join(words)))
    other = clone.path.rename(clone.path.with_name("größe"))
    refused = command(Clone(other), "src.sweep", "lr=0.01", check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"error: {other}/.dvc/cache: DVC's queue does not work where the path of its cache is not ASCII; "
        "expected a clone in a folder with a path in ASCII; the queue is as it was\n"
    )
    other.rename(clone.path)
    clone.git("config", "user.name", "Jörg")
    assert command(clone, "src.sweep", "lr=0.01", check=False).stderr == (
        "error: .git/config: DVC's queue does not work with 'name = Jörg', which is not ASCII; expected it "
        "in your own settings (`git config --global`), or ASCII; the queue is as it was\n"
    )
    clone.git("config", "--unset", "user.name")
    settings = clone.path / ".dvc/config.local"
    settings.write_text('[remote "team"]\n    url = /größe\n', encoding="utf-8")
    assert command(clone, "src.sweep", "lr=0.01", check=False).stderr == (
        "error: .dvc/config.local: DVC's queue does not work with 'url = /größe', which is not ASCII; "
        "expected it in your own settings (`dvc config --global`), or ASCII; the queue is as it was\n"
    )


def test_a_shallow_clone_is_refused_before_anything_is_queued(
    clone: Clone, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(queue_sweep, "dvc", lambda *words: pytest.fail(" ".join(words)))
    shallow = Clone(tmp_path / "shallow")
    clone.git("commit", "--quiet", "--allow-empty", "--message=Second")
    clone.git("clone", "--quiet", "--depth=1", clone.path.as_uri(), str(shallow.path))
    refused = command(shallow, "src.sweep", "lr=0.01", check=False)
    assert (refused.returncode, refused.stdout, refused.stderr) == (
        1,
        "",
        "error: this clone is shallow and lacks older commits; expected `git fetch --unshallow`; "
        "the queue is as it was\n",
    )


def test_the_history_of_the_commit_decides_whether_ancestors_are_lacking(
    repository: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(folder: Path) -> bool:
        monkeypatch.chdir(folder)
        return lacks_ancestors()

    repository.git("commit", "--quiet", "--allow-empty", "--message=1")
    repository.git("branch", "old")
    repository.git("commit", "--quiet", "--allow-empty", "--message=2")
    address, shallow, worktree = repository.path.as_uri(), tmp_path / "shallow", tmp_path / "worktree"
    repository.git("clone", "--quiet", "--depth=1", address, str(shallow))
    Clone(shallow).git("worktree", "add", "--quiet", str(worktree))
    assert (lacking(shallow), lacking(worktree), lacking(repository.path)) == (True, True, False)
    Clone(shallow).git("fetch", "--quiet", "--unshallow")
    assert not lacking(worktree)
    other = tmp_path / "other"
    repository.git("clone", "--quiet", "--single-branch", "--branch=old", address, str(other))
    Clone(other).git("fetch", "--quiet", "--depth=1", "origin", "main")
    assert Clone(other).git("rev-parse", "--is-shallow-repository") == "true\n"
    assert not lacking(other), "DVC does not read the commits of the other branch"


def test_the_tree_of_the_workspace_is_of_what_git_tracks(repository: Clone) -> None:
    code = repository.path / "code.py"
    code.touch()
    repository.git("add", "code.py")
    code.write_text("edited")
    (repository.path / "new.py").touch()
    tree = workspace_tree()
    assert repository.git("ls-tree", "-r", "--name-only", tree) == "code.py\n"
    assert repository.git("show", f"{tree}:code.py") == "edited"


def test_an_experiment_that_could_not_begin_names_the_logs_of_the_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*words: str) -> str:
        raise CommandError(" ".join(words))

    monkeypatch.setattr(queue, "dvc", fail)
    said = queue.last_lines_of_log(Task("abc1234", "lr-0.01", "Failed"))
    assert said == "  (it left no log; those of DVC's workers: .dvc/tmp/exps/celery/*.out)"


def test_invalid_settings_of_dvc_are_one_line(clone: Clone) -> None:
    settings = '[remote "team"]\n    user = me\n    url = /team\n'
    (clone.path / ".dvc/config.local").write_text(settings, encoding="utf-8")
    refused = clone.run("python", "-m", "src.sweep", "lr=0.01", check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith("error: dvc queue status: config file error: ")


def test_what_another_sweep_finishes_while_it_queues_is_not_queued_again(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone.path)
    (combination,) = parse_grid(["lr=0.01"], read(Params).model_dump(), uncommitted_code())
    with FileLock(LOCK):
        second = clone.start("python", "-m", "src.sweep", "lr=0.01")
        assert second.stdout is not None
        assert second.stdout.readline() == "another sweep is queueing here; waiting until it has\n"
        add_experiments(clone, [Experiment(combination.name, {"lr": 0.01}, {"val_accuracy": 0.5})])
    said, _ = second.communicate(timeout=240)
    assert (second.returncode, "queued" in said, "50.00%" in said) == (0, False, True), said


def test_a_sweep_does_not_read_what_another_one_has_in_the_workspace_while_it_queues(clone: Clone) -> None:
    clone.set_params(dropout=0.15)
    mine = clone.read("params.yaml")
    with FileLock(clone.path / LOCK):
        clone.git("checkout", "params.yaml")  # as DVC leaves it while it queues
        second = clone.start("python", "-m", "src.sweep", "lr=0.01")
        assert second.stdout is not None
        assert second.stdout.readline() == "another sweep is queueing here; waiting until it has\n"
        (clone.path / "params.yaml").write_text(mine.replace("epochs: ", "epochs: -"))
    said, _ = second.communicate(timeout=240)
    assert "epochs: -" in said, said


def test_after_a_kill_while_dvc_queues_nothing_is_swept_around_other_parameters(clone: Clone) -> None:
    clone.set_params(dropout=0.15)
    mine = clone.read("params.yaml")
    program = """
import os, signal, subprocess
from src.params import Params, read
from src.sweep import queue_sweep
from src.sweep.baseline import Baseline
from src.sweep.grid import parse_grid

def queue(*words):
    subprocess.run(("git", "stash", "--quiet"), check=True)
    os.kill(os.getpid(), signal.SIGKILL)

queue_sweep.dvc = queue
sweep = queue_sweep.QueueSweep(Baseline.now(), workers=1)
(combination,) = parse_grid(["lr=0.01"], read(Params).model_dump())
sweep._todo[combination.name] = combination
sweep._queue(combination.name)
"""
    assert clone.run("python", "-c", program, check=False).returncode == -signal.SIGKILL
    for command in (["lr=0.01"], ["lr=0.02"]):
        refused = clone.run("python", "-m", "src.sweep", *command, check=False)
        assert refused.stderr == (
            "error: a sweep ended while DVC was queueing: params.yaml may be an experiment's, and what "
            "no commit has may be in `git stash list`; once all is as you want it, remove "
            ".dvc/tmp/sweep.queueing\n"
        )
    clone.git("stash", "pop", "--quiet")
    assert clone.read("params.yaml") == mine
    assert "lr: 0 is invalid" in clone.run("python", "-m", "src.sweep", "lr=0", check=False).stderr
    assert not (clone.path / ".dvc/tmp/sweep.queueing").exists()


def test_a_signal_waits_until_an_experiment_is_queued(clone: Clone) -> None:
    clone.set_params(dropout=0.15)
    clone.replace("README.md", "# LeNet-5", "# My LeNet-5")
    program = """
import os, signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever tests in the background may ignore it
from src.params import Params, read
from src.sweep import queue_sweep
from src.sweep.baseline import Baseline
from src.sweep.grid import parse_grid

def queue(*words, dvc=queue_sweep.dvc):
    threading.Timer(0.5, os.kill, (os.getpid(), number)).start()
    dvc(*words)
    threading.Event().wait(1)
    print("in the queue", flush=True)

queue_sweep.dvc = queue
sweep = queue_sweep.QueueSweep(Baseline.now(), workers=1)
for number, lr in ((signal.SIGINT, "0.01"), (signal.SIGTERM, "0.02")):
    (combination,) = parse_grid(["lr=" + lr], read(Params).model_dump())
    sweep._todo[combination.name] = combination
    try:
        sweep._queue(combination.name)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""
    ended = clone.run("python", "-c", program, check=False)
    assert ended.returncode == -signal.SIGTERM
    assert ended.stdout.splitlines() == ["in the queue", "interrupted", "in the queue"]
    assert "dropout: 0.15" in clone.read("params.yaml")
    assert clone.read("README.md").startswith("# My LeNet-5")
    assert clone.git("stash", "list") == ""
    queued = clone.dvc("queue", "status").stdout
    assert "lr-0.01" in queued
    assert "lr-0.02" in queued


class Settled(Sweep):
    """Experiments that end at once, with these accuracies by setting; others fail."""

    def __init__(self, accuracies: dict[str, float]) -> None:
        super().__init__(Baseline("0" * 40, b"", ""))
        self.accuracies = accuracies

    def _run_the_rest(self) -> None:
        assert self._left(), "the same runs again"
        for name in self._left():
            if accuracy := self.accuracies.get(self._todo[name].setting):
                self._finish(name, {"val_accuracy": accuracy, "val_loss": 0.1})
            else:
                self._fail(name, "  diverged")

    def interrupt(self) -> str:
        return ""


def test_a_setting_that_fails_gets_no_more_seeds_and_its_runs_count(params: Params) -> None:
    sweep = Settled({"lr=0.01": 0.90, "lr=0.02": 0.95})
    grid, chosen = run_by_halving(sweep, *seeded_grid(["lr=0.01,0.02,1000"], params), budget=15)
    assert chosen == "lr=0.02"
    assert [combination.seed for combination in grid if combination.setting == "lr=1000"] == [0, 1]
    assert len(grid) == 14, "of 15 runs 2 are lost, and the others are in pairs"
    assert run_by_halving(Settled({}), *seeded_grid(["lr=0.01,0.02"], params), budget=None)[1] is None


def test_an_experiment_whose_worker_is_killed_again_has_failed(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: list[str] = []
    monkeypatch.setattr(QueueSweep, "_queue", lambda self, name: queued.append(name))
    (combination,) = parse_grid(["lr=0.01"], params.model_dump())
    sweep = QueueSweep(Baseline("0" * 40, b"", ""), workers=1)
    sweep._todo[combination.name] = combination
    for attempts in (ATTEMPTS - 1, ATTEMPTS):
        sweep._attempts[combination.name] = attempts
        sweep._lost(combination.name, None)
    assert queued == [combination.name]
    assert sweep.failed == {combination.name: "  its worker was killed, more than once"}


def test_a_failure_counts_unless_it_is_an_earlier_one_or_is_queued_again(
    params: Params, repository: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    (combination,) = parse_grid(["lr=0.01"], params.model_dump())
    name, tasks = combination.name, list[Task]()
    monkeypatch.setattr(queue_sweep.queue, "tasks", lambda: tasks)
    monkeypatch.setattr(queue_sweep.queue, "last_lines_of_log", lambda task: f"  diverged in {task.id}")
    monkeypatch.setattr(queue_sweep, "dvc", lambda *_: "")
    monkeypatch.setattr(QueueSweep, "_queue", lambda *_: None)
    monkeypatch.setattr(QueueSweep, "_wait", QueueSweep._check_queue)
    sweep = QueueSweep(Baseline("0" * 40, b"", ""), workers=1)
    tasks.append(Task("1", name, "Failed"))
    sweep.run([combination])
    assert sweep.failed == {}, "of an earlier sweep"
    tasks[:] = [Task("3", name, "Queued"), Task("2", name, "Failed")]
    sweep._check_queue()
    assert sweep.failed == {}, "another sweep has queued it again"
    tasks[:] = tasks[1:]
    sweep._check_queue()
    assert sweep.failed == {name: "  diverged in 2"}


def test_workers_do_not_hold_the_output_of_a_sweep_open(
    repository: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outputs() -> list[os.stat_result]:
        return [os.fstat(number) for number in (1, 2)]

    seen: list[os.stat_result] = []
    monkeypatch.setattr(queue_sweep, "dvc", lambda *_: seen.extend(outputs()))
    before = outputs()
    QueueSweep(Baseline("0" * 40, b"", ""), workers=1)._start_workers()
    assert [os.path.samestat(each, Path(os.devnull).stat()) for each in seen] == [True, True]
    assert all(map(os.path.samestat, outputs(), before))


def test_nothing_is_queued_while_a_stage_runs_here(
    params: Params, repository: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    (combination,) = parse_grid(["lr=0.01"], params.model_dump())
    (repository.path / ".dvc/tmp").mkdir(parents=True)
    running, left = [["train"], ["train"]], list[int]()
    monkeypatch.setattr(queue_sweep.queue, "running_stages", lambda: running.pop() if running else [])
    monkeypatch.setattr(queue_sweep.queue, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(queue_sweep, "dvc", lambda *_: left.append(len(running)))
    monkeypatch.setattr(Baseline, "refuse_changes", lambda _: None)
    sweep = QueueSweep(Baseline("0" * 40, b"", ""), workers=1)
    sweep._todo[combination.name] = combination
    sweep._queue(combination.name)
    assert left == [0]


def test_a_failure_is_shown_by_the_last_lines_of_its_log() -> None:
    assert end_of("1\n2\n\n3\n4\n5\n6\n7\n") == "  3\n  4\n  5\n  6\n  7"


def test_as_many_experiments_run_at_once_as_the_user_wants() -> None:
    many = MAX_WORKERS + 1
    with open_sweep(
        parse_arguments(["lr=0.01", "--workers", str(many)]), Baseline("0" * 40, b"", "")
    ) as sweep:
        assert isinstance(sweep, QueueSweep)
        assert sweep.workers == many


def test_seeds_where_they_decide(clone: Clone, command: Command) -> None:
    """All experiments are there: the sweep only decides which of them it needs."""
    accuracies = {"0.01": 0.90, "0.02": 0.95, "0.03": 0.93}
    params = parse(YAML(typ="safe").load(clone.read("params.yaml")), Params).model_dump()
    done = []
    for combination in parse_grid(["lr=0.01,0.02,0.03", "seed=0..9"], params):
        noise = 0.01 * (combination.seed % 2)
        metrics = {"val_accuracy": accuracies[combination.values["lr"]] + noise}
        done.append(Experiment(combination.name, combination.values, metrics))
    add_experiments(clone, done)
    words = ("src.sweep", "--seeds", "auto", "lr=0.01,0.02,0.03")
    lines = command(clone, *words).stdout.splitlines()
    assert "queued" not in "\n".join(lines)
    # A budget of 15 runs in two rounds: two seeds for each, then four more for the better two.
    assert lines[0] == "1/6 lr=0.01 seed=0: validation accuracy 90.00%"
    assert "2 of 3 settings get more seeds" in lines
    table = next(number for number, line in enumerate(lines) if line.split()[:2] == ["lr", "val_accuracy"])
    assert [line.split()[:4] for line in lines[table + 1 : table + 4]] == [
        ["0.02", "95.50%", "0.55", "6"],
        ["0.03", "93.50%", "0.55", "6"],
        ["0.01", "90.50%", "0.71", "2"],
    ]
    refused = command(clone, *words, "--budget", "5", check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.endswith(
        "error: --budget: 5 is invalid; expected at least 6, two runs of each setting\n"
    )


def test_validation_images_of_one_class_are_named(clone: Clone, command: Command) -> None:
    params = parse(YAML(typ="safe").load(clone.read("params.yaml")), Params).model_dump()
    files = {
        "plots/val_predictions.csv": "index,actual,predicted,confidence,image\n0,é a,é a,1,0\n1,é a,b,1,1\n"
    }
    one, other = parse_grid(["split_seed=1,2"], params)
    add_experiments(
        clone, [Experiment(one.name, one.values, files=files), Experiment(other.name, other.values)]
    )
    lines = command(clone, "src.sweep", "split_seed=1,2").stdout.splitlines()
    assert [line for line in lines if "class" in line] == [
        "split_seed=1: all validation images are of class 'é a': do not choose by them"
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--budget", "5", "--seeds", "2"], "--budget: 5 is invalid; expected only with --seeds auto"),
        (["--seeds", "many"], "--seeds: 'many' is invalid; expected an integer from 1 to 1,000, or auto"),
        (["--seeds", "1001"], "--seeds: '1001' is invalid; expected an integer from 1 to 1,000, or auto"),
        (
            ["--seeds", 5000 * "9"],
            f"--seeds: '{5000 * '9'}' is invalid; expected an integer from 1 to 1,000, or auto",
        ),
        (["--seeds", "0"], "--seeds: '0' is invalid; expected an integer from 1 to 1,000, or auto"),
        (["--workers", "0"], "--workers: 0 is invalid; expected an integer ≥ 1"),
        (["--workers", "2", "--address", "a:1"], "--workers: 2 is invalid; expected only without --address"),
        (["--any-bits"], "--any-bits is invalid; expected only with --address"),
        (
            ["--seeds", "auto", "seed=1,2"],
            "--seeds: 'auto' is invalid with seed=… in the grid; expected one of the two",
        ),
    ],
)
def test_a_mistaken_option_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_arguments([*words, "lr=0.01,0.02"])
    assert str(refusal.value) == said


def test_workers_of_another_repository_are_not_counted(tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    waiting = (sys.executable, "-c", "input()", "queue-worker")
    with subprocess.Popen(waiting, cwd=here, stdin=subprocess.PIPE):
        assert (queue_workers(here), queue_workers(elsewhere)) == (1, 0)


def test_an_abbreviated_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """`--seed 5` asks for one seed, not for five."""
    with pytest.raises(SystemExit):
        parse_arguments(["lr=0.01", "--seed", "5"])
    assert "unrecognized arguments: --seed 5" in capsys.readouterr().err


def test_dvc_writes_the_values_that_the_grid_has_checked(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.utils.hydra import apply_overrides

    monkeypatch.chdir(tmp_path)
    Path("data/own/Bäume").mkdir(parents=True)
    words = ["dataset=Bäume", "lr=1e-3", "seed=007", "epochs=0x10", "val_fraction=1/6", "model=lenet5_1998"]
    (combination,) = parse_grid(words, params.model_dump())
    Path("params.yaml").write_text(json.dumps(params.model_dump()))
    apply_overrides("params.yaml", combination.overrides)
    written = read(Params)
    assert json.loads(combination.params).items() <= written.model_dump().items()
    assert (written.dataset, written.seed, written.epochs) == ("Bäume", 7, 16)


def test_experiments_need_a_commit_and_a_repository_of_their_own(
    repository: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"^git has no commit here yet; expected `git commit`$"):
        head()
    repository.git("commit", "--quiet", "--allow-empty", "--message=First")
    assert head() == repository.git("rev-parse", "HEAD").strip()
    Path("course/lenet").mkdir(parents=True)
    monkeypatch.chdir("course/lenet")
    with pytest.raises(
        UserError, match=r"^course/lenet is a folder of a larger git repository; expected this "
    ):
        head()


def test_a_grid_without_its_quotes_is_refused_by_make() -> None:
    command = [
        "make",
        "--silent",
        "--dry-run",
        "sweep",
        "GRID=lr=0.01,0.05",
        "optimizer=SGD,Adam",
        "seed=0..4",
    ]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert re.search(
        r"\*\*\* (optimizer seed|seed optimizer) is unknown; expected GRID SEEDS ", refused.stderr
    )
    assert "GRID='lr=0.01 seed=0..4'" in refused.stderr
    quoted = (
        "make",
        "--silent",
        "--dry-run",
        "sweep",
        "GRID=lr=0.01 seed=0..4",
        "SEEDS=2",
        "LENET_DEVICE=cpu",
    )
    assert subprocess.run(quoted, cwd=ROOT, capture_output=True).returncode == 0
    other = ("make", "--silent", "--dry-run", "repro", "UV_CACHE_DIR=/x")
    assert subprocess.run(other, cwd=ROOT, capture_output=True).returncode == 0


def test_make_passes_a_search_its_options_and_refuses_those_of_a_sweep() -> None:
    def make(*words: str) -> subprocess.CompletedProcess[str]:
        command = ("make", "--silent", "--dry-run", "tune", *words)
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    *_, line = make("SAMPLES=4", "CONFIRM=2", "ADDRESS=head:6379", "NAME=first").stdout.split("python -m ")
    assert line.replace("\\\n", " ").split() == (
        ["src.tune", "--samples", "4", "--confirm", "2", "--address", "head:6379", "--name", "first"]
    )
    assert re.search(
        r"\*\*\* WORKERS is unknown; expected SAMPLES CONFIRM ADDRESS NAME ", make("WORKERS=1").stderr
    )


@pytest.mark.slow
def test_interrupted_it_goes_on_and_a_failure_stops_nothing(clone: Clone) -> None:
    command = ("python", "-m", "src.sweep", "--workers", "1", "lr=1000,0.01,1e-5,1e-6")
    process = clone.start(*command)
    assert process.stdout is not None
    first = []
    for line in process.stdout:
        first.append(line.strip())
        if line.startswith("1/4"):
            break
    *queued, ended = first
    assert queued == [f"queued: lr={lr}" for lr in ("1000", "0.01", "1e-5", "1e-6")]
    # A failure is noticed when the queue is asked, which may be after the next experiment has finished.
    assert re.match(r"1/4 (lr=1000: failed|lr=0.01: validation accuracy)", ended)
    process.send_signal(signal.SIGINT)
    assert "the same command resumes" in process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert "Queued" in clone.dvc("queue", "status").stdout

    result = clone.run(*command, check=False)
    assert result.returncode == 1
    lines = output(result).splitlines()
    # What a worker was about to begin may be lost by DVC, and is then queued again.
    assert "queued: lr=1e-6" not in lines, "it was in the queue still"
    failed = next(number for number, line in enumerate(lines) if re.match(r"\d/4 lr=1000: failed", line))
    assert any("try a smaller lr" in line for line in lines[failed + 1 : failed + 6]), "the end of its log"
    assert sum(": validation accuracy " in line for line in lines) == 3
    table = [line.split()[0] for line in lines if "%" in line and line.strip().startswith("lr-")]
    best, *others = [name.rpartition("-")[0] for name in table]
    assert (best, set(others)) == ("lr-0.01", {"lr-1e-5", "lr-1e-6"})
    assert f"the best: dvc exp apply {table[0]}" in lines
    assert "error: 1 of 4 experiments failed; their logs are above" in lines
    assert clone.experiments() == sorted(table)
    assert "Running stage 'prepare'" not in clone.dvc("queue", "logs", table[0]).stdout
    clone.dvc("exp", "apply", table[0])
    assert "lr: 0.01" in clone.read("params.yaml")


def sweep(clone: Clone, *words: str) -> subprocess.Popen[str]:
    return clone.start("python", "-m", "src.sweep", *words)


@pytest.mark.slow
def test_a_grid_through_dvcs_own_queue(clone: Clone) -> None:
    clone.dvc("exp", "run", "--queue", "-S", "optimizer=SGD,Adam", "-S", "lr=0.01,0.05")
    clone.dvc("queue", "start", "-j", "2")
    until = time.monotonic() + 240
    while len(clone.experiments()) < 4:
        status = clone.dvc("queue", "status").stdout
        assert time.monotonic() < until and "Failed" not in status, status
        if not queue_workers(clone.path):  # DVC's may stop early
            clone.dvc("queue", "start", "-j", "2")
        time.sleep(2)
    for name in clone.experiments():
        log = clone.dvc("queue", "logs", name).stdout
        assert "Running stage 'train'" in log
        assert "Running stage 'prepare'" not in log


@pytest.mark.slow
def test_two_sweeps_at_once_share_what_both_want(clone: Clone) -> None:
    grid = ("val_fraction=0.2", "lr=0.01,0.02"), ("val_fraction=0.2", "lr=0.02,0.03")
    running = [sweep(clone, *words) for words in grid]
    said = [one.communicate(timeout=240)[0] for one in running]
    assert [one.returncode for one in running] == [0, 0], said
    assert sum(text.count("queued: ") for text in said) == 3
    assert all("2/2 " in text for text in said)
    names = clone.experiments()
    assert len(names) == 3
    logs = [clone.dvc("queue", "logs", name).stdout for name in names]
    made = [log for log in logs if "Digits: 1,150 train images" in log]
    assert len(made) in (1, 2), "two workers may both make it at first; the third experiment has it"
    revisions = clone.git("for-each-ref", "--format=%(objectname)", "refs/exps/*/*/*").split()
    locks = [YAML(typ="safe").load(clone.git("show", f"{revision}:dvc.lock")) for revision in revisions]
    prepared = [lock["stages"]["prepare"]["outs"] for lock in locks]
    assert len(prepared) == 3
    assert prepared[0] == prepared[1] == prepared[2], "the same bytes"


@pytest.mark.slow
def test_a_locked_repository_and_a_full_disk_leave_the_queue_as_it_was(clone: Clone) -> None:
    clone.dvc("exp", "run", "--queue", "--name", "mine", "-S", "lr=0.5")
    status = clone.dvc("queue", "status").stdout
    with subprocess.Popen(
        ("python", "-c", "from dvc.repo import Repo\nwith Repo().lock: print(); input()"),
        cwd=clone.path,
        env=clone.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdout.readline()
        refused = clone.run("python", "-m", "src.sweep", "lr=0.01", check=False)
        holder.stdin.close()
    assert refused.returncode == 1
    assert output(refused) == (
        "error: another DVC command is at work in this repository; run the same command again when "
        "it has ended\n"
    )
    assert clone.dvc("queue", "status").stdout == status

    mount = 'mount -t tmpfs -o size=64k tmpfs .dvc/tmp/exps && exec "$@"'
    words = ("unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh")
    if clone.run(*words, "true", check=False).returncode:
        pytest.skip("no mount namespaces here")
    refused = clone.run(*words, "python", "-m", "src.sweep", "lr=0.01", check=False)
    assert refused.returncode == 1
    assert re.fullmatch(
        r"error: \.dvc/tmp/exps: 0\.\d MB of the disk are free; expected at least 100 MB; "
        r"the queue is as it was\n",
        output(refused),
    )
    assert clone.dvc("queue", "status").stdout == status


@pytest.mark.slow
def test_a_killed_worker_is_replaced(clone: Clone) -> None:
    clone.set_params(epochs=30)
    log = clone.path.with_suffix(".log")
    with log.open("w") as file:
        process = subprocess.Popen(
            ("python", "-m", "src.sweep", "--workers", "1", "lr=0.01,0.005"),
            cwd=clone.path,
            env=clone.environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    until = time.monotonic() + 120
    while not (running := [one for one in psutil.process_iter(["cmdline", "cwd"]) if works_for(one, clone)]):
        assert time.monotonic() < until, log.read_text()
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    for one in running:
        one.kill()
    assert process.wait(timeout=200) == 0, log.read_text()
    assert len(clone.experiments()) == 2


def works_for(process: psutil.Process, clone: Clone) -> bool:
    """Whether it is a stage of one of the clone's temporary workspaces, its `dvc`, or its queue's worker."""
    place, command = process.info["cwd"] or "", process.info["cmdline"] or []
    return place.startswith(str(clone.path / ".dvc" / "tmp")) or (
        place == str(clone.path) and "queue-worker" in command
    )


def test_ctrl_c_stops_the_queue_and_says_what_stays(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(clone.path)
    queued: list[str] = []

    def interrupted(self: QueueSweep, name: str) -> None:
        queued.append(name)
        raise KeyboardInterrupt

    stopped: list[tuple[str, ...]] = []
    monkeypatch.setattr(QueueSweep, "_queue", interrupted)
    monkeypatch.setattr(queue_sweep, "dvc", lambda *words: stopped.append(words) or "")
    monkeypatch.setattr(sys, "argv", ["sweep", "lr=0.01,0.02"])
    with pytest.raises(SystemExit) as end:
        main()
    assert len(queued) == 1
    assert (end.value.code, stopped) == (130, [("queue", "stop")])
    said = "the rest stays in the queue; the same command resumes\n"
    assert capsys.readouterr().err.endswith(said)
