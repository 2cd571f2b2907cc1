"""Whether personal data is masked: the tenant's settings for calls, as they are in the database."""

import uuid

import pytest

from malha.api.insight.v1 import rules_pb2
from malha.api.ocr.v1 import ocr_pb2 as api
from malha.ocr.engines.rapidocr import RapidOcrEngine
from malha.ocr.service import OcrService
from malha.ocr.settings import OcrSettings
from malha.runtime.auth import Principal
from malha.store.configuration import Configurations
from malha.store.database import Database
from malha.store.tenants import Tenants


@pytest.fixture
def service(database: Database) -> OcrService:
    settings = OcrSettings(_env_file=None)
    return OcrService(RapidOcrEngine(settings), settings, database)


def caller(tenant_id: uuid.UUID | None) -> Principal:
    return Principal("acme", "token", tenant_id)


async def test_a_tenant_that_has_set_nothing_is_scrubbed_and_a_caller_may_say_no(service: OcrService, database: Database) -> None:
    tenant = (await Tenants(database).ensure(["acme"]))["acme"]
    assert await service._policy(api.Open(), caller(tenant)) == (True, ())
    assert await service._policy(api.Open(scrub=False), caller(tenant)) == (False, ())
    assert await service._policy(api.Open(), caller(None)) == (True, ())


async def test_a_tenants_policy_and_names_hold_and_a_caller_may_say_yes(service: OcrService, database: Database) -> None:
    tenant = (await Tenants(database).ensure(["acme"]))["acme"]
    configuration = rules_pb2.Configuration(keep_personal_data=True, names=["Joana Prado"])
    await Configurations(database).replace(tenant, configuration, "test")
    assert await service._policy(api.Open(), caller(tenant)) == (False, ("Joana Prado",))
    assert await service._policy(api.Open(scrub=True), caller(tenant)) == (True, ("Joana Prado",))


async def test_while_the_database_is_away_personal_data_is_masked(service: OcrService, database: Database) -> None:
    tenant = (await Tenants(database).ensure(["acme"]))["acme"]
    await database.close()
    assert await service._policy(api.Open(), caller(tenant)) == (True, ())
