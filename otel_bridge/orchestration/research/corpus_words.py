"""
The words of the generated corpus: counties, name parts, streets, people, fixed sentences.

Data, no logic. The counties and towns are real; every school, street and person is invented.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = [
    "CLOSING_SENTENCES",
    "COUNTIES",
    "FIRST_NAMES",
    "FULL_SCHOOL_NAMES",
    "HEADER",
    "LAST_NAMES",
    "MONTHS",
    "NAME_ENDINGS",
    "NAME_STARTS",
    "STREETS",
    "STREET_TYPES",
    "UNRELATED_PAGES",
    "County",
]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


HEADER: Final = (
    "SYNTHETIC PAGE: invented for a demonstration; no name, person or number on it is real.\n\n"
)
"""First line of every page, so that a page met out of context does not pass for a real one."""


class County(NamedTuple):
    """One county of the generated corpus: a unit of its search space, with its schools' number."""

    name: str
    city: str
    zip_prefix: int
    schools: int
    """How many schools it has: 134 in all, as unevenly spread as a real state's."""


COUNTIES: Final = (
    County("Baldwin", "Milledgeville", 310, 2),
    County("Barrow", "Winder", 306, 1),
    County("Bartow", "Cartersville", 301, 2),
    County("Ben Hill", "Fitzgerald", 317, 1),
    County("Bibb", "Macon", 312, 5),
    County("Bulloch", "Statesboro", 304, 2),
    County("Camden", "St. Marys", 315, 1),
    County("Carroll", "Carrollton", 301, 2),
    County("Chatham", "Savannah", 314, 5),
    County("Cherokee", "Canton", 301, 3),
    County("Clarke", "Athens", 306, 4),
    County("Clayton", "Jonesboro", 302, 3),
    County("Cobb", "Marietta", 300, 6),
    County("Colquitt", "Moultrie", 317, 2),
    County("Columbia", "Evans", 308, 2),
    County("Coweta", "Newnan", 302, 3),
    County("DeKalb", "Decatur", 300, 6),
    County("Dougherty", "Albany", 317, 3),
    County("Effingham", "Springfield", 313, 1),
    County("Fayette", "Fayetteville", 302, 3),
    County("Floyd", "Rome", 301, 3),
    County("Forsyth", "Cumming", 300, 3),
    County("Fulton", "Atlanta", 303, 7),
    County("Glynn", "Brunswick", 315, 2),
    County("Gordon", "Calhoun", 307, 1),
    County("Gwinnett", "Lawrenceville", 300, 5),
    County("Habersham", "Clarkesville", 305, 1),
    County("Hall", "Gainesville", 305, 3),
    County("Henry", "McDonough", 302, 4),
    County("Houston", "Warner Robins", 310, 3),
    County("Jackson", "Jefferson", 305, 2),
    County("Jeff Davis", "Hazlehurst", 315, 1),
    County("Laurens", "Dublin", 310, 2),
    County("Liberty", "Hinesville", 313, 2),
    County("Lowndes", "Valdosta", 316, 4),
    County("Lumpkin", "Dahlonega", 305, 1),
    County("Muscogee", "Columbus", 319, 4),
    County("Newton", "Covington", 300, 2),
    County("Oconee", "Watkinsville", 306, 2),
    County("Paulding", "Dallas", 301, 2),
    County("Peach", "Fort Valley", 310, 1),
    County("Rabun", "Clayton", 305, 1),
    County("Richmond", "Augusta", 309, 3),
    County("Rockdale", "Conyers", 300, 2),
    County("Spalding", "Griffin", 302, 1),
    County("Sumter", "Americus", 317, 2),
    County("Thomas", "Thomasville", 317, 1),
    County("Tift", "Tifton", 317, 2),
    County("Toombs", "Vidalia", 304, 1),
    County("Troup", "LaGrange", 302, 2),
    County("Walton", "Monroe", 306, 3),
    County("Ware", "Waycross", 315, 2),
    County("Whitfield", "Dalton", 307, 2),
)

NAME_STARTS: Final = _words(
    "Amber Bracken Bramble Clover Cobble Copper Dapple Dulci Ember Fern Finch Flint Gossamer "
    "Harrow Hazel Heron Indigo Juniper Lark Linden Marlow Otter Pebble Quill Saffron Sorrel Tansy "
    "Thistle Willow Wren"
)
NAME_ENDINGS: Final = _words(
    "combe dell garth haven holt leigh mere shaw stead thorpe whistle wick"
)
FULL_SCHOOL_NAMES: Final = (
    *["{} Academy"] * 5,
    *["{} Lyceum"] * 3,
    *["{} Day School"] * 3,
    *["{} Christian Academy"] * 3,
    *["{} Preparatory School"] * 2,
    *["{} Episcopal School"] * 2,
    *["{} Learning Center"] * 2,
    *["{} Institute"] * 2,
    *["{} School"] * 2,
    "{} Montessori School",
    "{} Classical School",
    "St. {}'s Episcopal School",
    "St. {}'s School",
)
"""Repeated by how common each is."""

STREETS: Final = _words(
    "Bluestem Chimney Cloverleaf Cottonwood Dogwood Foxglove Gristmill Honeysuckle Kestrel Lantern "
    "Larkspur Marigold Millrace Orchard Persimmon Quarry Sandpiper Sycamore Tupelo "
    "Whippoorwill"
)
STREET_TYPES: Final = {
    "Avenue": "Ave",
    "Court": "Ct",
    "Drive": "Dr",
    "Lane": "Ln",
    "Road": "Rd",
    "Street": "St",
    "Way": "Way",
}
"""Each with its abbreviation."""

FIRST_NAMES: Final = _words(
    "Anselm Bertram Casimir Corwin Fenella Leopold Maribel Odalys Perrin Tamsin Winnifred Ysolde"
)
LAST_NAMES: Final = _words(
    "Ashlund Brambleby Delacourse Marchwood Okonfero Peppergrove Thornquist Vantwhistle"
)
MONTHS: Final = ("January", "March", "May", "August", "September")

CLOSING_SENTENCES: Final = (
    "Updated in the spring.",
    "See the office for a brochure.",
    "Aid is available to families who ask.",
    "Data as supplied by the school; not verified.",
)

UNRELATED_PAGES: Final = (
    "Notes on private school choice\n\nParents in {0} County, Georgia, often ask how to choose a "
    "private school. Visit twice. Ask what a usual Tuesday looks like. Count the books.\n",
    "Library hours, {0} County, Georgia\n\nThe {1} library opens at nine. Schools, private or "
    "public, may book the reading room.\n",
    "{0} County Fair\n\nThe {0} County fair in {1}, Georgia, opens on Friday. Pies, tractors and a "
    "brass band. Parking costs $5.\n",
    "Road works in {0} County, Georgia\n\nOne lane of the old mill road near {1} is closed. School "
    "traffic should use the bridge. The work costs $48,000.\n",
    "Peach cobbler, as made in {0} County, Georgia\n\nSix peaches, a cup of sugar, a cup of flour, "
    "butter. Bake until the neighbours come. Serves 8 children.\n",
    "{0} County public school bus times\n\nRoute 6 leaves {1}, Georgia, at ten to seven. The "
    "school board asks drivers to wait behind the bus.\n",
    "Private schools outside the state\n\nNothing on this page is about our state. Lee County, "
    "Alabama, lists eleven private schools, none of them named here.\n",
    "Private schools outside the state\n\nNothing on this page is about our state. Hamilton "
    "County, Tennessee, lists eleven private schools, none of them named here.\n",
)
"""Pages with a price, a head count or another state's schools that are no school's facts."""
