"""How are messages found in what the server sends?

nats-py looks for them with expressions, one after the other. Most of what comes are whole messages: those are taken
apart here, at half the cost, and all else, and what is wrong, is nats-py's.
"""

from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

_LINE_END = b"\r\n"


class Reader(Parser):
    """nats-py's parser with a short way for whole messages (NATS client protocol, MSG and HMSG)."""

    async def parse(self, data: bytes = b"") -> None:
        """Hand all messages in `data` to the client. Raises as nats-py's does."""
        if self.state == AWAITING_CONTROL_LINE and not self.buf:
            data = data[await self._whole(data) :]
        if data:
            await super().parse(data)

    async def _whole(self, data: bytes) -> int:
        """Take the whole messages at the beginning of `data`; how many bytes those are."""
        taken = 0
        while True:
            if data.startswith(b"HMSG ", taken):
                has_headers, words_before = True, 5
            elif data.startswith(b"MSG ", taken):
                has_headers, words_before = False, 4
            else:
                return taken
            end = data.find(_LINE_END, taken)
            words = data[taken + words_before : end].split() if end > 0 else []
            sizes = 2 if has_headers else 1
            if not 2 <= len(words) - sizes <= 3 or not all(map(bytes.isdigit, (words[1], *words[-sizes:]))):
                return taken
            begin = end + 2
            until = begin + int(words[-1])
            if len(data) < until + 2:
                return taken
            header_size = int(words[-2]) if has_headers else 0
            head = data[begin : begin + header_size] if header_size else None
            reply = words[2] if len(words) - sizes == 3 else b""
            taken = until + 2
            await self.nc._process_msg(int(words[1]), words[0], reply, data[begin + header_size : until], head)
