"""How does a model see?

A projector, a GGUF file of its own (mmproj), turns an image into rows that stand where rows of tokens would. libmtmd
reads the files, cuts them up as the model learned it, and says what stands around them.

That takes up to seconds on a CPU for an image. It has a thread of its own, one image after the other, so that who
writes goes on meanwhile and a command is heard.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from weakref import finalize

import llama_cpp
import numpy as np
from llama_cpp import mtmd_cpp as mtmd
from numpy.typing import NDArray

from golek_wire.errors import BadRequestError
from golek_worker.engine.base import EngineLoadError
from golek_worker.engine.llamacpp import log
from golek_worker.engine.llamacpp.model import Model
from golek_worker.image_marks import IMAGE_MARK, places

READABLE = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM")
"""How the files begin that it reads."""
NOWHERE = b"/nonexistent"
"""Where libmtmd looks for ffmpeg, which it would hand whatever it cannot read itself: never to a stranger's file."""

Rows = NDArray[np.float32]
T = TypeVar("T")


class Read(NamedTuple):
    """A prompt with images, cut into tokens."""

    tokens: list[int]
    """Those of an image are negative, and a hash of it: equal images have equal ones."""
    images: list[Image]


class Image:
    """A piece of the prompt that is no text: an image, or a tile of one."""

    def __init__(self, eyes: Eyes, chunk: Any, owner: object, start: int) -> None:
        self._eyes = eyes
        self._chunk = chunk
        self._owner = owner
        """Keeps the chunk alive."""
        self._rows: Future[Rows] | None = None
        self.start = start
        """Its place among the tokens."""
        self.tokens: int = mtmd.mtmd_input_chunk_get_n_tokens(chunk)
        self.stop = start + self.tokens
        self.span: int = mtmd.mtmd_input_chunk_get_n_pos(chunk)
        """By so much the position of what follows is higher; less than its tokens where they lie in a plane."""
        self.is_whole: bool = mtmd.mtmd_decode_use_non_causal(eyes.handle, chunk)
        """Whether its rows see each other, and have to be computed together."""

    def begin(self) -> bool:
        """Have its rows computed, unless they are already; True when they are there."""
        if self._rows is None:
            self._rows = self._eyes.compute(self._chunk, self.tokens)
        return self._rows.done()

    def rows(self, start: int, stop: int) -> Rows:
        """Its rows for the tokens `start` to `stop` of the prompt. Raises BadRequestError when there are none."""
        assert self._rows is not None
        try:
            rows = self._rows.result()
        except (RuntimeError, CancelledError) as error:
            raise BadRequestError(f"An image of the request cannot be computed: {error}; leave it out") from None
        return rows[start - self.start : stop - self.start]

    def positions(self, first: int, start: int, stop: int) -> list[int]:
        """Of the tokens `start` to `stop` of the prompt, when its first one is at position `first`.

        Where they lie in a plane (M-RoPE) each has four: all the times, then all the rows, the columns, the rest.
        """
        if not self._eyes.in_plane:
            return list(range(first + start - self.start, first + stop - self.start))
        found = (mtmd.mtmd_decoder_pos * self.tokens)()
        mtmd.mtmd_helper_image_get_decoder_pos(mtmd.mtmd_input_chunk_get_tokens_image(self._chunk), first, found)
        shown = found[start - self.start : stop - self.start]
        return [getattr(position, axis) for axis in "tyxz" for position in shown]

    def drop(self) -> None:
        """Nobody wants its rows any more; what is being computed is computed to its end."""
        if self._rows is not None:
            self._rows.cancel()


