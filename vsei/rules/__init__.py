"""What H.274 asks of NNPFC, NNPFA and SEI processing order messages, and what known decoders ask beyond it.

    for finding in check(nal_units_of(units, codec), codec):
        print(finding.rule.name, finding.rule.clause, finding.nal_index, finding.element, finding.message)

`check_messages` and `check_insertions` look at messages before they are in a stream. `DECODERS` says what known
decoders need. All rules stand in docs/rules.md, which `python -m vsei.rules` writes.
"""

# Imported for their rules, in the order in which these are listed.
from vsei.rules import nal_units, payloads, characteristics, sequence, processing_order  # noqa: F401, I001
from vsei.rules.book import STANDARD, Broken, Finding, Level, Rule, RuleBook
from vsei.rules.checker import Checker, check, check_insertions, check_messages
from vsei.rules.context import PayloadCheck, PayloadReport
from vsei.rules.decoders import DECODERS, NOKIA, VTM, Decoder

__all__ = [
    "DECODERS",
    "NOKIA",
    "STANDARD",
    "VTM",
    "Broken",
    "Checker",
    "Decoder",
    "Finding",
    "Level",
    "PayloadCheck",
    "PayloadReport",
    "Rule",
    "RuleBook",
    "check",
    "check_insertions",
    "check_messages",
]
