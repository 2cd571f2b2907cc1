import asyncio
from integration.edge.test_counter_interactions import *
async def test_dbg(settings, database, store, model, monkeypatch):
    monkeypatch.setenv("TEST_MODEL_KEY", "secret-key")
    def reply(r):
        print(str(r.body)[-1500:]); return answer_of("next_step", "Ofereça ajuda para achar o remédio.", "0-1", "remédio para dor de cabeça")
    model.reply = reply
    async with shop(settings, store, database, [LONG], MODELS.replace("{url}", model.base_url)) as place, desk(place.edge) as client:
        await client.shake(place.key, transcricoes=True)
        await speak(client)
        await client.socket.send(END)
        print(await client.rest())
        async with database.app_tx() as connection:
            tenant = await connection.fetchval("SELECT malha_find_tenant('default')")
        async with database.tenant_tx(tenant) as connection:
            for t in ("interaction","insight"):
                for row in await connection.fetch(f"SELECT * FROM {t}"): print(dict(row))
