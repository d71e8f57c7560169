"""Ranking policies: known orders, scipy, brute force, coverage, small numbers, success flags."""

import itertools
import json
import math

import numpy as np
import pytest
from scipy import stats

from reverie.eval.ranking import Agreement, Ranking, agreement, ranking

Scores = dict[str, list[float]]


def scores(means: "np.ndarray | list[float]", spread: float = 0.0, episodes: int = 6) -> Scores:
    """Episodes whose mean is exactly the one given."""
    noise = np.linspace(-spread, spread, episodes)
    return {f"p{i}": (m + noise).tolist() for i, m in enumerate(means)}


def mmrv_by_loops(imagined: "list[float]", real: "list[float]") -> float:
    """The published definition, pair by pair; no two scores are equal."""
    worst = [
        max(abs(r - s) if (i < j) != (r < s) else 0.0 for j, s in zip(imagined, real, strict=True))
        for i, r in zip(imagined, real, strict=True)
    ]
    return sum(worst) / len(worst)


def test_a_perfect_ranking() -> None:
    real = np.arange(25.0) ** 2
    found = ranking(scores(real, 0.1), scores(real, 0.1))
    for name in ("pearson", "spearman", "kendall", "slope"):
        assert getattr(found, name).value == pytest.approx(1)
    assert found.mmrv.value == found.regret.value == found.bias.value == 0
    assert found.mmrv_chance > 100
    assert found.regret_chance == pytest.approx(real.max() - real.mean(), rel=0.05)
    assert found.p_ranks == 1 / 10_000  # the +1 rule: never 0
    assert found.p_misleads == 1
    assert (found.verdict, found.warnings, found.exact) == ("ranks policies", (), False)


def test_a_reversed_ranking_misleads() -> None:
    real = np.arange(6.0)
    found = ranking(scores(real[::-1], 0.1), scores(real, 0.1))
    assert found.spearman.value == found.kendall.value == pytest.approx(-1)
    assert found.p_misleads == 1 / 720
    assert found.p_ranks == 1
    assert found.verdict == "misleads"
    assert found.regret.value == 5
    assert found.mmrv.value == pytest.approx((5 + 4 + 3 + 3 + 4 + 5) / 6)


def test_optimism_by_a_constant_is_bias_and_nothing_else() -> None:
    real = np.array([1.0, 4.0, 2.0, 8.0, 5.0])
    found = ranking(scores(real + 10, 0.1), scores(real, 0.1))
    assert found.bias.value == pytest.approx(10)
    assert 9.9 < found.bias.low <= 10 <= found.bias.high < 10.1
    assert found.slope.value == pytest.approx(1)
    assert found.mmrv.value == 0
    assert found.verdict == "ranks policies"


def test_flattened_differences_show_in_the_slope() -> None:
    real = np.array([1.0, 4.0, 2.0, 8.0, 5.0])
    assert ranking(scores(real / 4), scores(real)).slope.value == pytest.approx(4)


def test_statistics_equal_those_of_scipy_and_of_loops() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        ours, theirs = rng.normal(size=(2, 9))
        found = ranking(scores(ours), scores(theirs))
        assert found.pearson.value == pytest.approx(stats.pearsonr(ours, theirs).statistic)
        assert found.spearman.value == pytest.approx(stats.spearmanr(ours, theirs).statistic)
        assert found.kendall.value == pytest.approx(stats.kendalltau(ours, theirs).statistic)
        assert found.slope.value == pytest.approx(stats.linregress(ours, theirs).slope)
        assert found.mmrv.value == pytest.approx(mmrv_by_loops(list(ours), list(theirs)))


def test_ties_equal_those_of_scipy() -> None:
    ours = [1.0, 2.0, 2.0, 3.0, 0.0, 3.0, 3.0]
    theirs = [0.0, 1.0, 2.0, 2.0, 2.0, 3.0, 5.0]
    found = ranking(scores(ours), scores(theirs))
    assert found.spearman.value == pytest.approx(stats.spearmanr(ours, theirs).statistic)
    assert found.kendall.value == pytest.approx(stats.kendalltau(ours, theirs).statistic)
    assert found.regret.value == pytest.approx(5 - (2 + 3 + 5) / 3)  # any of the three may be taken


