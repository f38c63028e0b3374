"""Pages: every config is named, every link leads somewhere, every command parses."""

import re
import shlex
from operator import attrgetter

import pytest
from helpers.commands import CONFIGS, ROOT, few_fast, printed, run_cli

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_pages_name_every_config():
    text = "".join(page.read_text() for page in PAGES)
    assert [config.name for config in CONFIGS if f"configs/{config.name}" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_a_page_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", few_fast({"README", "sketches"}, PAGES, attrgetter("stem")))
def test_commands_of_a_page_parse(page, capsys):
    for command in re.findall(r"^python cli\.py (fit .*)$", page.read_text(), flags=re.MULTILINE):
        command = command.replace("configs/", f"{ROOT}/configs/").replace("--ckpt_path last", "")
        words = shlex.split(command, comments=True)
        if "--model.help" in words:
            with pytest.raises(SystemExit) as stop:
                run_cli(*words)
            assert not stop.value.code
        else:
            printed(capsys, *words)
