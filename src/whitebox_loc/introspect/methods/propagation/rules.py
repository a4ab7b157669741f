"""Rules of layer-wise relevance propagation, and composites of them, as plain records.

A layer with weights computes ``z_j = sum_i x_i w_ij + b_j``. A rule says which share of the
relevance of each z_j goes to each x_i. With ``P_ij`` and ``N_ij`` the positive and negative
parts of ``x_i w_ij``, and P_j, N_j their sums over i with the positive and negative part of
the bias, the shares are:

=================  ====================================================================
`Epsilon`          x_i w_ij / (z_j + epsilon sign(z_j))
`ZPlus`            P_ij / P_j
`AlphaBeta`        alpha P_ij / P_j - beta N_ij / N_j
`Gamma`            (x_i w_ij + gamma S_ij) / (z_j + gamma S_j), S the part with z_j's sign
`Flat`             1 / (number of inputs)
`WSquare`          w_ij^2 / (sum over i of w_ij^2)
`ZBox`             (x_i w_ij - low w_ij^+ - high w_ij^-) / (sum over i of the same)
=================  ====================================================================

All denominators are kept from 0 by `epsilon`, with the denominator's own sign. The share of
the bias goes nowhere, so it is missing in the sum of a map; with ``bias=False`` the bias is
left out of the denominators, and the inputs share all. `Flat`, `WSquare` and `ZBox` have no
bias in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import tensorflow as tf

from whitebox_loc._types import Tensor
from whitebox_loc._validation import check_bool, check_real
from whitebox_loc.introspect.methods.propagation.affine import AffineLayer


@dataclass(frozen=True)
class Rule:
    """What all rules share.

    Attributes
    ----------
    epsilon : float, default 1e-6
        Added to denominators, with their sign; in units of the layer's output.
    """

    epsilon: float = field(default=1e-6, kw_only=True)

    def __post_init__(self) -> None:
        check_real("epsilon", self.epsilon, low=0)

    def __call__(self, layer: AffineLayer, relevance: Tensor) -> Tensor:
        """Return the relevance of a layer's inputs, given that of its outputs."""
        raise NotImplementedError

    def over(self, relevance: Tensor, denominator: Tensor) -> Tensor:
        """Divide, with the denominator kept from 0; over exactly 0 there are no shares, so 0."""
        away = denominator + self.epsilon * tf.sign(denominator)
        return tf.math.divide_no_nan(relevance, away)


@dataclass(frozen=True)
class _Biased(Rule):
    """A rule whose denominators may have the bias in them."""

    bias: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bool("bias", self.bias)


@dataclass(frozen=True)
class Epsilon(_Biased):
    """Each input's share of the output as it is (Bach et al. 2015)."""

    def __call__(self, layer: AffineLayer, relevance: Tensor) -> Tensor:
        """Return ``x_i sum_j w_ij R_j / (z_j + epsilon)``."""
        has_bias = self.bias or layer.bias is None
        output = layer.output if has_bias else layer.apply(layer.x, layer.weight)
        shares = self.over(relevance, output)
        return layer.x * layer.back(layer.x, layer.weight, shares)