def test_equal_imagined_scores_violate_both_policies() -> None:
    found = ranking(scores([1, 1, 5, 6, 7]), scores([1, 3, 5, 6, 7]))
    assert found.mmrv.value == pytest.approx((2 + 2) / 5)
    assert ranking(scores([1, 3, 5]), scores([2, 2, 5])).mmrv.value == 0  # nothing is lost


def test_p_of_few_policies_is_that_of_all_permutations() -> None:
    ours, theirs = [3.0, 1.0, 2.0, 5.0, 4.0, 4.5], [2.0, 1.0, 5.0, 3.0, 6.0, 7.0]
    found = ranking(scores(ours), scores(theirs))
    real = stats.spearmanr(ours, theirs).statistic
    others = [stats.spearmanr(o, theirs).statistic for o in itertools.permutations(ours)]
    assert (found.permutations, found.exact) == (720, True)
    assert found.p_ranks == pytest.approx(np.mean(np.array(others) >= real - 1e-9))
    assert found.p_misleads == pytest.approx(np.mean(np.array(others) <= real + 1e-9))


def test_random_permutations_estimate_the_p_of_scipy() -> None:
    rng = np.random.default_rng(4)
    ours = rng.normal(size=30)
    theirs = 0.3 * ours + rng.normal(size=30)
    found = ranking(scores(ours), scores(theirs))
    expected = stats.spearmanr(ours, theirs, alternative="greater").pvalue
    assert 0.01 < expected < 0.5
    assert found.p_ranks == pytest.approx(expected, abs=0.015)


def test_shuffled_scores_cannot_be_told_nineteen_times_in_twenty() -> None:
    rng, verdicts = np.random.default_rng(1), []
    for trial in range(80):
        real = rng.normal(size=7)
        found = ranking(scores(rng.permutation(real), 0.05), scores(real, 0.05), seed=trial)
        verdicts.append(found.verdict)
    assert verdicts.count("ranks policies") <= 9  # 4 are expected; more than 9 in 1 % of cases
    assert verdicts.count("misleads") <= 9
    assert verdicts.count("cannot be told") >= 65


def test_too_few_policies_get_no_verdict_however_well_ranked() -> None:
    for count in (2, 3):
        found = ranking(scores(np.arange(count), 0.1), scores(np.arange(count), 0.1))
        assert found.spearman.value == pytest.approx(1)
        assert found.verdict == "cannot be told"
        assert "no permutation test" in found.warnings[0]
        assert math.isnan(found.spearman.low)  # most draws of policies have no order
        assert math.isfinite(found.bias.low)
    four = ranking(scores(np.arange(4.0), 0.01), scores(np.arange(4.0), 0.01))
    assert four.p_ranks == pytest.approx(1 / 24)
    assert "20 or more" in four.warnings[0]


def test_episodes_widen_the_interval_and_can_withhold_the_verdict() -> None:
    real = np.arange(8.0)
    sure, unsure = (ranking(scores(real, s), scores(real, s)) for s in (0.1, 25.0))
    assert sure.spearman.value == unsure.spearman.value == pytest.approx(1)
    assert sure.verdict == "ranks policies"
    assert unsure.spearman.low < 0 < sure.spearman.low  # the same p, but the order is luck
    assert unsure.verdict == "cannot be told"


def test_intervals_of_the_bias_cover_as_often_as_they_say() -> None:
    rng, covered = np.random.default_rng(2), 0
    for trial in range(120):
        offsets = 3 + rng.normal(size=6)  # each policy is flattered by an amount of its own
        real = rng.normal(0, 5, 6)
        noise = rng.normal(size=(2, 6, 8))
        ours = {str(i): (real[i] + offsets[i] + noise[0, i]).tolist() for i in range(6)}
        theirs = {str(i): (real[i] + noise[1, i]).tolist() for i in range(6)}
        found = ranking(ours, theirs, seed=trial)
        covered += found.bias.low < 3 < found.bias.high
    assert 0.89 < covered / 120 <= 1


def test_intervals_of_correlations_cover_as_often_as_they_say() -> None:
    rng, covered, trials = np.random.default_rng(5), 0, 120
    for trial in range(trials):
        ours, rest = rng.normal(size=(2, 6))
        theirs = 0.5 * ours + math.sqrt(0.75) * rest
        found = ranking(scores(ours), scores(theirs), seed=trial).pearson
        covered += found.low < 0.5 < found.high
    assert 0.89 < covered / trials < 1


