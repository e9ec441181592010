from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from benchmarks import seeds as benchmark
from src.evaluation.ranking import Run, rank
from src.evaluation.seeds import (
    Halving,
    MoreSeeds,
    compare_settings,
    holm,
    more_seeds,
    sequential_halving,
)
from src.evaluation.text import interval_text, p_text, settings_table


def runs(*accuracies: float, first_seed: int = 0, loss: float = 0.1) -> dict[int, Run]:
    return {seed: Run(accuracy, loss) for seed, accuracy in enumerate(accuracies, first_seed)}


def test_ties_go_to_the_lower_loss_and_then_by_name() -> None:
    results = [(0.9, 0.3, "c"), (0.9, 0.2, "b"), (0.9, 0.2, "a"), (0.91, 0.9, "d")]
    assert [name for *_, name in sorted(results, key=lambda row: rank(*row))] == ["d", "a", "b", "c"]
    assert rank(0.1 + 0.2, 0.0, "a") == rank(0.3, 0.0, "a"), "the order of a sum decides nothing"


def test_mean_deviation_difference_and_interval_by_hand() -> None:
    best, other = compare_settings({"b": runs(0.90, 0.92, 0.91), "a": runs(0.94, 0.95, 0.96)})
    assert (best.name, best.n, best.difference, best.distinct) == ("a", 3, None, False)
    assert best.mean == pytest.approx(0.95)
    assert best.deviation == pytest.approx(0.01)
    # Differences of -0.04, -0.03 and -0.05: mean -0.04, deviation 0.01, standard error 0.01 / √3; and t with
    # two degrees of freedom exceeds 4.3027 in 2.5 % of the cases.
    assert other.difference == pytest.approx(-0.04)
    half = 4.3027 * 0.01 / math.sqrt(3)
    assert other.interval == pytest.approx((-0.04 - half, -0.04 + half), rel=1e-4)
    assert other.confidence == 0.95
    # The distribution function of t with two degrees of freedom is 1/2 + t / (2 √(2 + t²)).
    t = 0.04 / (0.01 / math.sqrt(3))
    assert other.p_value == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert other.distinct


def test_what_is_rounded_to_zero_is_not_negative_in_the_table() -> None:
    statistics = compare_settings({"a": runs(0.90, 0.92), "b": runs(0.91, 0.90999)})
    assert settings_table(statistics, {"a": {}, "b": {}}).splitlines()[2].split()[3] == "+0.00"


def test_only_of_more_than_two_settings_is_anything_corrected() -> None:
    settings = {"a": runs(0.90, 0.92), "b": runs(0.91, 0.90999), "c": runs(0.8, 0.81)}
    for count, said in ((2, ""), (3, ", corrected for 3 settings (Holm)")):
        statistics = compare_settings(dict(list(settings.items())[:count]))
        lines = settings_table(statistics, {name: {} for name in settings}).splitlines()
        assert lines[count + 2].endswith(f"intervals in points, paired by seed{said}")


def test_numbers_show_on_which_side_of_zero_and_of_five_percent_they_are() -> None:
    assert interval_text((0.0036, 0.0092)) == "+0.36 to +0.92"
    assert interval_text((0.00004, 0.0109)) == "+0.004 to +1.090"
    assert interval_text((-0.0123, -0.000003)) == "-1.2300 to -0.0003"
    assert interval_text((0.0, 0.01)) == "+0.00 to +1.00"
    shown = [p_text(p_value) for p_value in (0.0496, 0.0504, 0.049, 1e-6)]
    assert shown == ["0.0496", "0.0504", "0.049", "1e-06"]


def test_only_common_seeds_are_compared() -> None:
    _, other = compare_settings({"a": runs(0.9, 0.99, 0.97, 0.98), "b": runs(0.90, 0.92, first_seed=2)})
    assert other.n == 2
    assert other.difference == pytest.approx((0.90 - 0.97 + 0.92 - 0.98) / 2)
    _, other = compare_settings({"a": runs(0.9, 0.9), "b": runs(0.8, 0.8, first_seed=7)})
    assert (other.difference, other.interval, other.p_value) == (None, None, None)
    assert compare_settings({"a": {}}) == []
    assert compare_settings({}) == []


