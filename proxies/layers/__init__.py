"""The layers a proxy is made of."""

from proxies.layers.affine import Affine
from proxies.layers.clamp import Clamp
from proxies.layers.hypersimplex import Hypersimplex, hypersimplex
from proxies.layers.layer import Layer
from proxies.layers.relu import Relu
from proxies.layers.sign import Sign
from proxies.layers.sort_repair import SortRepair, sort_repair

__all__ = ["Affine", "Clamp", "Hypersimplex", "Layer", "Relu", "Sign", "SortRepair", "hypersimplex", "sort_repair"]
