"""The pages of `docs/sources` tell what the readers do."""

import pytest

from tests.interop.source_pages import FOLDER, PLACE, TABLES, with_tables

PAGES = sorted(FOLDER.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tables_are_those_of_the_readers(page):
    text = page.read_text(encoding="utf-8")
    assert with_tables(text) == text, "write the tables anew: python -m tests.interop.source_pages"


def test_every_table_is_on_a_page():
    shown = [place["name"] for page in PAGES for place in PLACE.finditer(page.read_text(encoding="utf-8"))]
    assert sorted(shown) == sorted(TABLES)