def test_without_a_deviation_nothing_is_told_apart() -> None:
    one = compare_settings({"a": runs(0.9), "b": runs(0.5)})
    assert [(setting.deviation, setting.interval, setting.distinct) for setting in one] == [
        (None, None, False)
    ] * 2
    assert one[1].difference == pytest.approx(-0.4)
    equal = compare_settings({"a": runs(0.9, 0.8), "b": runs(0.6, 0.5)})[1]
    assert equal.difference == pytest.approx(-0.3)
    assert (equal.interval, equal.p_value, equal.distinct) == (None, None, False)


def test_a_deviation_of_rounding_alone_is_none() -> None:
    right = (230, 231, 236)
    a, b = (runs(*((count + more) / 240 for count in right)) for more in (0, 2))
    differences = np.subtract(
        [run.val_accuracy for run in b.values()], [run.val_accuracy for run in a.values()]
    )
    assert 0 < differences.std(ddof=1) < 1e-15
    best, other = compare_settings({"a": a, "b": b})
    assert (best.name, other.interval, other.p_value, other.distinct) == ("b", None, None, False)


def test_the_best_has_the_highest_mean_then_the_lowest_loss_then_the_first_name() -> None:
    results = {"b": runs(0.8, 0.9, loss=0.2), "c": runs(0.9, 0.8, loss=0.1), "a": runs(0.9, 0.8, loss=0.2)}
    assert [setting.name for setting in compare_settings(results)] == ["c", "a", "b"]
    assert [setting.name for setting in compare_settings(results, best="b")] == ["b", "c", "a"]


def test_holms_procedure_by_hand() -> None:
    # 0.01 · 4 = 0.04; 0.015 · 3 = 0.045; 0.03 · 2 = 0.06, and all after it are at least as large.
    corrected, levels = holm([0.03, 0.01, 0.04, 0.015])
    assert corrected == pytest.approx([0.06, 0.04, 0.06, 0.045])
    assert levels == pytest.approx([0.05 / 2, 0.05 / 4, 0.05 / 2, 0.05 / 3])
    assert holm([]) == ([], [])
    assert holm([0.9, 0.8])[0] == [1.0, 1.0]


def test_an_interval_excludes_0_exactly_where_a_setting_is_told_from_the_best() -> None:
    generator, distinct, common = np.random.default_rng(0), 0, 0
    for _ in range(200):
        settings = int(generator.integers(2, 7))
        means = generator.normal(0.95, 0.01, settings)
        table = generator.normal(means, 0.005, (int(generator.integers(2, 9)), settings))
        best, *others = compare_settings({str(name): runs(*table[:, name]) for name in range(settings)})
        for setting in others:
            assert setting.interval is not None
            assert setting.p_value is not None
            low, high = setting.interval
            assert low < (setting.difference or 0.0) < high
            assert setting.distinct == (setting.p_value <= 0.05) == (low > 0 or high < 0)
            alone = ttest_rel(table[:, int(setting.name)], table[:, int(best.name)]).pvalue
            assert alone <= setting.p_value * (1 + 1e-9)
            distinct += setting.distinct
            common += not setting.distinct
    assert min(distinct, common) > 100


@pytest.mark.parametrize("settings", [2, 8])
def test_equal_settings_are_rarely_told_apart(settings: int) -> None:
    """The best is chosen by the same runs: corrected for the comparisons with it alone, 8 would give 10 %."""
    generator, draws, wrong = np.random.default_rng(1), 1000, 0
    for _ in range(draws):
        table = generator.normal(0.97, 0.005, (5, settings))
        compared = compare_settings({str(name): runs(*table[:, name]) for name in range(settings)})
        wrong += any(setting.distinct for setting in compared)
    # Three standard errors of a share of 5 % of 1,000 draws are two points.
    assert wrong / draws <= 0.07
    assert wrong / draws >= (0.03 if settings == 2 else 0.01), "the correction is not out of proportion"


