"""How does an image file become an image?

It is decoded by Pillow, turned as its camera says, and put on white where it is transparent.
"""

import io
from typing import Any, Final

from golek_wire.errors import BadRequestError

FORMS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""Few: each is a reader of what strangers wrote."""
WHITE: Final = (255, 255, 255, 255)


def decoded(
    data: bytes, name: str, mode: str, most_pixels: int, param: str, size: tuple[int, int] | None = None
) -> Any:
    """The image file `data` in this mode of Pillow's; a JPEG may come smaller, as long as it is not below `size`.

    Raises BadRequestError, which calls it `name`, where it is none, is cut off, or has more pixels than that.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # it would warn of what is refused here
    try:
        image: Any = Image.open(io.BytesIO(data), formats=FORMS)
        width, height = image.size
        if width * height > most_pixels:
            raise BadRequestError(
                f"{name} has {width} x {height} pixels; at most {most_pixels} are read", param=param, limit=most_pixels
            )
        if size is not None:
            image.draft(mode, size)
        image = ImageOps.exif_transpose(image)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)
        return image.convert(mode)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise BadRequestError(
            f"{name} cannot be read as an image: {error}. Send a PNG, JPEG, WebP, GIF or BMP file", param=param
        ) from None