class Eyes:
    """A loaded projector."""

    def __init__(self, path: Path, model: Model, threads: int, most_rows: int) -> None:
        """`most_rows` can be computed in one call. Raises EngineLoadError: no such file, not one of this model's."""
        if not path.is_file():
            raise EngineLoadError(
                f"{path}: no such file. Set MMPROJ_PATH to the model's projector (mmproj), or leave it out: then one "
                "beside the model's file is used, if there is one."
            )
        mtmd.mtmd_helper_log_set(log.callback, ctypes.c_void_p(0))
        params = mtmd.mtmd_context_params_default()
        params.use_gpu = model.on_gpu
        params.n_threads = threads
        params.print_timings = False
        handle = mtmd.mtmd_init_from_file(str(path).encode(), model.handle, params)
        if handle is None:
            raise EngineLoadError(
                f"{path}: llama.cpp cannot load it as the projector of {model.path}: "
                f"{log.take_error() or 'it gave no reason'}. Set MMPROJ_PATH to the file that was made for this model."
            )
        self.handle: mtmd.mtmd_context_p = handle
        if not mtmd.mtmd_support_vision(handle):
            mtmd.mtmd_free(handle)
            raise EngineLoadError(f"{path}: it hears, and does not see. Set MMPROJ_PATH to a projector of images.")
        self.in_plane: bool = mtmd.mtmd_decode_use_mrope(handle)
        self._model = model
        self._most_rows = most_rows
        self._width = llama_cpp.llama_model_n_embd_inp(model.handle)
        self._thread = ThreadPoolExecutor(1, "eyes")
        self._queue: set[Future[Any]] = set()
        """What the thread does, or is to do."""

    def read(self, prompt: str, cuts: Sequence[int], images: Sequence[bytes], fields: Sequence[str] = ()) -> Read:
        """The tokens of `prompt` with an image at each mark. Raises BadRequestError for one that cannot be read, with
        its field where `fields` names them.
        """
        marks = places(prompt, cuts)
        if len(marks) != len(images):
            raise BadRequestError(f"{len(images)} images came with a prompt that has a place for {len(marks)}")
        bitmaps: list[mtmd.mtmd_bitmap_p] = []
        try:
            for number, data in enumerate(images):
                bitmaps.append(self._bitmap(data, fields[number] if fields else f"images[{number}]"))
            read = self._read(_parts(prompt, cuts, marks), bitmaps, opens=not self._has_opening(prompt))
        finally:
            for bitmap in bitmaps:
                mtmd.mtmd_bitmap_free(bitmap)
        self._check(read.images)
        return read

    def look(
        self, prompt: str, cuts: Sequence[int], images: Sequence[bytes], fields: Sequence[str] = ()
    ) -> Future[Read]:
        """`read`, in the thread."""
        return self._queued(self._thread.submit(self.read, prompt, cuts, images, fields))

    def compute(self, chunk: Any, tokens: int) -> Future[Rows]:
        """The rows of an image, in the thread."""
        return self._queued(self._thread.submit(self._encode, chunk, tokens))

    def wait(self, seconds: float) -> None:
        """Until something is done in the thread, or so long."""
        wait(list(self._queue), seconds, "FIRST_COMPLETED")

    def close(self) -> None:
        """Free the projector; waits for the image that is being computed."""
        self._thread.shutdown(cancel_futures=True)
        mtmd.mtmd_free(self.handle)

    def _queued(self, one: Future[T]) -> Future[T]:
        self._queue.add(one)
        one.add_done_callback(self._queue.discard)
        return one

    def _has_opening(self, prompt: str) -> bool:
        return bool(self._model.bos_text) and prompt.startswith(self._model.bos_text)

    def _bitmap(self, data: bytes, place: str) -> mtmd.mtmd_bitmap_p:
        """The pixels of an image. Raises BadRequestError."""
        if data.startswith(b"RIFF"):
            raise BadRequestError(
                f"{place}: WebP is not read by this model; PNG, JPEG, GIF and BMP are: convert it", param=place
            )
        bitmap = None
        if data.startswith(READABLE):
            options = mtmd.mtmd_helper_init_opt_default()
            options.video_params.ffmpeg_bin_dir = NOWHERE
            buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
            bitmap = mtmd.mtmd_helper_bitmap_init_from_buf(self.handle, buffer, len(data), False, options)
            log.take_error()
        if bitmap is None:
            raise BadRequestError(
                f"{place}: its {len(data)} bytes, which begin with {data[:8].hex(' ')}, are no whole PNG, JPEG, GIF or "
                "BMP; this model reads no others. Convert it, or send it again",
                param=place,
            )
        return bitmap

    def _read(self, parts: list[str | None], bitmaps: list[mtmd.mtmd_bitmap_p], *, opens: bool) -> Read:
        """Texts, and None for each image in their order."""
        waiting = iter(bitmaps)
        pieces = [_piece(part, None if part is not None else next(waiting)) for part in parts]
        pointers = (ctypes.POINTER(mtmd.mtmd_input_part) * len(pieces))(*[ctypes.pointer(piece) for piece in pieces])
        chunks = _Chunks()
        status = mtmd.mtmd_tokenize_from_parts(self.handle, chunks.handle, pointers, len(pieces), opens)
        if status != 0:
            raise BadRequestError(f"The images cannot be read: {log.take_error() or 'llama.cpp gave no reason'}")
        read = Read([], [])
        seen: Counter[bytes] = Counter()
        for chunk in chunks:
            if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
                count = ctypes.c_size_t()
                tokens = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
                read.tokens.extend(tokens[: count.value])
                continue
            name = mtmd.mtmd_input_chunk_get_id(chunk) or b""
            image = Image(self, chunk, chunks, len(read.tokens))
            read.tokens.extend(_key(b"%s/%d" % (name, seen[name]), image.tokens))
            read.images.append(image)
            seen[name] += 1
        return read

    def _check(self, images: Sequence[Image]) -> None:
        """Raise BadRequestError for an image whose rows cannot be computed together."""
        found = max((image.tokens for image in images if image.is_whole), default=0)
        if found > self._most_rows:
            raise BadRequestError(
                f"An image has {found} tokens; this model reads all of an image at once, and at most "
                f"{self._most_rows} tokens. Make it smaller"
            )

    def _encode(self, chunk: Any, tokens: int) -> Rows:
        if mtmd.mtmd_encode_chunk(self.handle, chunk) != 0:
            raise RuntimeError(log.take_error() or "llama.cpp gave no reason")
        found = np.ctypeslib.as_array(mtmd.mtmd_get_output_embd(self.handle), (tokens, self._width))
        return found.copy()


