"""What images show: colours, whose right answer is known by construction."""

from pathlib import Path

import pytest

from golek_wire.errors import BadRequestError
from golek_worker.engine.base import Classified, Classify, Embed, EngineConfig, EngineLoadError, Refused
from golek_worker.engine.litert import pixels
from golek_worker.engine.litert.classifying import LiteRTClassifier
from scripts import litert_models
from tests.support.images import image

COLOURS = ["red", "lime", "blue"]
"""`green` is darker than the others."""


def engine(model: Path, pixel_range: list[float] | None = None) -> LiteRTClassifier:
    config = EngineConfig("litert", str(model), 4, 0, 1, kind="vision", pixel_range=pixel_range or [])
    return LiteRTClassifier(config, lambda done, total: None)


def ends(engine: LiteRTClassifier, *images: bytes) -> list[object]:
    engine.submit(Classify("a", list(images)))
    found: list[object] = []
    while engine.running:
        found += list(engine.step())
    return found


def scores(engine: LiteRTClassifier, *images: bytes) -> list[list[float]]:
    (end,) = ends(engine, *images)
    assert isinstance(end, Classified), end
    return end.scores


def best(engine: LiteRTClassifier, *images: bytes) -> list[str]:
    """The likeliest label of each."""
    return [max(zip(row, engine.ready.labels, strict=True))[1] for row in scores(engine, *images)]


@pytest.mark.parametrize("rows", [-1, 1, 4])
@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("kind", ["float32", "uint8", "int8"])
def test_colours_are_named(tmp_path: Path, kind: str, softmax: bool, channels_first: bool, rows: int) -> None:
    """In each form that a model may have: numbers, order of dimensions, with and without a softmax of its own."""
    model = litert_models.colours(
        tmp_path / "m.tflite", kind=kind, softmax=softmax, channels_first=channels_first, rows=rows
    )
    classifier = engine(model)
    files = [image(colour) for colour in [*COLOURS, *COLOURS]]
    assert best(classifier, *files) == [*litert_models.LABELS] * 2
    (grey,) = scores(classifier, image("grey"))
    assert grey == pytest.approx([1 / 3] * 3, abs=0.01)
    assert sum(grey) == pytest.approx(1.0)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_each_form_of_file_is_read(tmp_path: Path, form: str) -> None:
    """Of any size; it is stretched to the model's."""
    classifier = engine(litert_models.colours(tmp_path / "m.tflite"))
    assert best(classifier, *(image(colour, (300, 7), form) for colour in COLOURS)) == [*litert_models.LABELS]


def test_what_lies_behind_transparency_is_not_seen(tmp_path: Path) -> None:
    """A transparent red is white, and a grey file has three equal channels."""
    classifier = engine(litert_models.colours(tmp_path / "m.tflite"))
    seen = scores(classifier, image((255, 0, 0, 0), mode="RGBA"), image((200,), mode="L"))
    assert seen == [pytest.approx([1 / 3] * 3, abs=0.01)] * 2


def test_a_setting_says_what_pixels_become(tmp_path: Path) -> None:
    """From -1 to 1 the scores of red are as far apart as exp(2 * SHARPNESS) says, else as exp(SHARPNESS)."""
    model = litert_models.colours(tmp_path / "m.tflite", softmax=False)
    soft = tmp_path / "soft.tflite"
    litert_models.colours(soft, softmax=False, sharpness=1.0)
    (usual,), (wide,), (bytes_,) = (
        scores(engine(soft, wanted), image("red")) for wanted in ([0.0, 1.0], [-1.0, 1.0], [0.0, 255.0])
    )
    assert usual[0] / usual[1] == pytest.approx(2.71828, rel=1e-3)
    assert wide[0] / wide[1] == pytest.approx(7.38906, rel=1e-3)
    assert bytes_[1] == pytest.approx(0.0, abs=1e-6)
    assert best(engine(model), image("red")) == ["red"]


def test_metadata_says_what_pixels_become(tmp_path: Path) -> None:
    """Mean and standard deviation in the file count where no setting is given; labels come from it, too."""
    model = litert_models.colours(tmp_path / "m.tflite", softmax=False, sharpness=1.0, mean=127.5, std=127.5)
    litert_models.attach_labels(model)
    classifier = engine(model)
    assert classifier.ready.labels == [*litert_models.LABELS]
    ((red, green, _),) = scores(classifier, image("red"))
    assert red / green == pytest.approx(7.38906, rel=1e-3)


def test_labels_are_numbers_where_nobody_says_them(tmp_path: Path) -> None:
    """And a wrong number of them is a mistake."""
    model = litert_models.colours(tmp_path / "m.tflite")
    (tmp_path / "labels.txt").write_text("red\ngreen\n")
    with pytest.raises(EngineLoadError, match=r"labels\.txt has 2 lines, the model gives 3 numbers"):
        engine(model)
    (tmp_path / "labels.txt").unlink()
    assert engine(model).ready.labels == ["0", "1", "2"]


def test_what_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its place: no image at all, one that is cut off, one that is too large; others in the step are served."""
    classifier = engine(litert_models.colours(tmp_path / "m.tflite"))
    whole = image("red", (200, 200), "BMP")
    for wrong in (b"", b"no image", whole[:5000], image("red", form="TIFF")):
        (end,) = ends(classifier, whole, wrong)
        assert isinstance(end, Refused), end
        assert (end.code, end.details["param"]) == ("BAD_REQUEST", "images[1]")
    monkeypatch.setattr(pixels, "PIXELS_LIMIT", 100)
    (end,) = ends(classifier, image("red", (11, 10)))
    assert isinstance(end, Refused)
    assert "images[0] has 11 x 10 pixels; at most 100 are read" in end.message
    with pytest.raises(BadRequestError, match=r"vision\.request"):
        classifier.submit(Embed("a", ["x"]))
    with pytest.raises(BadRequestError, match="images"):
        classifier.submit(Classify("a", []))


def test_a_model_that_takes_no_image_is_said(tmp_path: Path) -> None:
    """With what goes in and comes out of it."""
    with pytest.raises(EngineLoadError, match=r"takes one image: 4 dimensions.* It has in: input_ids int32\[-1, 128\]"):
        engine(litert_models.letters(tmp_path / "m.tflite"))
