"""Prompts: lists, files, templates, and what is refused."""

from pathlib import Path

import pytest

from pipelines.prompts import CLASS_LISTS, ClassNames, ListedPrompts, NoPrompt, PromptFile, PromptTemplate


def test_imagenet100_is_a_hundred_distinct_classes_with_notes():
    prompts = PromptTemplate(classes="imagenet100").load()
    assert len({p.label for p in prompts}) == len({p.text for p in prompts}) == 100
    crane = next(p for p in prompts if p.name == "crane")
    assert (crane.text, crane.label) == ("A photo of a crane", 134)
    assert "517" in crane.note


def test_imagenet100_indices_are_those_of_imagenet_1k():
    """timm's own list of the 1,000 synsets is the reference."""
    import timm.data

    names = timm.data.ImageNetInfo().label_names()
    rows = [
        line.split(",") for line in (CLASS_LISTS / "imagenet100.csv").read_text().splitlines() if line[:1].isdigit()
    ]
    assert len(rows) == 100
    assert all(names[int(row[0])] == row[1] for row in rows)


def test_zoo_classes_are_those_of_the_image_world():
    from stages.models.zoo.world import CLASSES

    assert [p.name for p in PromptTemplate(classes="zoo").load()] == list(CLASSES)


def test_templates_run_over_classes_and_values():
    spec = PromptTemplate(
        template="a photo of a {colour} {label}", values={"colour": ("orange", "red")}, article=True, limit=2
    )
    found = [(p.text, p.label) for p in spec.load()]
    assert found == [
        ("a photo of an orange circle", 0),
        ("a photo of a red circle", 0),
        ("a photo of an orange square", 1),
        ("a photo of a red square", 1),
    ]


def test_models_without_text_get_nothing_or_the_name_of_a_class():
    (nothing,) = NoPrompt().load()
    assert (nothing.text, nothing.label) == ("", -1)
    names = ClassNames(limit=2).load()
    assert [(p.text, p.label) for p in names] == [("circle", 0), ("square", 1)]
    assert ClassNames(limit=2, unconditional=True).load() == (nothing, *names)


def test_files(tmp_path: Path):
    (tmp_path / "a.txt").write_text("one\n\n two \n")
    (tmp_path / "b.csv").write_text("prompt,label,name\na cat,3,cat\na dog,,\n")
    assert [p.text for p in PromptFile(path=str(tmp_path / "a.txt")).load()] == ["one", "two"]
    assert [(p.text, p.label, p.name) for p in PromptFile(path=str(tmp_path / "b.csv")).load()] == [
        ("a cat", 3, "cat"),
        ("a dog", -1, "a dog"),
    ]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (ListedPrompts(prompts=("a", "a")), "twice"),
        (ListedPrompts(prompts=("a", " ")), "blank"),
        (ListedPrompts(prompts=("a", "b"), labels=(1,)), "2 labels, found 1"),
        (PromptFile(path="/no/such.txt"), "found none"),
        (PromptTemplate(classes="imagenet1000"), "imagenet100"),
        (ClassNames(classes="imagenet1000"), "imagenet100"),
        (PromptTemplate(template="a {size} {label}"), "prompts.values"),
        (PromptTemplate(template="a thing"), "twice"),
    ],
    ids=repr,
)
def test_refused(spec, said: str):
    with pytest.raises((ValueError, OSError), match=said):
        spec.load()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"prompt,label\nx,y\n", b"text\nx\n"])
def test_bad_files_are_one_sentence(tmp_path: Path, content: bytes):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match="expected"):
        PromptFile(path=str(tmp_path / "a.csv")).load()
