"""Models, data and habits of users, each a case with a known right answer; see `scripts/soak/try_user_cases.py`."""
