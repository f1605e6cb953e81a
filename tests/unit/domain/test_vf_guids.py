"""GUIDs of VFs: derived ones are unlike all others, given ones are checked line by line."""

from __future__ import annotations

import itertools
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibdra_domain.errors import InvalidGuidFile, InvalidIdentifier
from ibdra_domain.identifiers import Guid, PciAddress, guid_from_int, guid_to_int
from ibdra_domain.vf_guids import GROUP, LOCAL, derived_guid, parse_guid_file, unfit

PF = PciAddress("0000:3b:00.0")
PF_GUID = Guid("a088:c203:0040:1000")
ALL_ONES = Guid("ffff:ffff:ffff:ffff")
# Vendors' blocks as cards have them, with what stands in the two middle bytes.
BLOCKS = [0xA088C20300, 0x0C42A10300, 0xE41D2D0300, 0x0002C90300, 0x0002C90200, 0xFC6A1C0300]
universal = st.builds(
    lambda number: guid_from_int(number & ~(LOCAL | GROUP) | 1), st.integers(0, (1 << 64) - 1)
)


@st.composite
def pfs(draw: st.DrawFn) -> list[Guid]:
    """Give the PFs of a node: cards of a few kinds, each with ports that count up by one."""
    numbers: set[int] = set()
    for _ in range(draw(st.integers(1, 8))):
        block = draw(st.sampled_from(BLOCKS))
        first = block << 24 | draw(st.integers(0, 0xFFFFFF - 8))
        numbers |= {first + port for port in range(draw(st.integers(1, 8)))}
    return [guid_from_int(number) for number in sorted(numbers)][:8]


def test_a_derived_guid_shows_whose_it_is() -> None:
    """Vendor and card stay, the index is in the middle, the U/L bit is set."""
    assert "a288:c203:0140:1000" == derived_guid(PF_GUID, 0)
    assert "a288:c203:1040:1000" == derived_guid(PF_GUID, 15)
    assert "a288:c203:7f40:1000" == derived_guid(PF_GUID, 126)
    assert "a288:c204:0040:1000" == derived_guid(PF_GUID, 255)


@given(pfs())
def test_no_two_guids_of_a_node_are_alike(node: list[Guid]) -> None:
    """Eight PFs of real vendors' blocks with 127 VFs each: 1,024 different GUIDs."""
    vfs = [derived_guid(pf, index) for pf in node for index in range(127)]
    assert len(node) * 128 == len({*node, *vfs})
    assert not [guid for guid in vfs if unfit(guid)]


@given(universal, st.integers(0, 65534), st.integers(0, 65534))
def test_one_pfs_vfs_are_all_different(pf: Guid, one: int, other: int) -> None:
    """For any PF, any two indexes; and none is a PF's own, whichever PF that is."""
    assert (one == other) == (derived_guid(pf, one) == derived_guid(pf, other))
    number = guid_to_int(derived_guid(pf, one))
    assert LOCAL == number & LOCAL
    assert 0 == number & GROUP


@given(st.integers(0, 65534))
def test_a_pf_with_a_local_guid_is_none_of_its_vfs(index: int) -> None:
    """Also a PF whose GUID somebody gave it does not find it on a VF."""
    pf = Guid("0200:0000:0000:0001")
    assert pf != derived_guid(pf, index)


def test_the_same_again_after_a_reboot() -> None:
    """Nothing but PF and index goes in: this is what storage servers have in their lists."""
    assert [f"0e42:a103:{n:02x}21:5b80" for n in range(1, 5)] == [
        derived_guid(Guid("0c42:a103:0021:5b80"), index) for index in range(4)
    ]


@pytest.mark.parametrize(
    ("guid", "why"),
    [
        (Guid("0000:0000:0000:0000"), "zero"),
        (ALL_ONES, "all ones"),
        (Guid("0100:0000:0000:0001"), "group"),
    ],
)
def test_nothing_is_derived_from_what_is_no_ports_guid(guid: Guid, why: str) -> None:
    """The reason is said."""
    with pytest.raises(InvalidIdentifier, match=why):
        derived_guid(guid, 0)


@pytest.mark.parametrize("index", [-1, 65535])
def test_an_index_beyond_sriov_is_refused(index: int) -> None:
    """The 65,536th would be like the PF's."""
    with pytest.raises(InvalidIdentifier, match="no VF's index"):
        derived_guid(PF_GUID, index)


