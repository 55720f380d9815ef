"""What is configured of `golek serve`, the one command for everything, beside what its gateway needs?"""

from golek_program.settings.http import Gateway


class Service(Gateway, frozen=True, kw_only=True):
    """`golek serve`."""

    inference_config: str = ""
    """Preset whose models `golek serve` starts, with a router for them."""
    inference_preload_models: str = ""
    """Models or deployments that `golek serve` starts, with commas; they win over those of INFERENCE_CONFIG."""

    @property
    def preloaded(self) -> list[str]:
        """What INFERENCE_PRELOAD_MODELS lists, each once."""
        return list(dict.fromkeys(name.strip() for name in self.inference_preload_models.split(",") if name.strip()))
