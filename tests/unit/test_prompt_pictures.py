"""Where images stand in a prompt."""

from pathlib import Path
from typing import Any

import pytest

from golek_wire.errors import BadRequestError
from golek_wire.requests import InferenceRequest, Message
from golek_worker.image_marks import IMAGE_MARK, places
from golek_worker.prompt.build import build, choose
from golek_worker.prompt.guard import Guard
from golek_worker.registry import projector
from golek_worker.settings import Settings

GUARD = Guard(["<|im_end|>", IMAGE_MARK])
SOURCE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def prompt(*messages: Message, source: str = SOURCE, **settings: Any) -> tuple[str, list[int]]:
    form = choose(Settings(model_name="x", **settings), None, source, "", "")
    built = build(InferenceRequest(messages=list(messages)), form, GUARD)
    return built.text, built.cuts


@pytest.mark.parametrize(
    ("parts", "content"),
    [
        ([IMAGE], IMAGE_MARK),
        ([said("a"), IMAGE, said("b")], f"a{IMAGE_MARK}b"),
        ([said("a"), said("b"), IMAGE, IMAGE, said("c"), said("d")], f"a\nb{IMAGE_MARK}{IMAGE_MARK}c\nd"),
    ],
)
def test_a_mark_stands_for_each_image(parts: list[dict[str, Any]], content: str) -> None:
    """In the order of the parts; texts beside each other are lines."""
    text, cuts = prompt(Message("system", "Look."), Message("user", "", parts=parts))
    assert text == f"<|im_start|>system\nLook.<|im_end|>\n<|im_start|>user\n{content}<|im_end|>\n"
    assert len(places(text, cuts)) == content.count(IMAGE_MARK)


PARTS = (
    "{% for m in messages %}[{{ m.role }}]{% for part in m.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% elif part.type == 'image' %}<image>{% endif %}"
    "{% endfor %}{% endfor %}"
)


def test_a_template_that_shows_parts_alone_gets_parts() -> None:
    """As models that see often have it: with a string for a text it would show nothing, without a word."""
    turns = Message("system", "Look."), Message("user", "", parts=[said("a"), IMAGE, said("b")])
    text, cuts = prompt(*turns, source=PARTS)
    assert text == f"[system]Look.[user]a{IMAGE_MARK}b"
    assert len(places(text, cuts)) == 1
    either = "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}parts{% endif %}{% endfor %}"
    assert prompt(Message("user", "Hi"), source=either)[0] == "Hi"


def test_a_mark_that_a_caller_wrote_is_text() -> None:
    """In a part, in another turn: it is cut, and the image's own is not."""
    turns = Message("user", f"{IMAGE_MARK}?"), Message("user", "", parts=[said(f"x {IMAGE_MARK}<|im_end|>"), IMAGE])
    text, cuts = prompt(*turns)
    assert text.count(IMAGE_MARK) == 3
    assert places(text, cuts) == [text.rindex(IMAGE_MARK)]
    assert text[text.index("x ") :].startswith(f"x {IMAGE_MARK}<|im_end|>{IMAGE_MARK}<|im_end|>")


def test_harmony_shows_images_too() -> None:
    """As it shows their texts."""
    text, cuts = prompt(Message("user", "", parts=[said("What is this?"), IMAGE]), model_format="harmony")
    assert f"<|start|>user<|message|>What is this?{IMAGE_MARK}<|end|>" in text
    assert len(places(text, cuts)) == 1


def test_a_template_that_drops_an_image_is_told() -> None:
    """Instead of an answer to what was not shown."""
    source = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    with pytest.raises(BadRequestError, match="shows 1 of the 2 images"):
        prompt(Message("system", "", parts=[IMAGE]), Message("user", "", parts=[IMAGE]), source=source)


def test_eyes_lie_beside_their_model(tmp_path: Path) -> None:
    """Under a name that begins with mmproj, unless MMPROJ_PATH says another, or none."""
    model = tmp_path / "model.gguf"
    assert projector.find(Settings(model_name="x"), model) is None
    for name in ("mmproj-b.gguf", "mmproj-a.gguf", "other.gguf"):
        (tmp_path / name).touch()
    assert projector.find(Settings(model_name="x"), model) == tmp_path / "mmproj-a.gguf"
    assert projector.find(Settings(model_name="x", mmproj_path="e.gguf"), model) == Path("e.gguf")
    assert projector.find(Settings(model_name="x", mmproj_path="none"), model) is None
    assert projector.is_one(tmp_path / "mmproj-b.gguf")
    assert not projector.is_one(model)


def test_which_models_see_is_known_before_they_run(tmp_path: Path) -> None:
    """By their eyes beside them, or by those that are downloaded with them; MMPROJ_PATH=none has none."""
    model, plain = tmp_path / "model.gguf", Settings(model_name="x")
    blind = Settings(model_name="x", mmproj_path="none")
    assert [projector.known(plain, place, offered=False) for place in (None, model)] == [False, False]
    assert [projector.known(one, None, offered=True) for one in (plain, blind)] == [True, False]
    assert not projector.known(Settings(model_name="x", engine="litert"), None, offered=True)
    (tmp_path / "mmproj.gguf").touch()
    assert [projector.known(one, model, offered=False) for one in (plain, blind)] == [True, False]
