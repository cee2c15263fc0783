"""Deployment: predictor, HTTP API, case store, registry."""

# Written by tools/structure.py from the `__all__` of the modules.
import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "predictor": ["PneumoniaDetectionSystem", "Report", "format_probability"],
        "privacy": ["deidentified_png", "has_burned_in_text", "pseudonym"],
        "readers": ["NotOwner", "QuotaExceeded", "ReaderKeys"],
        "case_fields": ["CaseNotFound", "InvalidStore", "StoreBusy"],
        "case_images": ["Case"],
        "case_store": ["CaseStore"],
        "registry": ["ModelNotFound", "ModelRegistry", "RegistryLocked"],
        "workers": ["Workers"],
        "server": ["Server"],
        "http": ["Limits"],
        "api": ["PneumoniaDetectionAPI"],
    },
)