def test_how_many_more_seeds_by_hand() -> None:
    # Differences of 0, 1 and 2 points: mean 1, deviation 1. With n seeds, √n has to reach t(n-1) for 2.5 %
    # and for 20 %: 9 seeds give 3 < 2.306 + 0.889, 10 seeds give 3.162 > 2.262 + 0.883.
    results = {"a": runs(0.90, 0.91, 0.92), "b": runs(0.90, 0.90, 0.90)}
    assert more_seeds(results) == MoreSeeds("a", "b", list(range(10)))
    results = {"a": runs(0.90, 0.91, 0.92, first_seed=5), "b": runs(0.90, 0.90, 0.90, first_seed=5)}
    assert more_seeds(results) == MoreSeeds("a", "b", list(range(5, 15)))


def test_more_seeds_are_counted_at_the_level_of_all_settings() -> None:
    # Of three pairs none differs, so each is tested at 5 % / 3: 13 seeds give 3.606 < 2.779 + 0.873.
    results = {"a": runs(0.90, 0.91, 0.92), "b": runs(0.90, 0.90, 0.90), "c": runs(0.80, 0.95, 0.70)}
    more = more_seeds(results)
    assert more is not None
    assert (more.rival, len(more.seeds)) == ("b", 14)


def test_more_seeds_where_it_cannot_be_said() -> None:
    assert more_seeds({"a": runs(0.9)}) is None
    assert more_seeds({"a": runs(0.9), "b": runs(0.8)}) is None, "one seed"
    assert more_seeds({"a": runs(0.9, 0.8), "b": runs(0.8, 0.9)}) is None, "equal means"
    assert more_seeds({"a": runs(0.9, 0.8), "b": runs(0.8, 0.7)}) is None, "no deviation"
    assert more_seeds({"a": runs(0.9, 0.8001), "b": runs(0.8, 0.9)}) is None, "more than 1,000"
    told = {"a": runs(0.90, 0.91, 0.92), "b": runs(0.500, 0.501, 0.503)}
    assert compare_settings(told)[1].distinct
    assert more_seeds(told) is None, "they differ significantly"
    # A deviation of 11.275 times the difference needs 1,000 seeds, the most that a grid can name.
    for ratio, most in ((11.275, 1000), (11.285, None)):
        spread = 1e-4 * ratio / np.sqrt(2)
        more = more_seeds({"a": runs(0.9 + spread, 0.9 - spread), "b": runs(0.8999, 0.8999)})
        assert (more and len(more.seeds)) == most


def spend(accuracies: np.ndarray, budget: int) -> tuple[Halving, dict[str, dict[int, Run]]]:
    """Sequential halving to its end, with accuracies [settings, seeds]."""
    results: dict[str, dict[int, Run]] = {str(name): {} for name in range(len(accuracies))}
    while runs := (state := sequential_halving(results, budget)).next_runs:
        for name, seed in runs:
            assert seed not in results[name], "no run twice"
            results[name][seed] = Run(float(accuracies[int(name), seed]), 0.1)
    return state, results


def test_sequential_halving_by_hand() -> None:
    # Two rounds of 8 runs: two seeds for each of the four settings, then four more for the better two.
    results = {"a": runs(), "b": runs(), "c": runs(), "d": runs()}
    first = sequential_halving(results, 16)
    assert first.next_runs == [(name, seed) for seed in (0, 1) for name in "abcd"]
    results = {"a": runs(0.8, 0.9), "b": runs(0.7, 0.8), "c": runs(0.9, 0.8, loss=0.05), "d": runs(0.6)}
    assert sequential_halving(results, 16) == Halving(["a", "b", "c", "d"], [("d", 1)]), "what is missing"
    results["d"] = runs(0.6, 0.9)
    second = sequential_halving(results, 16)
    assert second.contenders == ["c", "a"], "equal means: the lower loss first"
    assert second.next_runs == [(name, seed) for seed in range(2, 6) for name in "ca"]
    results["a"], results["c"] = runs(*[0.9] * 6), runs(*[0.8, 0.9] * 3)
    assert sequential_halving(results, 16) == Halving(["a"], [])
    results["b"][2] = Run(1.0, 0.0)
    assert sequential_halving(results, 16) == Halving(["a"], []), "nothing comes back"


