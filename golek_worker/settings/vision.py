"""Which settings say what images a worker takes, and from where?"""

from typing import Annotated

from msgspec import Meta

from golek_program.settings.fleet import Positive, Seconds
from golek_wire.objects import is_bucket
from golek_wire.requests import IMAGES_LIMIT
from golek_worker.settings.servers import Servers
from golek_worker.vision.limits import Limits, parse_domains


class Vision(Servers, frozen=True, kw_only=True):
    """Of every worker: whether its model sees is known once it is loaded. Behind `Servers`: a struct has one base."""

    mmproj_source: str = ""
    """Where a missing file of the model's eyes is downloaded from, as MODEL_SOURCE; default what the catalogue says."""
    vision_allowed_domains: str = ""
    """Servers that images may be fetched from, with commas: `images.example.com`, `*.example.com`, `localhost:8080`."""
    vision_bucket: str = "GOLEK_IMAGES"
    """Object store that `nats-object://<bucket>/<name>` may name; empty for none."""
    vision_max_bytes: Positive = 10 * 1024 * 1024
    """Bytes of one image, as a file."""
    vision_max_images: Annotated[int, Meta(ge=1, le=IMAGES_LIMIT)] = 16
    """Images of one request."""
    vision_max_pixels: Positive = 50_000_000
    """Width times height of one image."""
    vision_fetch_s: Seconds = 10.0
    """So long a server may take to send one image."""

    @property
    def image_limits(self) -> Limits:
        """What all that comes to. Raises ValueError."""
        return Limits(
            self.vision_max_bytes, self.vision_max_images, self.vision_max_pixels, self.vision_fetch_s,
            parse_domains(self.vision_allowed_domains), self.vision_bucket,
        )  # fmt: skip


def mistakes(settings: Vision) -> list[str]:
    """What is wrong with where images may come from; a sentence each."""
    found = []
    try:
        parse_domains(settings.vision_allowed_domains)
    except ValueError as error:
        found.append(f"VISION_ALLOWED_DOMAINS={settings.vision_allowed_domains[:256]}: {error}")
    if settings.vision_bucket and not is_bucket(settings.vision_bucket):
        found.append(f"VISION_BUCKET={settings.vision_bucket[:64]}: letters, digits, _ and -, as NATS names buckets")
    return found
