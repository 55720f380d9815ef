"""Does a sequence fit into the model's context, and how much may it still write?"""

from golek_wire.errors import ContextBudgetExceededError


def token_limit(tokens_in: int, max_tokens: int | None, ctx_size: int, least_room: int = 0, of_images: int = 0) -> int:
    """How many tokens the answer may have: `max_tokens`, or without it as many as the context leaves.

    `of_images` are those of `tokens_in` that stand for images. Raises ContextBudgetExceededError when the prompt leaves
    no room, less than `max_tokens`, or without that less than `least_room`.
    """
    room = ctx_size - tokens_in
    of = f" ({of_images} of images)" if of_images else ""
    shorten = "Shorten the prompt, or send fewer or smaller images" if of_images else "Shorten the prompt"
    if room <= 0:
        raise ContextBudgetExceededError(
            tokens_in,
            ctx_size,
            f"The prompt has {tokens_in} tokens{of}; the context has {ctx_size} for prompt and answer together. "
            f"{shorten}.",
        )
    if max_tokens is None and room < least_room:
        raise ContextBudgetExceededError(
            tokens_in + least_room,
            ctx_size,
            f"The prompt has {tokens_in} tokens{of}; the context has {ctx_size}, and {least_room} shall be left for "
            f"the answer. {shorten}.",
        )
    if max_tokens is None:
        return room
    if max_tokens > room:
        raise ContextBudgetExceededError(
            tokens_in + max_tokens,
            ctx_size,
            f"The prompt's {tokens_in} tokens{of} and max_tokens {max_tokens} are {tokens_in + max_tokens}; the "
            f"context has {ctx_size}. {shorten} or ask for at most {room} tokens.",
            max_tokens_possible=room,
        )
    return max_tokens


def tokens_left(
    tokens_in: int,
    max_tokens: int | None,
    ctx_size: int,
    written: int,
    counted: int,
    least_room: int = 0,
    of_images: int = 0,
) -> int:
    """How many tokens may follow a part of the answer that has `written` tokens in this context; 0 when none may.

    `counted` is how many of `max_tokens` that part has used up: a caller may know it better, for a text can be cut into
    tokens in several ways. Raises as `token_limit` does.
    """
    limit = token_limit(tokens_in, max_tokens, ctx_size, least_room, of_images)
    return max(0, min(limit - counted, ctx_size - tokens_in - written))


def check_least(least_tokens: int, ctx_size: int, name: str = "prompt") -> None:
    """Refuse a text of so many tokens or more. Raises ContextBudgetExceededError when it leaves no room."""
    if least_tokens >= ctx_size:
        raise ContextBudgetExceededError(
            least_tokens,
            ctx_size,
            f"The {name} has at least {least_tokens} tokens; the context has {ctx_size} for prompt and answer "
            f"together. Shorten the {name}.",
        )
