"""A tenant's rules: kept in versions, checked, its own, and in force in its next call."""

import grpc
import pytest
from integration.insight.administering import THEIRS, Admin, refused, rule
from integration.insight.analysing import AGENT, THREAT, Talk, kind_of, span
from integration.insight.conftest import Serving

from malha.api.insight.v1 import rules_pb2
from malha.insight.builtin_rules import builtin_rules
from malha.insight.rule_store import MOST_RULES
from malha.runtime.errors import InvalidArgument, MalhaError
from malha.store.database import Database
from malha.store.settings import StoreSettings

BUILTIN = {spec.id for spec in builtin_rules()}


WRONG: tuple[tuple[dict[str, object], str], ...] = (
    ({"id": "Com Espaço"}, "id"),
    ({"id": ""}, "id"),
    ({"id": "a" * 65}, "id"),
    ({"type": 0}, "type"),
    ({"type": 99}, "type"),
    ({"message": ""}, "message"),
    ({"message": "   "}, "message"),
    ({"message": "x" * 501}, "message"),
    ({"confidence": 1.5}, "confidence"),
    ({"confidence": float("nan")}, "confidence"),
    ({"condition": None}, "condition"),
    ({"condition": {}}, "condition"),
    ({"condition": {"none_of": ["não"]}}, "condition"),
    ({"condition": {"any_of": ["..."]}}, "any_of[0]"),
    ({"condition": {"any_of": ["x" * 201]}}, "rule.condition.any_of"),
    ({"condition": {"any_of": ["a"] * 257}}, "any_of"),
    ({"condition": {"all_of": ["quero cancelar"], "none_of": ["cancelar"]}}, "none_of"),
    ({"window": span(601)}, "window"),
    ({"window": span(-1)}, "window"),
    ({"window": {"seconds": 5, "nanos": -1}}, "rule.window"),
    ({"cooldown": span(3601)}, "cooldown"),
    ({"cooldown": {"seconds": 5, "nanos": 1_999_999_999}}, "rule.cooldown"),
    ({"languages": ["portuguese"]}, "rule.languages"),
    ({"languages": ["12"]}, "languages[0]"),
    ({"roles": [0]}, "roles"),
    ({"roles": [7]}, "roles"),
)


async def test_a_rule_from_its_first_version_to_its_end(serving: Serving, database: Database, store: StoreSettings) -> None:
    async with serving(None, (database, store)) as place:
        admin = Admin(place.channel)
        given = rule(
            "refund",
            "reembolso",
            "devolver o dinheiro",
            name="Reembolso",
            confidence=0.7,
            roles=[1],
            window=span(30),
            languages=["pt"],
            cooldown=span(0),
            disabled=True,
        )
        first = await admin.save(given)
        assert first.version == 1
        given.version = 1
        assert first == given
        second = await admin.save(rule("refund", "estorno", version=1))
        assert second.version == 2
        assert await admin.rule("refund") == second
        assert await admin.rule("refund", 1) == first
        assert await admin.rules() == [second]
        await admin.delete("refund")
        assert await admin.rules() == []
        async with refused("RULE_NOT_FOUND"):
            await admin.rule("refund")
        async with refused("RULE_NOT_FOUND"):
            await admin.delete("refund")
        assert await admin.rule("refund", 1) == first, "insights that name it can still be understood"
        assert (await admin.save(rule("refund"))).version == 4


async def test_nobody_s_change_of_a_rule_is_lost(serving: Serving, database: Database, store: StoreSettings) -> None:
    async with serving(None, (database, store)) as place:
        admin = Admin(place.channel)
        await admin.save(rule("refund"))
        await admin.save(rule("refund", version=1))
        for stale in (1, 3, 4_294_967_295):
            with pytest.raises(MalhaError) as raised:
                await admin.save(rule("refund", version=stale))
            assert (raised.value.code, raised.value.reason) == (grpc.StatusCode.ABORTED, "REVISION_STALE")
        assert (await admin.rule("refund")).version == 2
        async with refused("REVISION_STALE"):
            await admin.save(rule("new", version=1))


async def test_one_of_malha_s_own_is_replaced_and_comes_back(serving: Serving, database: Database, store: StoreSettings) -> None:
    async with serving(None, (database, store)) as place:
        admin = Admin(place.channel)
        talk = Talk(place.channel)
        await talk.open()
        await talk.say(THREAT)
        replaced = (await talk.insight()).rule.partition("@")[0]
        await talk.finish()
        own = await admin.rule(replaced)
        assert {each.id for each in await admin.rules(builtin=True)} == BUILTIN
        kept = await admin.save(rule(replaced, "nunca dito por ninguém"))
        assert (await admin.rule(replaced)).message == kept.message
        listed = await admin.rules(builtin=True)
        assert [each.id for each in listed] == sorted(BUILTIN)
        assert [each.message for each in listed if each.id == replaced] == [kept.message]
        silent = Talk(place.channel)
        await silent.open()
        await silent.say(THREAT)
        assert not [each for each in await silent.finish() if each.rule.startswith(f"{replaced}@")]
        await admin.delete(replaced)
        assert await admin.rule(replaced) == own
        again = Talk(place.channel)
        await again.open()
        await again.say(THREAT)
        assert (await again.insight()).rule.startswith(f"{replaced}@")
        await again.finish()


