"""Cluster: screening and training on several machines."""

# Written by tools/structure.py from the `__all__` of the modules.
import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "screening": ["screen_archive"],
        "cost": ["ClusterCost"],
    },
)