def test_a_file_names_vfs_by_pf_and_index() -> None:
    """Addresses and GUIDs in either case; what is not in it is None."""
    found = parse_guid_file(
        """
        # rack 7
        ["0000:3B:00.0"]
        0 = "02AA:0000:0000:0001"
        12 = "02aa:0000:0000:0002"
        ["0000:5e:00.0"]
        0 = "02aa:0000:0000:0003"
        """
    )
    assert "02aa:0000:0000:0001" == found.of(PF, 0)
    assert "02aa:0000:0000:0002" == found.of(PF, 12)
    assert found.of(PF, 1) is None
    assert "02aa:0000:0000:0003" == found.of(PciAddress("0000:5e:00.0"), 0)


def test_an_empty_file_gives_no_guid() -> None:
    """All are derived then."""
    assert {} == parse_guid_file("# nothing yet\n").guids


GOOD = '["0000:3b:00.0"]\n0 = "02aa:0000:0000:0001"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            GOOD + '1 = "02aa:0000:0000:0001"',
            "f:3: 02aa:0000:0000:0001 is given twice, first at f:2",
        ),
        (
            GOOD + '["0000:5e:00.0"]\n0 = "02AA:0000:0000:0001"',
            "f:4: 02aa:0000:0000:0001 is given twice, first at f:2",
        ),
        (GOOD + '0 = "02aa:0000:0000:0002"', "at line 3"),
        (
            GOOD + '["0000:3B:00.0"]\n0 = "02aa:0000:0000:0002"',
            "f:4: VF 0 of 0000:3b:00.0 is given",
        ),
        (
            GOOD + '1 = "0000:0000:0000:0000"',
            "f:3: 0000:0000:0000:0000 cannot be a VF's: it is zero",
        ),
        (GOOD + '1 = "ffff:ffff:ffff:ffff"', "f:3: ffff:ffff:ffff:ffff cannot .* all ones"),
        (GOOD + '1 = "03aa:0000:0000:0001"', "f:3: 03aa:0000:0000:0001 cannot .* group"),
        (GOOD + '1 = "02aa:0000:0000:000"', "f:3: '02aa:0000:0000:000' is not a GUID"),
        (GOOD + '1 = "02:aa:00:00:00:00:00:01"', "f:3: '02:aa:00:00:00:00:00:01' is not a GUID"),
        (GOOD + "1 = 7", "f:3: 7 is not a GUID"),
        (GOOD + '-1 = "02aa:0000:0000:0002"', "f:3: '-1' is no VF's index"),
        (GOOD + '01 = "02aa:0000:0000:0002"', "f:3: '01' is no VF's index"),
        (GOOD + '65535 = "02aa:0000:0000:0002"', "f:3: '65535' is no VF's index"),
        (GOOD + '["mlx5_0"]\n0 = "02aa:0000:0000:0002"', "f:3: 'mlx5_0' is not a PCI address"),
        ('"0000:3b:00.0" = "02aa:0000:0000:0002"', "f:1: 0000:3b:00.0 is not a table"),
        ('"x" = 1', "f:?.*'x' is not a PCI address"),
        ("[", "f: .*line 1"),
    ],
)
def test_what_is_wrong_is_refused_by_line(text: str, complaint: str) -> None:
    """Duplicates, zero, all ones, groups, what is no GUID, no index, no address, no TOML."""
    with pytest.raises(InvalidGuidFile, match=complaint):
        parse_guid_file(text, name="f")


def test_everything_that_is_wrong_is_said_at_once() -> None:
    """One run is enough to mend a file."""
    with pytest.raises(InvalidGuidFile) as raised:
        parse_guid_file(GOOD + '1 = "x"\n2 = "0000:0000:0000:0000"\n', name="f")
    assert ["f:3", "f:4"] == [part[:3] for part in raised.value.problem.split("; ")]


@given(st.text(max_size=60))
def test_no_file_is_too_odd_to_refuse(text: str) -> None:
    """Whatever it is, it is read or refused with our error."""
    for whole in (text, GOOD + text):
        with suppress(InvalidGuidFile):
            assert all(guid for guid in parse_guid_file(whole).guids.values())


def test_derived_guids_do_not_depend_on_neighbours() -> None:
    """The ports of one card count by one; their VFs do not meet."""
    ports = [guid_from_int(guid_to_int(PF_GUID) + n) for n in range(4)]
    vfs = [{derived_guid(port, index) for index in range(127)} for port in ports]
    assert not [pair for pair in itertools.combinations(vfs, 2) if set.intersection(*pair)]
