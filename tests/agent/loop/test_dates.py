"""What calendar words mean: labelled phrases, and rules that hold for every text."""

import datetime
import importlib.util
from pathlib import Path

import pytest

from loraloop.agent.loop.dates import ResolvedDate, date_note, resolve_dates

_spec = importlib.util.spec_from_file_location("date_phrases", Path(__file__).with_name("date_phrases.py"))