async def test_a_rule_is_in_force_in_the_next_call_and_not_in_the_one_under_way(
    serving: Serving, database: Database, store: StoreSettings
) -> None:
    async with serving(None, (database, store)) as place:
        admin, before, after = Admin(place.channel), Talk(place.channel), Talk(place.channel)
        await before.open()
        kept = await admin.save(rule("refund"))
        await before.say("eu quero o meu reembolso agora")
        assert not [each for each in await before.finish() if each.rule.startswith("refund@")]
        await after.open()
        await after.say("o reembolso o senhor pede no site", AGENT)
        await after.say("eu quero o meu reembolso agora")
        told = await after.insight()
        while not told.rule.startswith("refund@"):
            told = await after.insight()
        assert (kind_of(told), told.rule, told.message) == ("risk_alert", f"refund@{kept.version}", "Ofereça o reembolso: reembolso")
        await after.finish()


async def test_a_rule_that_is_wrong_or_can_never_match_is_refused_and_its_field_named(
    serving: Serving, database: Database, store: StoreSettings
) -> None:
    async with serving(None, (database, store)) as place:
        admin = Admin(place.channel)
        for wrong, field in WRONG:
            fields = {"id": "refund", "type": 3, "message": "m", "condition": {"any_of": ["reembolso"]}} | wrong
            bad = rules_pb2.Rule(**fields)  # type: ignore[arg-type]  # as a client without types
            for ask in (admin.save, admin.backtest):
                with pytest.raises(MalhaError) as raised:
                    await ask(bad)
                assert raised.value.code is grpc.StatusCode.INVALID_ARGUMENT, wrong
                assert any(field in violated and violated.startswith("rule.") for violated in raised.value.violations), (
                    wrong,
                    raised.value.violations,
                )
        assert await admin.rules() == []


async def test_characters_no_database_takes_are_refused_or_left_out(serving: Serving, database: Database, store: StoreSettings) -> None:
    async with serving(None, (database, store)) as place:
        admin = Admin(place.channel)
        kept = await admin.save(rule("refund", "reem\0bolso", name="a\0b", message="c\0d"))
        assert "\0" not in str(kept)
        assert await admin.rule("refund") == kept
        for work in (admin.rule("re\0fund"), admin.delete("re\0fund"), admin.rule("refund", 4_294_967_295)):
            with pytest.raises(InvalidArgument):
                await work


async def test_a_rule_of_another_tenant_is_not_there(serving: Serving, database: Database, store: StoreSettings) -> None:
    async with serving(None, (database, store)) as place:
        mine, theirs = Admin(place.channel), Admin(place.channel, THEIRS)
        kept = await mine.save(rule("refund"))
        assert await theirs.rules() == []
        for ask in (theirs.rule, theirs.delete):
            async with refused("RULE_NOT_FOUND"):
                await ask("refund")
        assert (await theirs.save(rule("refund", "outro"))).version == 1
        await theirs.delete("refund")
        assert await mine.rule("refund") == kept
        talk = Talk(place.channel, (("authorization", THEIRS),))
        await talk.open()
        await talk.say("eu quero o meu reembolso agora")
        assert not [each for each in await talk.finish() if each.rule.startswith("refund@")]


async def test_a_tenant_has_so_many_rules_and_no_more(serving: Serving, database: Database, store: StoreSettings) -> None:
    async with serving(None, (database, store)) as place:
        admin = Admin(place.channel)
        await admin.save(rule("r-0"))
        async with database.app_tx() as connection:
            tenant = await connection.fetchval("SELECT malha_find_tenant('default')")
        async with database.tenant_tx(tenant) as connection:
            await connection.execute(
                "INSERT INTO insight_rule (tenant_id, id, version, body) SELECT tenant_id, 'r-' || number, 1, body"
                " FROM insight_rule, generate_series(1, $1) AS number",
                MOST_RULES - 1,
            )
        async with refused("TOO_MANY_RULES"):
            await admin.save(rule("one-more"))
        assert (await admin.save(rule("r-7", "estorno"))).version == 2, "one that is there can still be changed"
        await admin.delete("r-8")
        assert (await admin.save(rule("one-more"))).version == 1
        assert len(await admin.rules()) == MOST_RULES


async def test_without_a_database_there_are_malha_s_own_rules_and_none_can_be_kept(serving: Serving) -> None:
    async with serving() as place:
        admin = Admin(place.channel)
        assert {each.id for each in await admin.rules(builtin=True)} == BUILTIN
        assert (await admin.rule(min(BUILTIN))).id == min(BUILTIN)
        for work in (admin.save(rule()), admin.delete("refund"), admin.rule("refund"), admin.backtest(rule()), admin.configuration()):
            async with refused("STORE_NOT_CONFIGURED"):
                await work
