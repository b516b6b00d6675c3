"""Bases of configs: read for a file that the user named, bounded, and no way to what is no config."""

import os

import pytest

from boxwright.errors import ConfigError
from boxwright.interop.config import read_config, read_config_text

SECRET = "hunter2"
FASTER = "_base_ = './faster-rcnn_r50_fpn_1x_coco.py'\n"
NAMES_A_BASE = {
    "detectron2": "_BASE_: {path}\nVERSION: 2\n",
    "detectron2, one of several": "_BASE_: [Base-RCNN-FPN.yaml, {path}]\nVERSION: 2\n",
    "mmdetection": "_base_ = {path!r}\nmodel = dict()\n",
    "mmdetection as JSON": '{{"_base_": "{path}", "model": {{}}}}',
    "ours": "base: {path}\ntrain: {{lr: 0.1}}\n",
}


@pytest.fixture
def secret(tmp_path):
    """A config that would be a fine base, were it not another's."""
    path = tmp_path / "secret.yaml"
    path.write_text(f"OUTPUT_DIR: {SECRET}\nVERSION: 2\n")
    return path


@pytest.mark.parametrize("text", NAMES_A_BASE.values(), ids=NAMES_A_BASE)
def test_a_text_that_is_no_file_of_the_users_has_no_base_in_files(text, secret, monkeypatch):
    monkeypatch.chdir(secret.parent)
    for place in (str(secret), secret.name):
        with pytest.raises(ConfigError, match=r"bases are read only|neither a preset") as no:
            read_config_text(text.format(path=place), source="the config in model.pth")
        assert SECRET not in str(no.value)


IMPORTS_A_BASE = {
    "mmdetection": "with read_base():\n    from .secret import *\nmodel = dict()\n",
    "lazy": "from detectron2.config import LazyCall as L\nfrom .secret import model\n",
}


@pytest.mark.parametrize("text", IMPORTS_A_BASE.values(), ids=IMPORTS_A_BASE)
def test_nor_does_it_import_from_files(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.py").write_text(f"model = dict(type='{SECRET}')\n")
    with pytest.raises(ConfigError, match=r"bases are read only|which is not there") as no:
        read_config_text(text, source="the config in model.pth")
    assert SECRET not in str(no.value)


@pytest.mark.parametrize("name", ["shadow", "id_rsa.pub", ".env", "credentials.txt"])
@pytest.mark.parametrize("dialect", ["detectron2", "mmdetection", "mmdetection as JSON"])
def test_a_base_that_is_no_config_by_its_name_is_not_opened(dialect, name, tmp_path):
    (tmp_path / name).write_text(f"root:{SECRET}:19000:0:99999:7:::\nTOKEN={SECRET}\n")
    (tmp_path / "config").write_text(NAMES_A_BASE[dialect].format(path=name))
    with pytest.raises(ConfigError, match=r"is no config: they end in \.py") as no:
        read_config(tmp_path / "config")
    assert SECRET not in str(no.value)


SECRETS = {
    "a line": f"root:{SECRET}:19000:0:99999:7:::\n",
    "a list": f"- {SECRET}\n",
    "broken": f"{{{SECRET}: [\n",
    "an alias": f"a: *b {SECRET}\n",
    "a key": f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n",
    "JSON": f'{{"auths": {{"registry": {{"auth": "{SECRET}"}}}}}}\n',
    "words": f"{SECRET}: password\n{SECRET}\n",
}


@pytest.mark.parametrize("content", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("dialect", ["detectron2", "mmdetection", "mmdetection as JSON", "ours"])
def test_what_is_in_a_base_that_is_no_config_is_not_told(dialect, content, tmp_path):
    (tmp_path / "base.yaml").write_text(content)
    (tmp_path / "config").write_text(NAMES_A_BASE[dialect].format(path="base.yaml"))
    with pytest.raises(ConfigError) as no:
        read_config(tmp_path / "config")
    assert SECRET not in str(no.value)


@pytest.mark.parametrize("name", ["{{$HOME:default}}", "{{ $HOME:default }}", "{{$NO_SUCH:default}}"])
def test_no_variable_of_the_environment_is_read(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", SECRET)
    (tmp_path / "config.py").write_text(f"{FASTER}load_from = '{name}'\n")
    assert read_config(tmp_path / "config.py").train.weights == "default"


def names(level):
    return [f"base_{level}_{number}" for number in range(10)]


FANS = {
    "detectron2": (".yaml", lambda bases: f"_BASE_: [{', '.join(f'{name}.yaml' for name in bases)}]\nVERSION: 2\n"),
    "mmdetection": (".py", lambda bases: f"_base_ = {[f'./{name}.py' for name in bases]}\n"),
    "lazy": (
        ".py",
        lambda bases: (
            "from detectron2.config import LazyCall as L\n"
            + "".join(f"from .{name} import model\n" for name in bases)
            + "model = dict()\n"
        ),
    ),
}


@pytest.mark.parametrize(("ending", "write"), FANS.values(), ids=FANS)
def test_bases_that_fan_out_are_counted(ending, write, tmp_path):
    for level in range(8):
        for name in names(level):
            (tmp_path / f"{name}{ending}").write_text(write(names(level + 1) if level < 7 else []))
    with pytest.raises(ConfigError, match="starts from more than 100 files"):
        read_config(tmp_path / f"base_0_0{ending}")


@pytest.mark.parametrize(("ending", "write"), FANS.values(), ids=FANS)
def test_bases_are_as_long_together_as_one_file_may_be(ending, write, tmp_path):
    comments = "# a comment, which is read and means nothing, as comments do, in Python and in YAML alike\n"
    for name in names(1):
        (tmp_path / f"{name}{ending}").write_text(write([]) + comments * 2_500)
    (tmp_path / f"config{ending}").write_text(write(names(1)))
    with pytest.raises(ConfigError, match=r"its bases hold more than|more than 100000 words"):
        read_config(tmp_path / f"config{ending}")


@pytest.mark.parametrize(("ending", "write"), FANS.values(), ids=FANS)
def test_a_circle_of_bases_is_an_error(ending, write, tmp_path):
    (tmp_path / f"a{ending}").write_text(write(["b"]))
    (tmp_path / f"b{ending}").write_text(write(["a"]))
    with pytest.raises(ConfigError, match="leads back to itself"):
        read_config(tmp_path / f"a{ending}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_no_base_and_no_config(tmp_path):
    os.mkfifo(tmp_path / "base.yaml")
    (tmp_path / "config.yaml").write_text("_BASE_: base.yaml\nVERSION: 2\n")
    with pytest.raises(ConfigError, match=r"base\.yaml' is not there"):
        read_config(tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match="neither a file"):
        read_config(tmp_path / "base.yaml")
