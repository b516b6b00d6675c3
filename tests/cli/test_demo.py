"""`boxwright demo`: each step says what it wrote, and it can be run again."""

from boxwright.cli.main import run


def test_the_demo_writes_its_data_and_says_where_twice(tmp_path, capsys):
    for _ in range(2):
        assert run(["demo", str(tmp_path / "demo"), "--images", "2", "--size", "64"]) == 0
        printed = capsys.readouterr()
        assert f"synthetic data set: {tmp_path / 'demo' / 'data'}\n" in printed.out
        assert "[1/" in printed.err
    assert (tmp_path / "demo" / "data" / "train.json").is_file()
