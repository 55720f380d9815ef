"""What is configured of a monitor? As golek_program/settings/monitor.py says, for who starts one reads it, too."""

from golek_program.settings.monitor import KEYS, Monitor, load

__all__ = ["KEYS", "Monitor", "load"]
