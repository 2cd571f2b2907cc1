"""What calls cost of late, by a clock of the test's own."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from malha.chat.costs import DAY, HOUR, PARTS, Costs, Lately


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def told(costs: Costs) -> dict[tuple[str, str], float]:
    return {(sample.name, sample.labels["tenant"]): sample.value for family in costs.collect() for sample in family.samples}


@given(st.lists(st.tuples(st.floats(0, 1000), st.integers(0, 1000)), max_size=40))
def test_a_sum_holds_its_time_and_no_more_than_one_part_less(steps: list[tuple[float, int]]) -> None:
    window, now = Lately(HOUR), 0.0
    added: list[tuple[float, int]] = []
    for wait, amount in steps:
        now += wait
        added.append((now, amount))
        window.add(amount, now)
    part = HOUR / PARTS
    surely = sum(amount for at, amount in added if now - at < HOUR - part)
    perhaps = sum(amount for at, amount in added if now - at < HOUR)
    assert surely <= window.total(now) <= perhaps
    assert window.total(now + HOUR) == 0


def test_hour_and_day_of_each_tenant() -> None:
    clock = Clock()
    costs = Costs(clock)
    costs.add("a", 1.0)
    costs.add("b", 0.0)
    clock.now = HOUR
    costs.add("a", 2.0)
    assert told(costs) == {("malha_ai_cost_hour", "a"): 2.0, ("malha_ai_cost_day", "a"): 3.0}
    clock.now = DAY
    assert told(costs) == {("malha_ai_cost_hour", "a"): 0.0, ("malha_ai_cost_day", "a"): 2.0}


def test_beyond_the_first_hundred_tenants_are_told_together() -> None:
    costs = Costs(Clock())
    for number in range(103):
        costs.add(f"t{number}", 1.0)
    assert told(costs)["malha_ai_cost_day", "other"] == 3.0
    assert len(told(costs)) == 2 * 101


def test_they_are_gauges_where_prometheus_looks() -> None:
    registry, costs = CollectorRegistry(), Costs(Clock())
    registry.register(costs)
    costs.add("a", 0.5)
    text = generate_latest(registry).decode()
    assert "# TYPE malha_ai_cost_day gauge" in text
    assert 'malha_ai_cost_hour{tenant="a"} 0.5' in text
