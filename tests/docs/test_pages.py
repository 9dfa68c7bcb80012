"""The documentation says what is so: its commands and its Python are run, what they print is compared."""

import re
import shutil

import pytest

from tests.conftest import ROOT, find_ffmpeg

from . import pages

DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
WITH_CODE = [name for name in PAGES if pages.blocks_of((DOCS / name).read_text("utf-8"))]


@pytest.fixture
def workplace(tmp_path, samples):
    """A folder as the pages say that it is: samples beside it, and in it a stream, its original and two filters."""
    (tmp_path / "samples").symlink_to(samples)
    folder = tmp_path / "work"
    folder.mkdir()
    for name, source in {
        "in.266": "bbb_q37.266",
        "original.mkv": "bbb.mkv",
        "filter.onnx": "filters/tint_red.onnx",
        "tiny.onnx": "filters/tiny.onnx",
    }.items():
        shutil.copy(samples / source, folder / name)
    return folder


def blocks(name):
    return pages.blocks_of((DOCS / name).read_text("utf-8"))


@pytest.mark.parametrize("name", WITH_CODE)
def test_no_block_is_left_out(name):
    assert pages.problems_of(blocks(name)) == []


@pytest.mark.parametrize("name", WITH_CODE)
def test_the_blocks_run(name, workplace):
    pages.run(blocks(name), workplace, slow=False, ffmpeg=find_ffmpeg())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in WITH_CODE if any(block.slow for block in blocks(name))])
def test_the_slow_blocks_run(name, workplace):
    pytest.importorskip("torch")
    pages.run(blocks(name), workplace, slow=True)


def test_links_lead_somewhere():
    for name in PAGES:
        text = (DOCS / name).read_text("utf-8")
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (DOCS / link).exists(), f"{name}: {link}"


def test_every_page_is_in_the_table_of_contents():
    contents = (DOCS / "index.md").read_text("utf-8")
    listed = set(re.findall(r"^([\w-]+)$", "\n".join(re.findall(r"```\{toctree\}.*?```", contents, re.DOTALL)), re.M))
    assert {name.removesuffix(".md") for name in PAGES} - {"index"} == listed


class TestTheWayPagesAreRun:
    """A test that cannot fail is none."""

    @pytest.mark.parametrize(
        ("page", "problem"),
        [
            ("```console\n$ nnpf dump missing.266\n```\n", "line 1: nnpf dump missing.266: exit code 1"),
            ("```console\n$ echo a\nb\n```\n", "prints\na\nand not\nb"),
            ("text\n\n```python\nprint(1)\n```\n\n```text\n2\n```\n", "prints\n1\nand not\n2"),
            ("```console\n$ echo a  # exit code 3\n```\n", "exit code 0"),
        ],
    )
    def test_what_is_wrong_is_found(self, tmp_path, page, problem):
        with pytest.raises(AssertionError) as error:
            pages.run(pages.blocks_of(page), tmp_path, slow=False)
        assert problem in str(error.value)

    def test_dots_stand_for_anything(self, tmp_path):
        page = "<!-- file: a.yaml -->\n```yaml\nx: 1\n```\n\n```console\n$ cat a.yaml a.yaml\nx...\n...1\n$ true\n```\n"
        pages.run(pages.blocks_of(page), tmp_path, slow=False)

    @pytest.mark.parametrize(
        "page", ["```sh\nls\n```\n", "<!-- test: skip -->\n```console\n```\n", "<!-- what -->\n```python\n```\n"]
    )
    def test_what_is_left_out_is_named(self, page):
        assert len(pages.problems_of(pages.blocks_of(page))) == 1
