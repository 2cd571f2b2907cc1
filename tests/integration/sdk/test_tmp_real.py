import asyncio, io, wave
import numpy as np
import pytest
from malha.sdk import *
from malha.sdk import SpeechStarted
TOKEN="test-token"
def sound():
    from conftest import silence, voice
    return np.concatenate([silence(.5), voice(2), silence(1), voice(1.5), silence(.8)]).tobytes()
async def test_live(server):
    async with Malha(server.target, TOKEN) as m:
        ev=[e async for e in m.live(sound(), pace="batch", language="en", roles=["agent"], words=True)]
        for e in ev: print(e)
        ev=[]
        async with m.live(sound(), language="en") as call:
            async for e in call:
                ev.append(e); print(e)
                if isinstance(e, Opened): await call.mute(0); await call.unmute(); await call.hold(); await call.unhold(); await call.dtmf("1"); await call.flush()
            print(call.unsaved_audio().position, len(call.unsaved_audio().content))
async def test_transcribe(server):
    f=io.BytesIO()
    with wave.open(f,"wb") as w:
        w.setnchannels(1); w.setsampwidth(2); w.setframerate(16000); w.writeframes(sound())
    async with Malha(server.target, TOKEN) as m:
        print(await m.transcribe(f.getvalue(), language="en", progress=lambda *a: print(a)))
        print(await m.models(), await m.health())
        for bad in (b"", b"garbage"*100):
            try: print(await m.transcribe(bad))
            except MalhaError as e: print(type(e), e, e.reason, e.metadata)
        try: await m.voices()
        except MalhaError as e: print(type(e), e, e.reason)
        try: await m.synthesize("x", language="en")
        except MalhaError as e: print(type(e), e, e.reason)
    async with Malha(server.target, "bad") as m:
        try: await m.models()
        except MalhaError as e: print(type(e), e, e.reason)
        try: 
            async for _ in m.live([b"12"]): pass
        except MalhaError as e: print(type(e), e, e.reason)
async def test_leave(server):
    async def mic():
        while True:
            yield sound()[16000:19200]; await asyncio.sleep(.1)
    async with Malha(server.target, TOKEN) as m:
        async for e in m.live(mic()):
            print(e)
            if isinstance(e, Ack): break
        call=m.live(mic())
        async def l():
            async for e in call: print(e)
        t=asyncio.create_task(l()); await asyncio.sleep(1)
        await server.server.stop()
        try: await t
        except Exception as e: print(repr(e), getattr(e,'__dict__',0) and {k:v for k,v in e.__dict__.items() if k!='unsaved'})
