"""The settings: what an operator can set, read from one YAML file and the environment."""

from monitor.settings.encoders import TextualEncoderSettings, VisualEncoderSettings
from monitor.settings.listening import HttpSettings
from monitor.settings.loading import load_settings
from monitor.settings.section import format_duration
from monitor.settings.sources import SourceSettings
from monitor.settings.tree import ReferenceSettings, Settings

__all__ = [
    "HttpSettings",
    "ReferenceSettings",
    "Settings",
    "SourceSettings",
    "TextualEncoderSettings",
    "VisualEncoderSettings",
    "format_duration",
    "load_settings",
]
