"""Reading entities out of text, strictly and leniently."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.orchestration.queue.errors import PageBrokenError, PermanentJobError
from otel_bridge.orchestration.research.documents import Record
from otel_bridge.orchestration.research.extraction import PageExtraction

ATTRIBUTES = ["address", "tuition", "enrollment"]


async def read(text: str | bytes, *, is_lenient: bool = False) -> list[Record]:
    data = text.encode() if isinstance(text, str) else text
    found = await PageExtraction().extract(
        "page.txt",
        data,
        entities=["private schools"],
        attributes=ATTRIBUTES,
        is_lenient=is_lenient,
    )
    return list(found)


def school(name: str, unit: str | None, **values: str) -> Record:
    return Record(name, unit, values, "page.txt")


TABLE = """Private schools in Bibb County, Georgia (2 schools)

| School | Address | Enrollment | Tuition |
|---|---|---|---|
| Quillmere Academy | 12 Larkspur Ln, Macon, GA 31201 | 1,204 | $11,250 |
| The Fernholt School | | 88 | on request |
"""


async def test_a_table_gives_one_record_a_row() -> None:
    """Rows become records by the header's labels; blank and evasive cells are absent."""
    assert [
        school(
            "Quillmere Academy",
            "Bibb County",
            address="12 Larkspur Lane, Macon, GA 31201",
            enrollment="1204",
            tuition="11250",
        ),
        school("The Fernholt School", "Bibb County", enrollment="88"),
    ] == await read(TABLE)


async def test_labelled_lines_give_one_record_a_name() -> None:
    """Each name label begins a record; labels may be dotted, starred or plain."""
    text = (
        "Name: Quillmere Academy\nCounty: Bibb County, Georgia\nYearly cost ... : 9100 USD\n"
        "- **School:** Fernholt School\n- **Enrollment:** about 88\n"
    )
    assert [
        school("Quillmere Academy", "Bibb County", tuition="9100"),
        school("Fernholt School", "Bibb County", enrollment="88"),
    ] == await read(text)


async def test_running_text_gives_what_its_sentences_say() -> None:
    """Names, addresses, fees and head counts are found in prose, and the bake sale is not a fee."""
    text = (
        "At Quillmere Academy, which stands at 12 Larkspur Lane in Macon (Bibb County), the year "
        "began with 312 pupils. The bake sale raised $412. Tuition for the year is $11,250. The "
        "application fee of $75 is waived."
    )
    assert [
        school(
            "Quillmere Academy",
            "Bibb County",
            address="12 Larkspur Lane, Macon",
            tuition="11250",
            enrollment="312",
        )
    ] == await read(text)


async def test_attributes_belong_to_the_name_before_them() -> None:
    """With two entities in one text, each value goes to the one mentioned last."""
    text = "Quillmere Academy has 312 students. Fernholt School has 88 students. No more."
    assert [
        school("Quillmere Academy", None, enrollment="312"),
        school("Fernholt School", None, enrollment="88"),
    ] == await read(text)


@pytest.mark.parametrize(
    "text",
    [
        "Bibb County public school bus times\n\nThe School Board asks drivers to wait.",
        "Bibb County Fair. Pies and tractors. Parking costs $5.",
        "Parents often ask how to choose a Private School.",
        "",
    ],
)
async def test_a_page_about_something_else_gives_nothing(text: str) -> None:
    """No entity, no record, no error."""
    assert await read(text) == []


@pytest.mark.parametrize(
    ("broken", "problem", "rest"),
    [
        (b"Name: Quillmere Academy\nHead: Andr\xe9\nTuition: $900\n", "not UTF-8", {"tuition"}),
        (
            b"Name: Quillmere Academy\n" + 40 * b"padding " + b"\x00\nTuition: $9",
            "control",
            {"tuition"},
        ),
        (b"Name: Quillmere Academy\nEnrollment: 88\nTuition:", "no value", {"enrollment"}),
        (
            b"County (3 schools)\n| School | Tuition |\n|---|---|\n| Quillmere Academy | $9 |",
            "3 rows announced, 1 found",
            {"tuition"},
        ),
        (
            b"| School | Tuition |\n|---|---|\n| Quillmere Academy | $9 |\n| Fernho",
            "ends in the middle",
            {"tuition"},
        ),
        (
            b"| School | Tuition |\n|---|---|\n| Quillmere Academy | $9 |\n| Fernholt |",
            "a row of 1 cells",
            {"tuition"},
        ),
    ],
)
async def test_a_broken_page_raises_once_and_is_repaired_on_the_second_attempt(
    broken: bytes, problem: str, rest: set[str]
) -> None:
    """The strict reading names the damage; the lenient one saves what is whole."""
    with pytest.raises(PageBrokenError, match=problem):
        await read(broken)
    (record,) = await read(broken, is_lenient=True)
    assert record.name == "Quillmere Academy"
    assert rest == record.values.keys()


async def test_a_page_of_which_nothing_is_left_fails_for_good() -> None:
    """Binary content is refused for good by the lenient reading too."""
    data = b"Brochure of a private school\n" + bytes(range(256)) * 3
    with pytest.raises(PageBrokenError):
        await read(data)
    with pytest.raises(PermanentJobError):
        await read(data, is_lenient=True)


@given(st.binary(max_size=600), st.booleans())
async def test_any_bytes_are_read_or_refused_by_name(data: bytes, is_lenient: bool) -> None:
    """No input makes the parser raise anything but its two own errors."""
    try:
        records = await read(data, is_lenient=is_lenient)
    except PageBrokenError:
        assert not is_lenient
    except PermanentJobError:
        pass
    else:
        assert all(record.name for record in records)


names = st.sampled_from(["Quill", "Fern", "Otter", "Bramble"]).flatmap(
    lambda head: st.sampled_from([" Academy", "holt School", "mere Day School"]).map(
        lambda tail: head + tail
    )
)


@given(
    name=names,
    tuition=st.integers(1, 99_999),
    enrollment=st.integers(1, 9_999),
    shape=st.sampled_from(["table", "labels", "prose"]),
)
async def test_the_same_facts_are_read_from_every_shape(
    name: str, tuition: int, enrollment: int, shape: str
) -> None:
    """A table, a form and a sentence with the same facts give the same record."""
    text = {
        "table": f"| Name | Pupils | Annual tuition |\n|---|---|---|\n"
        f"| {name} | {enrollment:,} | ${tuition:,} |\n",
        "labels": f"Institution: {name}\nTuition: {tuition} USD\nPupils: {enrollment}\n",
        "prose": f"Word from {name}: {enrollment} students came. Families pay ${tuition:,} a year.",
    }[shape]
    assert [school(name, None, tuition=str(tuition), enrollment=str(enrollment))] == await read(
        text
    )


async def test_an_unlisted_attribute_is_found_by_its_own_label() -> None:
    """A user's corpus may have attributes that the parser does not list."""
    found = await PageExtraction().extract(
        "p",
        b"Name: Northside Hospital\nBeds: 120\n",
        entities=["hospitals"],
        attributes=["beds"],
        is_lenient=False,
    )
    assert [Record("Northside Hospital", None, {"beds": "120"}, "p")] == list(found)