@dataclass(frozen=True)
class _Signed(_Biased):
    """A rule that looks at the positive and the negative parts of an output."""

    def __call__(self, layer: AffineLayer, relevance: Tensor) -> Tensor:
        positive, negative = layer.signed(layer.x)
        if self.bias and layer.bias is not None:
            positive += tf.maximum(layer.bias, 0.0)
            negative += tf.minimum(layer.bias, 0.0)
        return layer.signed_back(layer.x, *self.shares(positive, negative, relevance))

    def shares(
        self, positive: Tensor, negative: Tensor, relevance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what multiplies P_ij and N_ij."""
        raise NotImplementedError


@dataclass(frozen=True)
class AlphaBeta(_Signed):
    """Positive and negative parts apart, with ``alpha - beta = 1`` (Bach et al. 2015).

    An output without any part of one kind passes on alpha (or -beta) times its relevance
    only, so the sum is kept where outputs have both.
    """

    alpha: float = 2.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real("alpha", self.alpha, low=1)
        check_real("beta", self.beta, low=0)
        if abs(self.alpha - self.beta - 1) > 1e-9:
            raise ValueError(
                "`alpha` - `beta` must be 1, or relevance would grow or shrink with each layer; "
                f"got {self.alpha} - {self.beta}."
            )

    def shares(
        self, positive: Tensor, negative: Tensor, relevance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return ``alpha R / P`` and ``-beta R / N``."""
        first = self.alpha * self.over(relevance, positive)
        # N is at most 0, and exactly 0 must not turn into a positive denominator.
        return first, self.beta * self.over(relevance, -negative)


@dataclass(frozen=True)
class ZPlus(_Signed):
    """Positive parts only (Montavon et al. 2017); `AlphaBeta` with alpha 1 and beta 0."""

    def shares(
        self, positive: Tensor, negative: Tensor, relevance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return ``R / P`` and 0."""
        return self.over(relevance, positive), tf.zeros_like(relevance)


@dataclass(frozen=True)
class Gamma(_Signed):
    """Favour parts with the sign of the output (Montavon et al. 2019, Andéol et al. 2021).

    Gamma 0 is `Epsilon`; a large gamma goes to `ZPlus` where outputs are positive.
    """

    gamma: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real("gamma", self.gamma, low=0)

    def shares(
        self, positive: Tensor, negative: Tensor, relevance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return R over the emphasised sum, emphasised for the part with its sign."""
        is_positive = positive + negative > 0
        more = self.gamma * tf.where(is_positive, positive, negative)
        share = self.over(relevance, positive + negative + more)
        emphasised = (1.0 + self.gamma) * share
        return (tf.where(is_positive, emphasised, share), tf.where(is_positive, share, emphasised))


@dataclass(frozen=True)
class Flat(Rule):
    """The same share for every input, whatever it is (Lapuschkin et al. 2019)."""

    def __call__(self, layer: AffineLayer, relevance: Tensor) -> Tensor:
        """Return ``sum_j R_j / (number of inputs of j)``."""
        return _by_weight(self, layer, tf.ones_like(layer.weight), relevance)


@dataclass(frozen=True)
class WSquare(Rule):
    """Shares as the squares of the weights (Montavon et al. 2017)."""

    def __call__(self, layer: AffineLayer, relevance: Tensor) -> Tensor:
        """Return ``sum_j w_ij^2 R_j / sum_i w_ij^2``."""
        return _by_weight(self, layer, tf.square(layer.weight), relevance)


@dataclass(frozen=True)
class ZBox(Rule):
    """For layers that see numbers between `low` and `high` (Montavon et al. 2017)."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real("low", self.low)
        check_real("high", self.high)
        if self.low > self.high:
            raise ValueError(f"`low` must be at most `high`; got {self.low} and {self.high}.")

    def __call__(self, layer: AffineLayer, relevance: Tensor) -> Tensor:
        """Return the shares of ``x_i w_ij - low w_ij^+ - high w_ij^-``."""
        x, ones = layer.x, layer.ones
        positive, negative = layer.signed(ones)
        floor = self.low * positive + self.high * negative
        share = self.over(relevance, layer.apply(x, layer.weight) - floor)
        passed = x * layer.back(x, layer.weight, share)
        return passed - layer.signed_back(ones, self.low * share, self.high * share)


@dataclass(frozen=True)
class Composite:
    """Which rule each layer with weights has.

    Attributes
    ----------
    dense, convolution : Rule
        By kind; depthwise, separable and transposed convolutions are convolutions.
    first : Rule, optional
        For layers that see the image itself, at most padded, cut or reshaped; it overrides
        the kind.
    layers : mapping of layer path to Rule
        For single layers; it overrides both.
    sums : Epsilon
        For what is linear without weights: Add, average pooling, a bias or scale alone.
    """

    dense: Rule = Epsilon()
    convolution: Rule = Epsilon()
    first: Rule | None = None
    layers: Mapping[str, Rule] = field(default_factory=dict)
    sums: Epsilon = Epsilon()

    def __post_init__(self) -> None:
        rules = {"dense": self.dense, "convolution": self.convolution, "sums": self.sums}
        rules |= {"first": self.first} if self.first is not None else {}
        rules |= {f"layers[{path!r}]": rule for path, rule in self.layers.items()}
        for name, rule in rules.items():
            if not isinstance(rule, Epsilon if name == "sums" else Rule):
                raise TypeError(f"`{name}` must be a rule such as rules.Epsilon(); got {rule!r}.")
        object.__setattr__(self, "layers", MappingProxyType(dict(self.layers)))

    def __hash__(self) -> int:
        layers = tuple(sorted(self.layers.items(), key=lambda item: item[0]))
        return hash((self.dense, self.convolution, self.first, layers, self.sums))


RULES: Mapping[str, type[Rule]] = {
    "epsilon": Epsilon,
    "z_plus": ZPlus,
    "alpha_beta": AlphaBeta,
    "gamma": Gamma,
    "flat": Flat,
    "w_square": WSquare,
    "z_box": ZBox,
}
"""Name to rule."""

COMPOSITES: Mapping[str, Composite] = {
    "epsilon": Composite(),
    "epsilon_plus": Composite(convolution=ZPlus()),
    "epsilon_plus_flat": Composite(convolution=ZPlus(), first=Flat()),
    "epsilon_plus_box": Composite(convolution=ZPlus(), first=ZBox()),
    "epsilon_alpha2_beta1": Composite(convolution=AlphaBeta(2, 1)),
    "epsilon_alpha2_beta1_flat": Composite(convolution=AlphaBeta(2, 1), first=Flat()),
    "epsilon_gamma_box": Composite(convolution=Gamma(), first=ZBox()),
}
"""Name to composite; the names are those of the literature."""


def _by_weight(rule: Rule, layer: AffineLayer, weight: Tensor, relevance: Tensor) -> Tensor:
    """Share as `weight` has it, with every input 1."""
    shares = rule.over(relevance, layer.apply(layer.ones, weight))
    return layer.back(layer.ones, weight, shares)
