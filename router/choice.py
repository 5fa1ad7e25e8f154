"""The choice: which skill the next step runs on, calibrated, masked, and abstaining to none."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from loraloop.router.calibration import Scaler, fit_softmax, mean_cross_entropy, minimise
from loraloop.router.decision import Route, RouterState, route_of
from loraloop.router.features import FeaturePart

DIRECTIONS = 48


@dataclass(frozen=True, slots=True)
class Region:
    """Where the training data lies: its principal directions and the spread along each.

    Attributes:
        basis: Orthonormal directions `[F, D]` of the standardised features.
        centre: Mean along them `[D]`.
        spread: Standard deviation along them `[D]`.
        limit: Distance beyond which a point is far from all training data.
    """

    basis: Tensor
    centre: Tensor
    spread: Tensor
    limit: float

    @classmethod
    def fit(cls, z: Tensor) -> Region:
        """Fit to standardised features `[N, F]`; the limit is 1.5 times the 99.9th percentile of their distances."""
        count = min(DIRECTIONS, z.shape[1], max(2, z.shape[0] // 4))
        centred = z - z.mean(0)
        _, vectors = torch.linalg.eigh(centred.T @ centred / len(z))
        basis = vectors[:, -count:].flip(1).half().float().contiguous()  # as it will be stored
        low = z @ basis
        region = cls(basis, low.mean(0), low.std(0).clamp_min(1e-4), 0.0)
        return replace(region, limit=1.5 * float(region.distance(z).quantile(0.999)))

    def project(self, z: Tensor) -> Tensor:
        """Whitened coordinates `[..., D]` of standardised features z `[..., F]`."""
        return (z @ self.basis - self.centre) / self.spread

    def distance(self, z: Tensor) -> Tensor:
        """Root mean square `[...]` of z's whitened coordinates, z `[..., F]`: about 1 for a typical training point."""
        return self.project(z).square().mean(-1).sqrt()


@dataclass(frozen=True, slots=True)
class ChoiceModel:
    """A masked softmax over outcomes.

    Attributes:
        names: Outcomes; the first is `none`.
        parts: What the features are made of.
        scaler: Standardises them.
        weight: `[C, F]`.
        bias: `[C]`.
        temperature: Divides the logits.
        threshold: A skill less probable than this is not taken.
        region: Where the training data lies.
    """

    names: tuple[str, ...]
    parts: tuple[FeaturePart, ...]
    scaler: Scaler
    weight: Tensor
    bias: Tensor
    temperature: float
    threshold: float
    region: Region

    def logits(self, z: Tensor, blocked: Tensor) -> Tensor:
        """Calibrated logits `[..., C]`, blocked outcomes at -1e9.

        Args:
            z: Standardised features `[..., F]`.
            blocked: bool `[..., C]`, True where an outcome cannot be chosen.
        """
        return ((z @ self.weight.T + self.bias) / self.temperature).masked_fill(blocked, -1e9)

    def route(self, features: Tensor, state: RouterState) -> Route:
        """Decide one routing point from its features `[F]`."""
        z = self.scaler(features)
        blocked = torch.tensor([state.blocked(name) for name in self.names])
        p = self.logits(z, blocked).softmax(-1).tolist()
        distance = float(self.region.distance(z))
        far = f"far from all training data ({distance:.2f} > {self.region.limit:.2f})"
        return route_of(
            dict(zip(self.names, p, strict=True)), state, self.threshold, far if distance > self.region.limit else ""
        )

    def with_skill(self, name: str, examples: Tensor, known: Tensor, known_labels: Tensor, l2: float) -> ChoiceModel:
        """Add an outcome from standardised examples `[M, F]`, leaving the other outcomes' weights as they are.

        Args:
            name: The new skill.
            examples: What should be routed to it.
            known: Stored examples `[N, F]` of the other outcomes, which it must not take away.
            known_labels: Their outcomes `[N]`.
            l2: Penalty on the new weights.
        """
        count = len(self.names)
        x = torch.cat([known, examples])
        target = torch.cat([known_labels, torch.full((len(examples),), count)])
        fixed = x @ self.weight.T + self.bias
        weights = torch.ones(len(x))
        weights[len(known) :] = max(1.0, len(known) / (count * max(1, len(examples))))
        weight, bias = _fit_row(x, fixed, target, weights, l2)
        limit = max(self.region.limit, 1.25 * float(self.region.distance(examples).max()))
        return replace(
            self,
            names=(*self.names, name),
            region=replace(self.region, limit=limit),
            weight=torch.cat([self.weight, weight[None]]),
            bias=torch.cat([self.bias, bias[None]]),
        )


def _fit_row(x: Tensor, fixed: Tensor, target: Tensor, weights: Tensor, l2: float) -> tuple[Tensor, Tensor]:
    weight, bias = torch.zeros(x.shape[1], requires_grad=True), torch.zeros((), requires_grad=True)

    def loss() -> Tensor:
        logits = torch.cat([fixed, (x @ weight + bias)[:, None]], 1)
        return mean_cross_entropy(logits, target, weights) + l2 * weight.square().sum()

    minimise(loss, [weight, bias])
    return weight.detach(), bias.detach()


def taken(p: Tensor, threshold: float) -> Tensor:
    """Outcomes `[N]` of probabilities `[N, C]`: the most probable one, or `none` where it is below the threshold."""
    top, index = p.max(1)
    return torch.where((index != 0) & (top < threshold), torch.zeros_like(index), index)


def fit_choice(
    names: tuple[str, ...],
    parts: tuple[FeaturePart, ...],
    x: Tensor,
    target: Tensor,
    blocked: Tensor,
    weights: Tensor,
    l2: float,
    temperature: float = 1.0,
    threshold: float = 0.5,
) -> ChoiceModel:
    """Fit the choice to raw features.

    Args:
        names: The outcomes, C of them; the first is `none`.
        parts: What the features are made of.
        x: Raw features `[N, F]`, which are standardised here.
        target: int64 `[N]`, the outcome of each row as a position in `names`.
        blocked: bool `[N, C]`, True where an outcome is impossible; never the target.
        weights: Weight of each row `[N]`.
        l2: Penalty on the squared weights, for a mean loss.
        temperature: Divides the logits; fitted on held-out ones.
        threshold: Probability below which a skill is not taken.
    """
    scaler = Scaler.fit(x)
    z = scaler(x)
    weight, bias = fit_softmax(z, target, blocked, weights, l2)
    return ChoiceModel(
        names=names,
        parts=parts,
        scaler=scaler,
        weight=weight,
        bias=bias,
        temperature=temperature,
        threshold=threshold,
        region=Region.fit(z),
    )
