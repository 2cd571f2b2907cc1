"""Conversations: made, found, listed page by page, deleted."""

import uuid
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from malha.api.conversation.v1 import conversation_pb2 as api
from malha.runtime.errors import FailedPrecondition, InvalidArgument, NotFound


def at(second: int) -> Timestamp:
    return Timestamp(seconds=1_700_000_000 + second)


async def all_pages(caller: Any, **fields: Any) -> list[str]:
    names, token = [], ""
    while True:
        page = await caller.ask("ListConversations", page_token=token, **fields)
        names += [conversation.external_id for conversation in page.conversations]
        token = page.next_page_token
        if not token:
            return names


async def test_a_conversation_is_made_changed_and_got_by_name_and_id(caller: Any) -> None:
    made = await caller.ask("UpsertConversation", conversation_id="c 1", subject="Fatura", channel=api.CONVERSATION_CHANNEL_WHATSAPP)
    assert made.created
    assert made.conversation.status == api.CONVERSATION_STATUS_OPEN
    again = await caller.ask("UpsertConversation", conversation_id="c 1", status=api.CONVERSATION_STATUS_CLOSED)
    assert not again.created
    assert again.conversation.id == made.conversation.id
    assert (again.conversation.subject, again.conversation.channel) == ("Fatura", api.CONVERSATION_CHANNEL_WHATSAPP)
    assert again.conversation.HasField("end_time")
    by_id = await caller.ask("UpdateConversation", conversation_id=made.conversation.id, subject="", status=api.CONVERSATION_STATUS_OPEN)
    assert by_id.conversation.subject == ""
    assert not by_id.conversation.HasField("end_time")
    assert (await caller.ask("GetConversation", conversation_id="c 1")).conversation == by_id.conversation


async def test_a_conversation_has_its_customer(caller: Any, stranger: Any) -> None:
    customer = (await caller.ask("CreateCustomer", external_id="ana", name="Ana")).customer
    kept = (await caller.ask("UpsertConversation", conversation_id="c", customer_id="ana")).conversation
    assert kept.customer_id == customer.id
    await caller.ask("UpsertConversation", conversation_id="d")
    assert await all_pages(caller, customer_id=customer.id) == ["c"]
    assert (await caller.ask("UpdateConversation", conversation_id="c", subject="x")).conversation.customer_id == customer.id
    assert (await caller.ask("UpdateConversation", conversation_id="c", customer_id="")).conversation.customer_id == ""
    await stranger.ask("UpsertConversation", conversation_id="theirs")
    for name in (customer.id, "nobody"):
        with pytest.raises(NotFound, match="there is no such customer"):
            await stranger.ask("UpdateConversation", conversation_id="theirs", customer_id=name)


async def test_the_first_and_last_moment_of_the_calendar_are_listed_as_any_other(caller: Any) -> None:
    for name, text in (("first", "0001-01-01T00:00:00Z"), ("last", "9999-12-31T23:59:59.999999999Z")):
        moment = Timestamp()
        moment.FromJsonString(text)
        made = await caller.ask("UpsertConversation", conversation_id=name, start_time=moment)
        assert abs(made.conversation.start_time.ToNanoseconds() - moment.ToNanoseconds()) <= 2_000
        await caller.ask("CreateMessage", conversation_id=name, sender_type=api.SENDER_TYPE_CUSTOMER, text="olá", create_time=moment)
        await caller.ask("CreateFeedback", conversation_id="first", stars=5, time=Timestamp(seconds=-62_135_596_800))
        entries = (await caller.ask("GetConversation", conversation_id=name)).entries
        assert [entry.time for entry in entries] == [entries[0].message.create_time]
    assert await all_pages(caller, page_size=1) == ["last", "first"]
    assert len((await caller.ask("ListFeedback", conversation_id="first")).feedback) == 2


