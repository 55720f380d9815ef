"""What is configured of `golek serve`, the one command for everything, beside what its gateway needs?"""

from golek_program.settings.http import Gateway


class Service(Gateway, frozen=True, kw_only=True):
    """`golek serve`."""

    inference_preload_models: str = ""
    """Models or deployments that `golek serve` starts, with commas; others start when they are asked to load."""

    @property
    def preloaded(self) -> list[str]:
        """What INFERENCE_PRELOAD_MODELS lists, each once."""
        return list(dict.fromkeys(name.strip() for name in self.inference_preload_models.split(",") if name.strip()))
