from __future__ import annotations

from pathlib import Path

from tokenwire.reference import settings

ROOT = Path(__file__).parents[2]


def test_the_page_of_settings_is_what_the_code_says():
    assert (ROOT / "docs" / "settings.md").read_text() == settings(), (
        "run: .venv/bin/python -m tokenwire.reference > docs/settings.md"
    )


def test_no_secret_and_no_path_of_this_machine_is_on_it():
    assert str(ROOT) not in settings()
    assert "password" not in settings().lower()