async def test_pages_stay_whole_while_others_begin(caller: Any) -> None:
    for number in range(25):
        await caller.ask("UpsertConversation", conversation_id=f"c{number}", start_time=at(number // 3))
    first = await caller.ask("ListConversations", page_size=10)
    for number in range(25, 30):
        await caller.ask("UpsertConversation", conversation_id=f"c{number}", start_time=at(100 + number))
    second = await caller.ask("ListConversations", page_size=10, page_token=first.next_page_token)
    third = await caller.ask("ListConversations", page_size=10, page_token=second.next_page_token)
    assert not third.next_page_token
    told = [conversation.external_id for page in (first, second, third) for conversation in page.conversations]
    assert sorted(told) == sorted(f"c{number}" for number in range(25))
    starts = [conversation.start_time.seconds for page in (first, second, third) for conversation in page.conversations]
    assert starts == sorted(starts, reverse=True)


async def test_conversations_are_listed_by_what_they_are(caller: Any) -> None:
    closed, whatsapp = api.CONVERSATION_STATUS_CLOSED, api.CONVERSATION_CHANNEL_WHATSAPP
    await caller.ask("UpsertConversation", conversation_id="a", status=closed, start_time=at(1))
    await caller.ask("UpsertConversation", conversation_id="b", channel=whatsapp, start_time=at(2))
    await caller.ask("UpsertConversation", conversation_id="c", channel=whatsapp, status=closed, start_time=at(3))
    assert await all_pages(caller) == ["c", "b", "a"]
    assert await all_pages(caller, status=closed) == ["c", "a"]
    assert await all_pages(caller, channel=whatsapp, page_size=1) == ["c", "b"]
    assert await all_pages(caller, start_time_from=at(2), start_time_until=at(3)) == ["b"]


async def test_a_page_token_is_good_for_its_own_list_alone(caller: Any, stranger: Any) -> None:
    for who in (caller, stranger):
        for number in range(3):
            await who.ask("UpsertConversation", conversation_id=f"c{number}")
    token = (await caller.ask("ListConversations", page_size=1)).next_page_token
    flipped = token[:-3] + ("A" if token[-3] != "A" else "B") + token[-2:]
    for wrong in (flipped, token[:-4], token + "AAAA", "x", "é", "!!!!", "\x00"):
        with pytest.raises(InvalidArgument) as raised:
            await caller.ask("ListConversations", page_size=1, page_token=wrong)
        assert list(raised.value.violations) == ["page_token"]
    for who, fields in ((stranger, {}), (caller, {"status": api.CONVERSATION_STATUS_OPEN})):
        with pytest.raises(InvalidArgument):
            await who.ask("ListConversations", page_token=token, **fields)
    with pytest.raises(InvalidArgument):
        await caller.ask("SearchConversations", query="x", page_token=token)
    assert len((await caller.ask("ListConversations", page_size=1, page_token=token)).conversations) == 1


async def test_the_transcript_is_in_order_of_time_over_calls_and_messages(caller: Any) -> None:
    await caller.ask("UpsertConversation", conversation_id="c")
    words = '[{"text": "Bom", "start": 1.5, "end": 2.0, "confidence": 0.5}]'
    first = await caller.call("c", "Bom dia.", "Como vai?", "", words=words)
    await caller.run("UPDATE live_session SET created_at = created_at - interval '1 hour'")
    await caller.ask("CreateMessage", conversation_id="c", sender_type=api.SENDER_TYPE_BOT, sender_id="b7", text="Olá")
    second = await caller.call("c", "De novo.")
    told = await caller.ask("GetConversation", conversation_id="c", words=True)
    assert [entry.segment.text or entry.message.text for entry in told.entries] == ["Bom dia.", "Como vai?", "Olá", "De novo."]
    assert [entry.session_id for entry in told.entries] == [str(first), str(first), "", str(second)]
    said = told.entries[0].segment
    assert (said.id, said.start.seconds, said.end.seconds, said.words[0].text, said.words[0].start.nanos) == (
        "s1",
        10,
        15,
        "Bom",
        500_000_000,
    )
    assert not (await caller.ask("GetConversation", conversation_id="c")).entries[0].segment.words
    pages, token = [], ""
    while not pages or token:
        page = await caller.ask("GetConversation", conversation_id="c", words=True, page_size=1, page_token=token)
        token = page.next_page_token
        pages.append(page.entries[0])
    assert pages == list(told.entries)


async def test_a_long_transcript_comes_in_answers_that_fit(caller: Any) -> None:
    await caller.ask("UpsertConversation", conversation_id="c")
    for _ in range(40):
        await caller.ask("CreateMessage", conversation_id="c", sender_type=api.SENDER_TYPE_AGENT, text="é" * 65_000)
    page = await caller.ask("GetConversation", conversation_id="c")
    assert page.ByteSize() < 2.5 * 1024 * 1024
    rest = await caller.ask("GetConversation", conversation_id="c", page_token=page.next_page_token)
    rest_of_rest = await caller.ask("GetConversation", conversation_id="c", page_token=rest.next_page_token)
    ids = {entry.message.id for answer in (page, rest, rest_of_rest) for entry in answer.entries}
    assert len(ids) == 40
    assert not rest_of_rest.next_page_token


async def test_a_message_is_kept_once_by_its_name(caller: Any) -> None:
    await caller.ask("UpsertConversation", conversation_id="c")
    fields = {"conversation_id": "c", "sender_type": api.SENDER_TYPE_CUSTOMER, "external_id": "m1"}
    first = await caller.ask("CreateMessage", text="Oi", create_time=at(1), **fields)
    assert (await caller.ask("CreateMessage", text="Outra", **fields)).message == first.message
    assert first.message.create_time == at(1)
    assert await caller.rows("message") == 1


async def test_text_that_cannot_be_stored_is_cleaned(caller: Any) -> None:
    name = "nul\x00l"
    made = await caller.ask("UpsertConversation", conversation_id=name, subject="a\x00b")
    assert (made.conversation.external_id, made.conversation.subject) == ("null", "ab")
    assert (await caller.ask("GetConversation", conversation_id=name)).conversation.id == made.conversation.id
    told = await caller.ask("CreateMessage", conversation_id=name, sender_type=api.SENDER_TYPE_AGENT, text="\x00oi\x00", sender_id="\x00")
    assert (told.message.text, told.message.sender_id) == ("oi", "")
    with pytest.raises(InvalidArgument):
        await caller.ask("UpsertConversation", conversation_id="\x00")
    with pytest.raises(InvalidArgument):
        await caller.ask("CreateMessage", conversation_id=name, sender_type=api.SENDER_TYPE_AGENT, text="\x00")
    for method in ("GetConversation", "DeleteConversation"):
        with pytest.raises(NotFound):
            await caller.ask(method, conversation_id="\x00")


async def test_a_deleted_conversation_leaves_nothing_but_a_tombstone(caller: Any, stranger: Any) -> None:
    for who in (caller, stranger):
        for name in ("c", "other"):
            await who.ask("UpsertConversation", conversation_id=name)
            await who.call(name, "Bom dia.")
            await who.ask("CreateMessage", conversation_id=name, sender_type=api.SENDER_TYPE_AGENT, text="Oi")
            await who.ask("SaveState", conversation_id=name, key="k", value={})
            await who.ask("CreateFeedback", conversation_id=name, insight_id=str(await who.insight(name)), stars=5)
    tables = ("conversation", "live_session", "segment", "event", "message", "state", "insight", "feedback")
    await caller.ask("DeleteConversation", conversation_id="c")
    assert [await caller.rows(table) for table in tables] == [1] * len(tables)
    assert [await stranger.rows(table) for table in tables] == [2] * len(tables)
    assert await caller.run("SELECT count(*) FROM tombstone WHERE kind IN ('conversation', 'session')") == 2
    assert await caller.run("SELECT actor || ' ' || action FROM audit") == "token-id conversation.delete"
    with pytest.raises(NotFound):
        await caller.ask("GetConversation", conversation_id="c")
    with pytest.raises(NotFound):
        await caller.ask("DeleteConversation", conversation_id="c")


@pytest.mark.parametrize("state", ["open", "detached"])
async def test_a_conversation_with_a_call_going_on_is_not_deleted(caller: Any, state: str) -> None:
    await caller.ask("UpsertConversation", conversation_id="c")
    await caller.call("c", "Bom dia.", state=state)
    with pytest.raises(FailedPrecondition, match="a call of this conversation goes on"):
        await caller.ask("DeleteConversation", conversation_id="c")
    assert (await caller.rows("segment"), await caller.rows("tombstone")) == (1, 0)


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("GetConversation", {}),
        ("UpdateConversation", {"subject": "x"}),
        ("DeleteConversation", {}),
        ("CreateMessage", {"sender_type": api.SENDER_TYPE_AGENT, "text": "x"}),
        ("SaveState", {"key": "k", "value": {"a": 1}}),
        ("GetState", {"key": "k"}),
        ("DeleteState", {"key": "k"}),
        ("ListStates", {}),
        ("CreateFeedback", {"stars": 1}),
        ("ListFeedback", {}),
    ],
)
async def test_another_tenants_conversation_is_as_unknown_as_one_that_is_not(caller: Any, stranger: Any, method: str, fields: Any) -> None:
    kept = (await caller.ask("UpsertConversation", conversation_id="c", subject="mine")).conversation
    await caller.ask("SaveState", conversation_id="c", key="k", value={"mine": True})
    messages = set()
    for name in ("c", kept.id, "nothing", str(uuid.uuid4())):
        with pytest.raises(NotFound) as raised:
            await stranger.ask(method, conversation_id=name, **fields)
        messages.add((raised.value.message, raised.value.reason))
    assert len(messages) == 1
    assert (await caller.ask("GetConversation", conversation_id="c")).conversation == kept
    assert (await caller.ask("GetState", conversation_id="c", key="k")).value == {"mine": True}


