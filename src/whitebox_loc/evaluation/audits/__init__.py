"""Whether a metric ranks known good maps above known bad ones."""

from whitebox_loc.evaluation.audits.auditing import Audit, audit, audit_table
from whitebox_loc.evaluation.audits.controls import CONTROLS, Control

__all__ = ["CONTROLS", "Audit", "Control", "audit", "audit_table"]
