"""Federated learning: hospitals that train together and keep their images."""

# Written by tools/structure.py from the `__all__` of the modules.
import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "kits": ["init_federation"],
        "run": ["simulate_federation"],
    },
)
