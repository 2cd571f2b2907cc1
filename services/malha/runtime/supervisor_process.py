"""One process of a supervised child: started with the pipes it talks through, asked whether it is ready, given its turn, ended."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Final, Self

from malha.runtime.unhurried import HURRIED, TURN_FD

READY_FD: Final = "MALHA_READY_FD"
PARENT_FD: Final = "MALHA_PARENT_FD"

TURN: Final = b"!"
"""What a standby reads when its turn has come; the end of the pipe means that there will be none."""
_READY_BYTES: Final = 65_536


class Process:
    """A child's process, and all it left in its process group. Whoever starts one ends it with `end`."""

    def __init__(self, process: asyncio.subprocess.Process, environment: Mapping[str, str], ready: int, turn: int | None) -> None:
        self.pid = process.pid
        self.environment = environment
        """What was added to the supervisor's own."""
        self.ended = asyncio.create_task(process.wait())
        self._process = process
        self._ready = ready
        self._turn = turn

    @classmethod
    async def start(
        cls, command: Sequence[str], environment: Mapping[str, str], parent: int, *, standby: bool = False, hurried: bool = False
    ) -> Self:
        """Run a command. ``parent`` is a descriptor whose other end closes with this process; a ``standby`` waits for `give_turn`, and
        loads without pauses where it is ``hurried``.

        Raises OSError if the command cannot be run.
        """
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            ready, telling = os.pipe()
            ours.callback(os.close, ready)
            theirs.callback(os.close, telling)
            named = {READY_FD: telling, PARENT_FD: parent}
            turn = None
            if standby:
                named[TURN_FD], turn = os.pipe()
                ours.callback(os.close, turn)
                theirs.callback(os.close, named[TURN_FD])
            hurry = {HURRIED: "1"} if hurried else {}
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=tuple(named.values()),
                env={**os.environ, **environment, **{name: str(descriptor) for name, descriptor in named.items()}, **hurry},
                start_new_session=True,
            )
            ours.pop_all()
            return cls(process, environment, ready, turn)

    def give_turn(self) -> bool:
        """Let a standby serve. False: it has died."""
        assert self._turn is not None, "a standby's turn comes once"
        try:
            os.write(self._turn, TURN)
        except BrokenPipeError:
            return False
        finally:
            self.dismiss()
        return True

    def dismiss(self) -> None:
        """Have a standby end by itself."""
        if self._turn is not None:
            os.close(self._turn)
            self._turn = None

    async def told(self) -> Mapping[str, str]:
        """What the process writes with `notify_ready`. Never returns if it closes the pipe without a line."""
        loop = asyncio.get_running_loop()
        received = bytearray()
        complete = loop.create_future()

        def read() -> None:
            data = os.read(self._ready, _READY_BYTES)
            received.extend(data)
            if not data or len(received) > _READY_BYTES:
                loop.remove_reader(self._ready)
            elif data.endswith(b"\n") and not complete.done():
                complete.set_result(None)

        loop.add_reader(self._ready, read)
        try:
            await complete
        finally:
            loop.remove_reader(self._ready)
        info: Mapping[str, str] = json.loads(received)
        return info

    async def end(self, stop_signal: signal.Signals = signal.SIGKILL, seconds: float | None = None) -> int:
        """End the process, if it has not, and everything it left in its group, so that its ports and files are free; its exit code.

        It has ``seconds`` from the signal to SIGKILL. Call it once.
        """
        try:
            if not self.ended.done():
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(stop_signal)
                await asyncio.wait([self.ended], timeout=seconds)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            return await self.ended
        finally:
            self.dismiss()
            os.close(self._ready)