async def test_lists_and_search_show_a_tenant_its_own_alone(caller: Any, stranger: Any) -> None:
    customer = (await caller.ask("CreateCustomer", external_id="ana", email="ana@example.com")).customer
    await caller.ask("UpsertConversation", conversation_id="c", customer_id="ana")
    await caller.call("c", "segredo")
    await caller.ask("CreateFeedback", conversation_id="c", stars=1)
    assert not (await stranger.ask("ListConversations")).conversations
    assert not (await stranger.ask("SearchConversations", query="segredo")).conversations
    assert not (await stranger.ask("ListCustomers", email="ana@example.com")).customers
    listed = await stranger.ask("ListFeedback")
    assert (len(listed.feedback), listed.summary.count) == (0, 0)
    for method, fields in (("GetCustomer", {}), ("UpdateCustomer", {"name": "x"})):
        for name in (customer.id, "ana", "nobody"):
            with pytest.raises(NotFound, match="there is no such customer"):
                await stranger.ask(method, customer_id=name, **fields)
    # The same name is another conversation for another tenant.
    theirs = await stranger.ask("UpsertConversation", conversation_id="c")
    assert theirs.created
    assert (await caller.ask("GetConversation", conversation_id="c")).conversation.id != theirs.conversation.id


async def test_times_that_no_calendar_has_are_refused(caller: Any) -> None:
    with pytest.raises(InvalidArgument) as raised:
        await caller.ask("ListConversations", start_time_from=Timestamp(seconds=10**15))
    assert list(raised.value.violations) == ["start_time_from"]
