"""Customers: made, got, listed, changed."""

from typing import Any

import pytest

from malha.runtime.errors import FailedPrecondition, InvalidArgument


async def test_a_customer_is_made_once_by_its_name(caller: Any) -> None:
    made = (await caller.ask("CreateCustomer", external_id="ana", name="Ana\x00", email="ana@example.com", phone="+55 11 1")).customer
    assert (made.name, made.status, made.source) == ("Ana", "active", "")
    with pytest.raises(FailedPrecondition, match="update it"):
        await caller.ask("CreateCustomer", external_id="ana")
    for _ in range(2):
        await caller.ask("CreateCustomer", name="nameless")
    assert await caller.rows("customer") == 3
    for name in ("ana", made.id):
        assert (await caller.ask("GetCustomer", customer_id=name)).customer == made


async def test_a_change_leaves_what_it_does_not_name(caller: Any) -> None:
    await caller.ask("CreateCustomer", external_id="ana", name="Ana", email="a@x", source="site", status="lead")
    changed = (await caller.ask("UpdateCustomer", customer_id="ana", email="", status="active")).customer
    assert (changed.name, changed.email, changed.source, changed.status) == ("Ana", "", "site", "active")
    with pytest.raises(InvalidArgument):
        await caller.ask("UpdateCustomer", customer_id="ana", status="")


async def test_customers_are_listed_page_by_page(caller: Any) -> None:
    for number in range(7):
        await caller.ask("CreateCustomer", name=str(number), email="same@x" if number % 2 else "")
    first = await caller.ask("ListCustomers", page_size=4)
    await caller.ask("CreateCustomer", name="late")
    rest = await caller.ask("ListCustomers", page_size=4, page_token=first.next_page_token)
    assert {customer.name for customer in (*first.customers, *rest.customers)} == set("0123456")
    assert not rest.next_page_token
    assert {customer.name for customer in (await caller.ask("ListCustomers", email="same@x")).customers} == set("135")
    with pytest.raises(InvalidArgument):
        await caller.ask("ListCustomers", email="same@x", page_token=first.next_page_token)