class _Chunks:
    """What libmtmd made of a prompt; freed with the last image that needs it."""

    def __init__(self) -> None:
        self.handle: mtmd.mtmd_input_chunks_p = mtmd.mtmd_input_chunks_init()
        finalize(self, mtmd.mtmd_input_chunks_free, self.handle)

    def __iter__(self) -> Iterator[Any]:
        for index in range(mtmd.mtmd_input_chunks_size(self.handle)):
            yield mtmd.mtmd_input_chunks_get(self.handle, index)


def _parts(prompt: str, cuts: Sequence[int], marks: Sequence[int]) -> list[str | None]:
    """The texts between marks and cuts, and None for each mark."""
    parts: list[str | None] = []
    at = 0
    for end, is_mark in sorted([*((mark, True) for mark in marks), *((cut, False) for cut in cuts)]):
        parts += [prompt[at:end]] if end > at else []
        parts += [None] if is_mark else []
        at = end + len(IMAGE_MARK) if is_mark else end
    return [*parts, prompt[at:]] if at < len(prompt) else parts


def _piece(text: str | None, bitmap: mtmd.mtmd_bitmap_p | None) -> Any:
    """A part of a prompt as libmtmd takes it."""
    if text is None:
        return mtmd.mtmd_input_part(text=None, bitmap=bitmap)
    data = text.encode()
    said = mtmd.mtmd_input_text(text=data, text_len=len(data), add_special=False, parse_special=True)
    return mtmd.mtmd_input_part(text=ctypes.pointer(said), bitmap=None)


def _key(name: bytes, tokens: int) -> list[int]:
    """What stands for an image among the tokens: a hash as long as it, of negative numbers."""
    digest = np.frombuffer(hashlib.shake_256(name).digest(4 * tokens), np.int32)
    found: list[int] = (digest | np.int32(-(2**31))).tolist()
    return found
