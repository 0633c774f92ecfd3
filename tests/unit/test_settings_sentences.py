"""What the settings file's faults sound like: plain words, no password, what to write."""

import pytest

from node.errors import SettingsError
from node.settings_file import parse_settings

NODE = '[node]\ndata_dir = "data"\n'
RULE = '[[rules]]\nname = "r"\nplugin = "commissioning"\nshadow = true\n'
PHASES = NODE + RULE + "when = {}\n[rules.phases]\n"
SHARE = '[[destinations]]\nname = "share"\nkind = "folder"\ngrade = "test"\n'


def sentence(text, folder):
    with pytest.raises(SettingsError) as caught:
        parse_settings(text, folder)
    return str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        'database_url = "postgresql://u:hush@h/db"',
        'database_url = "postgresql://u:a/b@c hush@h/db"',
        'database_url = "postgresql://u:a\\"hush@h/db"',
        'database_url = "u:hush@h/db"',
        'database_url = "postgresql+psycopg://h/db?password=hush"',
        'port = "postgresql://u:hush@h/db"',
        '[[destinations]]\nname="o"\nkind="orthanc"\ngrade="test"\nurl = "http://u:hush@h:1"',
        '[[destinations]]\nname="o"\nkind="orthanc"\ngrade="test"\nurl = "http://u:hush/x@h"',
        '[[destinations]]\nname="o"\nkind="orthanc"\ngrade="test"\npassword_env = "hush!"',
    ],
)
def test_no_sentence_holds_a_password(line, tmp_path):
    assert "hush" not in sentence(NODE + line + "\n", tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (NODE + "ae_titles = []\n", "at least 1"),
        (NODE + '[rules]\nname = "r"\n', "write [[rules]]"),
        ('[[node]]\ndata_dir = "data"\n', "write [node] once"),
        (NODE + 'port = "x"\n', "whole number, without quotes"),
        (NODE + "[receive]\nmin_free_mb = 1000000001\n", "at most 1000000000"),
        (NODE + "[receive]\nmax_header_mb = 1000000001\n", "at most 1000000000"),
        (NODE + RULE + "when = { SliceThickness = { min = 5, max = 1 } }\n", "swap them"),
        (NODE + RULE + "when = 3\n", "must be a table"),
        ('[node]\ndata_dir = "/"\n', "root of the disk"),
        (PHASES + 'arterial = ["-"]\n', "with a letter or digit"),
        (PHASES + 'arteriell = ["x"]\n', 'did you mean "arterial"'),
        (PHASES + 'evidence = ["time", "brightness"]\n', "must be one of code, comments"),
        (PHASES + "arterial_s = [45, 15]\n", "[15, 45]"),
        (PHASES + "arterial_s = [15, 60]\n", "must follow each other"),
        (PHASES + 'arterial = ["A"]\ndelayed = ["a"]\n', '"a" stands under arterial and under'),
        (NODE + SHARE + 'path = "data/out"\n', "our own data folder"),
    ],
)
def test_faults_are_told_in_plain_words(text, words, tmp_path):
    said = sentence(text, tmp_path)

    assert words in said
    assert "valid" not in said and "tuple" not in said