def test_the_level_of_an_early_end_is_shared_by_the_rounds() -> None:
    """Of two rounds each may end a search at 2.5 %."""
    steps = np.arange(-2, 3)
    accuracies = {"a": 0.95 + 0 * steps, "b": 0.94 - 0.0036 * steps, "c": 0.6 + 0.001 * steps}
    results = {name: runs(*values) for name, values in accuracies.items()}
    results["d"] = runs(*accuracies["c"][::-1])
    assert 0.025 < (compare_settings(results)[1].p_value or 0) < 0.05
    assert sequential_halving(results, 40).contenders == ["a", "b"]


def test_a_budget_is_kept_and_a_clear_winner_ends_early() -> None:
    generator = np.random.default_rng(0)
    for settings, budget in ((2, 10), (3, 15), (5, 25), (8, 40), (9, 100)):
        state, results = spend(generator.normal(0.9, 0.01, (settings, budget)), budget)
        used = sum(map(len, results.values()))
        assert len(state.contenders) == 1
        assert budget - settings < used <= budget
        assert min(map(len, results.values())) >= 2
    clear = np.array([[0.5], [0.9], [0.6], [0.4]]) + generator.normal(0, 1e-5, (4, 16))
    state, results = spend(clear, 16)
    assert (state.contenders, sum(map(len, results.values()))) == (["1"], 8)
    assert spend(clear[:1], 16)[1]["0"].keys() == {0, 1}, "one setting: nothing to choose"
    assert sequential_halving({}, 16) == Halving([], [])
    state, results = spend(generator.normal(0.9, 0.01, (8, 2)), 4)
    assert len(state.contenders) == 1, "two runs each are more than the budget"
    assert {len(found) for found in results.values()} == {2}


def test_equal_settings_rarely_end_a_search_early() -> None:
    generator, draws = np.random.default_rng(2), 300
    early = sum(
        sum(map(len, spend(generator.normal(0.97, 0.005, (4, 40)), 40)[1].values())) < 38
        for _ in range(draws)
    )
    assert early / draws <= 0.05


def test_sequential_halving_finds_the_best_more_often_than_the_grid_for_as_many_runs() -> None:
    generator, draws = np.random.default_rng(3), 200
    means = np.array([0.980, 0.977, 0.975, 0.97, 0.96, 0.95, 0.93, 0.90])
    halved = full = 0
    for _ in range(draws):
        table = generator.normal(means[:, np.newaxis], 0.005, (8, 40))
        halved += spend(table, 40)[0].contenders == ["0"]
        full += table[:, :5].mean(axis=1).argmax() == 0
    assert halved > full + 0.05 * draws


def test_on_digits_half_of_the_runs_choose_nearly_as_well_as_the_full_grid() -> None:
    """On the pool of `python -m benchmarks.seeds`, 30 seeds of 8 settings; there are fewer draws here."""
    pool = benchmark.read_pool()
    assert len(pool) == 8
    generator, draws = np.random.default_rng(4), 100
    same = few = 0
    for _ in range(draws):
        drawn = benchmark.draw(pool, generator)
        winner, all_runs = benchmark.full_grid(drawn, range(benchmark.FULL))
        choice, used = benchmark.halving(drawn, benchmark.BUDGETS[0])
        assert used <= 0.6 * all_runs
        same += choice == winner
        few += benchmark.full_grid(drawn, range(benchmark.FEW))[0] == winner
    # 92.6 % of 2,000 draws; four standard errors of 100 draws are 10.5 points.
    assert same / draws > 0.82
    assert same > few, "as many runs for all settings alike"
