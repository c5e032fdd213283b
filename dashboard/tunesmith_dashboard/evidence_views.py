"""The parts of a run's page that show feedback, the reward model and the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import streamlit as st

from tunesmith import charts
from tunesmith.evidence.measurements import Measurement, Verdict
from tunesmith.report import sentences, words
from tunesmith.report.facts import EvidenceFacts, FeedbackFacts, RewardFacts, RunFacts
from tunesmith_dashboard import pieces


def feedback(facts: RunFacts) -> None:
    """Show who judged, and how well the reward model learnt from it."""
    if facts.feedback is None:
        pieces.nothing("No feedback yet", "Labels show here when the stage `collect` is done.")
        return
    _judges(facts.feedback)
    if facts.reward is not None:
        st.divider()
        _reward(facts.reward)


def _judges(found: FeedbackFacts) -> None:
    labels, pairs, alpha = st.columns(3)
    labels.metric("Labels", f"{found.labels:,}", border=True)
    pairs.metric("Pairs", f"{found.pairs:,}", border=True)
    shown = words.DASH if found.agreement is None else f"{found.agreement:.2f}"
    alpha.metric("Agreement (Krippendorff's alpha)", shown, border=True)
    rows = [(name, count) for name, count in found.annotators.items()]
    st.dataframe(pd.DataFrame(rows, columns=["annotator", "labels"]), hide_index=True, width=420)


def _reward(reward: RewardFacts) -> None:
    st.subheader("Reward model", anchor=False)
    verdict(reward.verdict)
    if reward.rule is not None:
        st.caption("A rule gives the reward. It learnt from nobody, so nothing can be agreed with.")
        return
    dots, numbers = st.columns([2, 3], gap="large")
    with dots:
        pieces.chart(charts.reliability(reward.bins, "Calibration"))
    rows = {
        "held-out pairs": f"{reward.pairs:,}",
        "accuracy": words.estimate(reward.accuracy),
        f"annotators' ceiling ({words.name(reward.ceiling_kind)})": words.estimate(reward.ceiling),
        "share of the ceiling": words.estimate(reward.ratio),
        "against the majority": words.estimate(reward.majority),
        "always the longer answer": words.estimate(reward.longer_wins),
        "rank correlation of reward and length": f"{reward.length_spearman:.2f}",
        "expected calibration error": f"{reward.calibration_error:.3f}",
    }
    table = pd.DataFrame(rows.items(), columns=["", "value"])
    numbers.table(table, hide_index=True, hide_header=True, border="horizontal")


def verdict(one: Verdict) -> None:
    """Show what a gate decided and why."""
    show = st.success if one.passed else st.error
    icon = ":material/check_circle:" if one.passed else ":material/cancel:"
    show(f"**{pieces.plain(one.gate)}**  \n{pieces.plain(one.reason)}", icon=icon)


def evidence(facts: RunFacts) -> None:
    """Show the gates, the exams, the win rate and what each model costs."""
    found = facts.evidence
    if found is None:
        pieces.nothing("Nothing measured yet", "Exams and gates come with the stage `evaluate`.")
        return
    for one in found.verdicts:
        verdict(one)
    for won in found.wins():
        st.metric(
            f"Win rate of {words.model(won.model)} over {words.model(won.name.partition(':')[2])}",
            words.percent(won.value),
            f"{words.share_interval(won.low, won.high)}, {sentences.against_half(won)}",
            delta_color="off",
            delta_arrow="off",
            help=f"{won.method}. Judge: {found.judged_by}",
        )
    _exams(found)
    _sizes(found)


def _exams(found: EvidenceFacts) -> None:
    shares = [m for m in found.alone() if "@" not in m.model]
    if not shares:
        return
    shares.sort(key=lambda m: found.models().index(m.model))
    labels = {m.name: words.name(m.name) for m in found.measurements}
    st.subheader("Exams", anchor=False)
    pieces.chart(charts.intervals(_hundredfold(shares), "", "% solved", labels))
    with st.expander("Paired differences, with what they mean"):
        rows = [
            {
                "compared": f"{words.model(m.model)} − {words.model(str(m.baseline))}",
                "exam": words.name(m.name),
                "points": words.points(m),
                "items": m.n,
                "in words": m.significance(),
            }
            for m in found.differences()
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True)


def _hundredfold(found: Sequence[Measurement]) -> list[Measurement]:
    return [replace(m, value=100 * m.value, low=100 * m.low, high=100 * m.high) for m in found]


def _sizes(found: EvidenceFacts) -> None:
    st.subheader("Size and speed", anchor=False)
    rows = [
        {
            "model": words.model(one.model),
            "engine": one.engine,
            "size": words.size(one.bytes),
            "bits per weight": round(one.bits_per_weight, 1),
            "tokens per second": round(found.speeds.get(one.model, float("nan")))
            if one.model in found.speeds
            else None,
            "against its parent": sentences.against_parent(found, one.model),
        }
        for one in found.footprints
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True)
