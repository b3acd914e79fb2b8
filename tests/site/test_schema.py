"""The schema, the reference and the guide say what the program accepts."""
import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("TRILITH", ROOT / "build-asan/trilith")


def trilith(*arguments, **options):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=30,
                          check=False, **options)


@pytest.fixture(scope="module")
def validator():
    jsonschema = pytest.importorskip("jsonschema", reason="python3-jsonschema is not installed")
    schema = json.loads(trilith("schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def load(path):
    yaml = pytest.importorskip("yaml", reason="python3-yaml is not installed")

    class Loader(yaml.SafeLoader):
        """YAML 1.2, as editors read it: `on` and `yes` are text."""
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}
    return yaml.load(path.read_text(), Loader)


def test_reference_is_up_to_date():
    done = trilith("schema", "--markdown")
    assert done.stdout == (ROOT / "docs/reference/site.md").read_text(), \
        "write it again: trilith schema --markdown > docs/reference/site.md"


def test_good_files_are_valid(validator):
    for path in [*sorted((ROOT / "examples").glob("[0-9]*.yaml")), ROOT / "src/site/corpus/site/routes.yaml"]:
        assert [error.message for error in validator.iter_errors(load(path))] == []


@pytest.mark.parametrize("name", ["misspelt-keys", "app-incomplete", "ports", "not-built-yet",
                                  "numbers-without-units", "environment"])
def test_broken_files_are_not(validator, name):
    assert list(validator.iter_errors(load(ROOT / f"tests/broken/{name}.yaml")))


def test_guide_is_right(tmp_path):
    """Every example in the guide is accepted, but for folders and parts that it leaves out."""
    text = (ROOT / "docs/guide/site-file.md").read_text()
    blocks = [block.split("```")[0] for block in text.split("```yaml\n")[1:]]
    examples = [block if block.startswith("site:") else "site: www.example.com\n" + block
                for block in blocks if not block.startswith(("listen", "#"))]
    assert len(examples) >= 5
    for number, example in enumerate(examples):
        path = tmp_path / f"{number}.yaml"
        path.write_text(example)
        left = [line for line in trilith("check", str(path)).stderr.splitlines()
                if "there is no " not in line and not line.startswith("trilith: ")]
        assert not left, example
