"""How do routers answer questions about themselves?

On `golek.route.explain` and `golek.route.table`, in one queue group: any router knows what all of them know.
"""

import contextlib
from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct
from nats.aio.msg import Msg

from golek_client.bus_client import BusClient
from golek_client.connection import publish
from golek_wire import codec, subjects
from golek_wire.errors import InferenceServiceError
from golek_wire.routing import EXPLAIN, TABLE
from golek_worker.bus.jetstream import BUS_ERRORS
from golek_worker.bus.replies import send_error

Headers = Mapping[str, str] | None


async def serve(
    client: BusClient, explain: Callable[[bytes, Headers], Awaitable[Struct]], table: Callable[[], Struct]
) -> None:
    """Answer for as long as the connection stands. `explain` has the headers, too: they say who asks. Raises one of
    BUS_ERRORS.
    """

    async def answer(message: Msg) -> None:
        if not subjects.is_reply_inbox(message.reply):
            return
        with contextlib.suppress(*BUS_ERRORS):  # the broker went away, and with it who would hear
            try:
                said = table() if message.subject == TABLE else await explain(message.data, message.headers)
            except InferenceServiceError as error:
                await send_error(client, message.reply, "", error, stream=False)
            else:
                await publish(client, message.reply, codec.encode(said))

    for subject in (EXPLAIN, TABLE):
        await client.subscribe(subject, queue=subjects.QUEUE_GROUP, cb=answer)