def test_pairing_removes_what_the_starts_have_in_common() -> None:
    rng = np.random.default_rng(3)
    starts = rng.normal(0, 10, 12)
    real = {f"p{i}": (starts + i).tolist() for i in range(6)}
    ours = {name: [v + 1 for v in values] for name, values in real.items()}
    paired, apart = ranking(ours, real, paired=True), ranking(ours, real)
    assert paired.bias.high - paired.bias.low == pytest.approx(0, abs=1e-9)
    assert apart.bias.high - apart.bias.low > 2
    with pytest.raises(ValueError, match=r"equal numbers.*p2"):
        ranking(ours | {"p2": [1.0]}, real, paired=True)


def test_no_order_to_foretell() -> None:
    found = ranking(scores([0.1] * 5), scores([1, 2, 3, 4, 5]))
    assert found.verdict == "cannot be told"
    assert math.isnan(found.pearson.value)
    assert math.isnan(found.p_ranks)
    assert "no order" in found.warnings[1]
    assert found.regret.value == 2  # any may be taken


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(ValueError, match=r"scored in both worlds.*p1"):
        ranking(scores([1, 2]), scores([1]))
    with pytest.raises(ValueError, match="at least 2"):
        ranking({"a": [1.0]}, {"a": [1.0]})
    with pytest.raises(ValueError, match="b: real scores must be finite"):
        ranking({"a": [1.0], "b": [1.0]}, {"a": [1.0], "b": [math.nan]})
    single = ranking({"a": [1.0], "b": [2.0]}, {"a": [1.0], "b": [2.0]})
    assert any("single episode" in w for w in single.warnings)


def test_success_episode_by_episode() -> None:
    yes, no = True, False
    imagined = {"a": [yes, yes, yes, no, no], "b": [yes, no, no, no, no]}
    real = {"a": [yes, yes, no, no, yes], "b": [yes, no, no, yes, no]}
    found = agreement(imagined, real)
    assert (found.both, found.imagined_only, found.real_only, found.neither) == (3, 1, 2, 4)
    assert found.precision.value == pytest.approx(3 / 4)
    assert found.recall.value == pytest.approx(3 / 5)
    assert found.balanced_accuracy.value == pytest.approx((3 / 5 + 4 / 5) / 2)
    assert found.recall.low < 0.6 < found.recall.high
    assert Agreement.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_success_is_foretold_of_policies_not_of_episodes_alone() -> None:
    yes, no = [True, False] * 100, [False, True] * 100
    found = agreement({"a": yes, "b": yes, "c": no}, {"a": yes, "b": yes, "c": yes})
    assert found.recall.value == pytest.approx(2 / 3)
    assert found.recall.high - found.recall.low > 0.6  # 300 successes of one kind would say 0.1


def test_success_that_says_nothing() -> None:
    always = agreement(
        {"a": [True] * 4, "b": [True] * 4}, {"a": [True, False] * 2, "b": [True] * 4}
    )
    assert always.recall.value == 1
    assert always.balanced_accuracy.value == 0.5
    alike = agreement({"a": [False]}, {"a": [False]})
    assert math.isnan(alike.precision.value)
    assert math.isnan(alike.balanced_accuracy.value)
    assert alike.to_json()["precision"]["value"] is None
    with pytest.raises(ValueError, match="episode by episode"):
        agreement({"a": [True]}, {"a": [True, False]})
    with pytest.raises(ValueError, match="same policies"):
        agreement({"a": [True]}, {"b": [True]})


def test_a_ranking_survives_json() -> None:
    success = agreement({"p0": [True, False]}, {"p0": [True, True]})
    for means in ([1, 2, 4, 3, 5], [2, 2, 2, 2, 2]):
        found = ranking(scores(means, 0.2), scores([1, 2, 3, 4, 5], 0.2), success=success, seed=7)
        again = ranking(scores(means, 0.2), scores([1, 2, 3, 4, 5], 0.2), success=success, seed=7)
        text = json.dumps(found.to_json(), allow_nan=False)
        assert json.dumps(again.to_json(), allow_nan=False) == text  # the seed repeats
        read = Ranking.from_json(json.loads(text))
        assert json.dumps(read.to_json(), allow_nan=False) == text
        assert read.policies == found.policies
