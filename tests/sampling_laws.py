"""What each sampler draws from, by the papers' definitions, and how far off counts may be.

Written with numpy and without the samplers' code, so that it can contradict them.
"""

from __future__ import annotations

import numpy as np
import torch

# Meister et al. 2023; Keskar et al. 2019; the others are named in the samplers' files.


def by_definition(spec, logits, tokens=()):
    """Return the probabilities (vocabulary,) that a spec defines, after ``tokens``."""
    logits = np.asarray(logits, dtype=np.float64)
    if spec["name"] == "repetition_penalty":
        inner = {"name": "random"} | named(spec.get("sampler", "random"))
        return by_definition(inner, penalised(logits, set(tokens), spec.get("penalty", 1.2)))
    scaled = logits / spec.get("temperature", 1.0)
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    kept = np.where(kept_tokens(spec, p), p, 0.0)
    return kept / kept.sum()


def named(spec):
    return {"name": spec} if isinstance(spec, str) else spec


def penalised(logits, seen, penalty):
    out = logits.copy()
    for token in seen:
        out[token] = out[token] / penalty if out[token] > 0 else out[token] * penalty
    return out


def kept_tokens(spec, p):
    """Return which tokens may be drawn, (vocabulary,) of bool."""
    if spec["name"] == "greedy":
        return np.arange(len(p)) == p.argmax()
    if spec["name"] == "top_k":
        return p >= np.sort(p)[-min(spec["k"], len(p))]
    if spec["name"] == "min_p":
        return p >= spec["p"] * p.max()
    if spec["name"] == "top_p":
        return fewest(np.argsort(-p), p, spec["p"])
    if spec["name"] == "typical":
        with np.errstate(divide="ignore"):
            surprise = -np.log(p)
        entropy = (p * surprise)[p > 0].sum()
        return fewest(np.argsort(np.abs(surprise - entropy), kind="stable"), p, spec["mass"])
    return np.ones_like(p, dtype=bool)


def fewest(ranked, p, mass):
    """Return the shortest beginning of a ranking whose mass is reached."""
    size = int(np.searchsorted(np.cumsum(p[ranked]), mass)) + 1
    return np.isin(np.arange(len(p)), ranked[:size])


def chi_square_p(counts, expected):
    """Return the chance of counts at least this far off; bins expecting under 5 are joined."""
    rare = expected < 5
    seen = np.append(counts[~rare], counts[rare].sum())
    meant = np.append(expected[~rare], expected[rare].sum())
    seen, meant = seen[meant > 0], meant[meant > 0]
    if len(meant) == 1:
        return float(seen[0] == meant[0])
    statistic = float(((seen - meant) ** 2 / meant).sum())
    half = torch.tensor([(len(meant) - 1) / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))
