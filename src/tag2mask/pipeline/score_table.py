"""The scores of a summary as a table for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table


def score_table(scores: Sequence[Mapping[str, Any]]) -> Table:
    """Return a row for each score, its protocol in words.

    Args:
        scores: As in summary.json.
    """
    columns = ("stage", "subject", "mIoU %", "95 %", "split", "protocol")
    table = Table(*columns, box=None, pad_edge=False)
    for score in scores:
        interval = score.get("interval")
        table.add_row(
            score["stage"],
            score["subject"],
            number(score["miou"], 1),
            f"{interval[0]:.1f}-{interval[1]:.1f}" if interval else "",
            score["protocol"]["split"],
            ", ".join(protocol_words(score["protocol"])),
        )
    return table


def number(value: float | None, digits: int) -> str:
    """Return a number with so many decimals, a dash for an undefined one."""
    return "-" if value is None else f"{value:.{digits}f}"


def protocol_words(protocol: Mapping[str, Any]) -> list[str]:
    """Return how a score was made, scales first, ground truth last."""
    words = [f"scales {', '.join(f'{scale:g}' for scale in protocol['scales'])}"]
    words += ["mirror"] * protocol["flip"]
    words += [f"CRF {protocol['crf']}"] * (protocol["crf"] != "none")
    if "presence" in protocol:
        words.append(f"presence {protocol['presence']:g}")
    words += [f"refined by {each}" for each in protocol.get("refine", "").split()]
    words += ["second round"] * (protocol.get("rounds", 1) > 1)
    words += ["tags known"] * protocol["tags_at_test"]
    if "threshold" in protocol:
        kind = protocol.get("threshold_chosen", "fixed").replace("_", "-")
        words.append(f"{kind} threshold {protocol['threshold']:g}")
    return words + ["USES GROUND TRUTH"] * protocol["uses_truth"]


def proxy_words(values: Mapping[str, Any]) -> str:
    """Return what was told of labels without masks, as one line.

    Args:
        values: One of the entries of a summary's ``proxies``.
    """
    words = []
    if "tag_map" in values:
        chance = f"{values['by_chance']:.1f} by chance"
        words.append(f"mAP {values['tag_map']:.1f} % on unseen images ({chance})")
    for key in ("tag_recall", "tag_precision"):
        if key in values:
            words.append(f"{key.replace('_', ' ')} {values[key]:.1f} %")
    if "agreement" in values:
        agree = ", ".join(f"{n} {number(v, 1)}" for n, v in values["agreement"].items())
        votes = ", ".join(f"{t}: {v:.1f}" for t, v in values["coverage"].items())
        words += [f"agree with it, mIoU %: {agree}", f"% of pixels by votes: {votes}"]
    return "; ".join(words)
